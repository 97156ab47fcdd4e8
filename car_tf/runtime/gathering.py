"""Brings what several workers have computed to the chief, over its port in TF_CONFIG.

A worker connects when it starts and sends one line of JSON at its end, which the chief
reads once its own share is done. Whoever stops closes the connection: the other knows.
"""

import contextlib
import json
import socket
import time
from typing import Any, Dict, Optional, Set, Tuple

from car_tf.data import io
from car_tf.runtime import run_dir, workers

# Seconds in which the chief and its workers must have found each other.
_PATIENCE = 300.0
# A machine that is gone closes nothing: after a minute without an answer it is lost.
_PROBES = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}


class Gathering(contextlib.ExitStack):
    """The chief and its workers, from their start until the chief has all results."""

    def __init__(self, worker: workers.Worker = workers.Worker()):
        """Listens as the chief, connects as another worker; one alone does neither.

        Raises:
          RunError: the chief's port is taken, or the chief cannot be reached.
        """
        super().__init__()
        self.worker = worker
        if worker.num_workers == 1:
            return
        host, _, port = worker.hosts[0].rpartition(":")
        try:
            if worker.is_chief:
                opened = socket.create_server(
                    ("", int(port)), backlog=len(worker.hosts)
                )
            else:
                opened = _connected(host.strip("[]"), int(port))
                opened.sendall(b"%d\n" % worker.index)
        except (OSError, ValueError, OverflowError) as error:
            words = "cannot listen at" if worker.is_chief else "cannot reach the chief,"
            text = f"TF_CONFIG: {words} {worker.hosts[0]}: {error}"
            raise run_dir.RunError(text) from None
        self._socket = self.enter_context(opened)

    def join(self, key: str, own: Dict[str, Any]) -> Optional[Dict[str, Any]]:
        """Returns the results of all workers by name, and None to all but the chief.

        `key` says what was computed and must be the same everywhere; `own` are this
        worker's results, ready for JSON. A RunError names a worker, or the chief, that
        has stopped.
        """
        if not self.worker.is_chief:
            self._send(json.dumps({"key": key, "results": own}).encode() + b"\n")
            return None
        found, missing = dict(own), set(range(1, self.worker.num_workers))
        if not missing:
            return found
        bar = io.progress(total=len(missing), desc="waiting", unit="worker")
        with bar:
            while missing:
                index, line = self._received(missing)
                if index not in missing:  # Whoever else knocks at ports.
                    continue
                if not line.endswith(b"\n"):
                    raise self._lost(index)
                sent = json.loads(line)
                if sent["key"] != key:
                    raise run_dir.RunError(
                        f"{self._name(index)} evaluates something else than the chief; "
                        "wanted the same command, data and run directory on each"
                    )
                found.update(sent["results"])
                missing.remove(index)
                bar.update()
        return found

    def _send(self, line: bytes) -> None:
        with contextlib.suppress(OSError):
            self._socket.sendall(line)
            if self._socket.recv(1):  # The chief has read it.
                return
        raise self._lost(0)

    def _received(self, missing: Set[int]) -> Tuple[int, bytes]:
        """Returns the index of the next worker, and what it has sent, perhaps in part."""
        self._socket.settimeout(_PATIENCE)
        try:
            connection, _ = self._socket.accept()
        except OSError:
            raise self._lost(min(missing)) from None
        index, line = -1, b""
        with _probed(connection), connection.makefile("rb") as stream:
            with contextlib.suppress(OSError, ValueError):
                index = int(stream.readline(9))
                line = stream.readline()
                connection.sendall(b"\n")
        return index, line

    def _name(self, index: int) -> str:
        which = f"worker {index}" if index else "the chief"
        return f"{which} ({self.worker.hosts[index]})"

    def _lost(self, index: int) -> run_dir.RunError:
        return run_dir.RunError(
            f"{self._name(index)} has stopped or cannot be reached; nothing was written, "
            "and the same command on all workers begins anew"
        )


def _probed(connection: socket.socket) -> socket.socket:
    """Has a connection wait as long as the other machine is there."""
    connection.settimeout(None)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _PROBES.items():
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return connection


def _connected(host: str, port: int) -> socket.socket:
    """Connects to the chief, who may start later."""
    start = time.monotonic()
    while True:
        try:
            return _probed(socket.create_connection((host, port), timeout=10))
        except OSError:
            if time.monotonic() - start > _PATIENCE:
                raise
            time.sleep(0.5)
