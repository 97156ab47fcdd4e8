"""How a run is stopped: once to save and end, twice to end at once."""

from __future__ import annotations

import signal
import sys
from typing import Optional


class Stopped(KeyboardInterrupt):
    """The run was asked to stop and has saved its state; the message says so."""


class StopSignal:
    """Turns the first Ctrl-C or SIGTERM into a flag; a second one acts at once."""

    def __init__(self):
        self.number: Optional[int] = None
        self._previous = {}

    def __enter__(self) -> "StopSignal":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *unused) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, unused_frame) -> None:
        self.number = number
        signal.signal(number, self._previous[number])
        print(
            "\nstopping after this step and its checkpoint; once more to stop at once",
            file=sys.stderr,
            flush=True,
        )
