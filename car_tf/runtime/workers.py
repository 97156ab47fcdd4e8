"""The machines of a job, as the environment variable TF_CONFIG tells them.

TF_CONFIG is JSON: `cluster.worker` lists one `host:port` per process, `task.index` says
which of them this one is. Every process runs the same command; the first is the chief,
who alone writes. No TensorFlow here, since this is asked before it starts.
"""

import dataclasses
import json
import os
from typing import Any, Mapping, Sequence

from car_tf.runtime import run_dir


@dataclasses.dataclass(frozen=True)
class Worker:
    """This process among the workers; the first one is the chief."""

    index: int = 0
    num_workers: int = 1
    hosts: Sequence[str] = ()  # `host:port` of each

    @property
    def is_chief(self) -> bool:
        """Whether this process writes the run directory."""
        return self.index == 0

    def share(self, items: Sequence[Any]) -> Sequence[Any]:
        """Returns every n-th of some items, of which each worker takes others."""
        return items[self.index :: self.num_workers]


def this_worker(environment: Mapping[str, str] = os.environ) -> Worker:
    """Returns which worker this process is.

    Raises:
      RunError: TF_CONFIG is no JSON or not of this form.
    """
    text = environment.get("TF_CONFIG", "")
    if not text:
        return Worker()
    try:
        content = json.loads(text)
        cluster, task = content.get("cluster", {}), content.get("task", {})
        hosts, index = cluster.get("worker", []), task.get("index", 0)
        kinds = {*cluster, task.get("type", "worker")} - {"worker"}
        valid = all(isinstance(host, str) and ":" in host for host in hosts)
        valid = valid and isinstance(hosts, list) and isinstance(index, int)
    except (ValueError, AttributeError, TypeError) as error:
        raise _refused(f"got {text[:80]!r} ({error})") from None
    if kinds:
        names = ", ".join(map(str, sorted(kinds)))
        raise _refused(f"workers alone, got {names} as well")
    if not valid or not 0 <= index < max(len(hosts), 1):
        raise _refused(f"got workers {hosts} and index {index}")
    return Worker(index, max(len(hosts), 1), tuple(hosts))


def _refused(what: str) -> run_dir.RunError:
    return run_dir.RunError(
        'TF_CONFIG: wanted {"cluster": {"worker": ["host:port", ...]}, "task": '
        f'{{"type": "worker", "index": 0}}}}, {what}'
    )
