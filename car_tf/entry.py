"""How an entry point is run."""

from __future__ import annotations

import sys
from typing import Callable, Sequence

from absl import app

INTERRUPTED = 130


def run(main: Callable[[Sequence[str]], int], then: str = "") -> None:
    """Runs `main(argv)` by absl; Ctrl-C ends it in one line instead of a traceback.

    Args:
      main: returns the exit code.
      then: what the same command does afterwards.
    """

    def guarded(argv: Sequence[str]) -> int:
        try:
            return main(argv)
        except KeyboardInterrupt:
            print("interrupted" + (f"; {then}" if then else ""), file=sys.stderr)
            return INTERRUPTED

    app.run(guarded)
