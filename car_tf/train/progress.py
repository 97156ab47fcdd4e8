"""Says how far a stage is: a bar on a terminal, lines elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Callable, Dict, Optional, Set

from car_tf.data import io
from car_tf.models.keras_api import keras
from car_tf.runtime import devices

# Between two lines inside an epoch.
SECONDS = 30.0


def idle_metrics(model: keras.Model) -> Set[str]:
    """Names the metrics that are means of nothing, shown as 0: D may have rested.

    Several workers must call it at the same time.
    """
    return {metric.name for metric in model.metrics if not metric.count.numpy()}


class Progress(keras.callbacks.Callback):
    """Tells step, means of the epoch so far, and the time that the stage still takes."""

    def __init__(self, *, stage: int, first: int, steps: int, log: Callable):
        super().__init__()
        self._stage = stage
        self._first, self._steps = first, steps
        self._log = log
        self._told = time.monotonic()
        # Step and time of the first step's end: before it, graphs are built.
        self._begun: Optional[tuple] = None
        self._bar = None
        if sys.stderr.isatty():
            counts = dict(initial=first, total=steps)
            self._bar = io.progress(None, f"stage {stage}", "step", **counts)

    def on_train_batch_end(self, batch, logs=None):
        step, now = int(self.model.step.numpy()), time.monotonic()
        self._begun = self._begun or (step, now)
        if self._bar is not None:
            self._bar.set_postfix_str(self._words(logs), refresh=False)
            self._bar.update(step - self._bar.n)
        elif now - self._told > SECONDS and batch + 1 < self.params["steps"]:
            self._tell(step, now, logs)

    def on_epoch_end(self, epoch, logs=None):
        if self._bar is None:
            self._tell(int(self.model.step.numpy()), time.monotonic(), logs)
        else:
            self._bar.clear()  # Until the next step: others write lines now.

    def _tell(self, step: int, now: float, logs) -> None:
        self._told = now
        line = f"stage {self._stage}: step {step} of {self._steps}, {self._words(logs)}"
        done, since = self._begun
        if self._first < done < step < self._steps:
            left = (now - since) / (step - done) * (self._steps - step)
            minutes, seconds = divmod(round(left), 60)
            line += f"; {minutes}:{seconds:02d} min left"
        self._log(line)

    def _words(self, logs: Optional[Dict[str, float]]) -> str:
        # Workers would have to read counts together, and the chief alone tells.
        alone = not devices.has_workers(self.model.distribute_strategy)
        idle = idle_metrics(self.model) if alone else ()
        found = ((n, float(v)) for n, v in (logs or {}).items() if n not in idle)
        return ", ".join(f"{name} {value:.4g}" for name, value in found)
