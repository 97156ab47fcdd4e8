"""How a run is stopped: once to save and end, twice to end at once."""

import os
import signal
import socket
import sys
import threading
from typing import Optional

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_INTERRUPTED = 130


class Stopped(KeyboardInterrupt):
    """The run was asked to stop and has saved its state; the message says so."""


class StopSignal:
    """Turns the first Ctrl-C or SIGTERM into a flag; a second one ends the process.

    A thread of its own answers: Python's handlers wait until the main thread comes back
    from TensorFlow, which may take minutes.

    Attributes:
      number: of the first signal; None before it.
      unsaved: whether there is anything to save. Where there is not, such as while a
        graph is built, the first signal raises Stopped with `message`.
    """

    def __init__(self):
        self.number: Optional[int] = None
        self.unsaved = True
        self.message = ""
        self._previous = {}

    def __enter__(self) -> "StopSignal":
        self._receiver, self._sender = socket.socketpair()
        self._sender.setblocking(False)
        for number in _SIGNALS:
            self._previous[number] = signal.signal(number, self._handle)
        self._wakeup = signal.set_wakeup_fd(self._sender.fileno())
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *unused) -> None:
        signal.set_wakeup_fd(self._wakeup)
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._sender.close()
        self._thread.join()
        self._receiver.close()

    def _listen(self) -> None:
        num_received = 0
        for content in iter(lambda: self._receiver.recv(1), b""):
            if content[0] not in _SIGNALS:
                continue
            num_received += 1
            if num_received > 1:
                os._exit(_INTERRUPTED)
            self.number = content[0]
            words = "stopping after this step and its checkpoint; once more to stop at"
            print(f"\n{words} once", file=sys.stderr, flush=True)

    def _handle(self, number: int, unused_frame) -> None:
        self.number = self.number or number
        if not self.unsaved:
            raise Stopped(self.message)
