"""How an entry point is run."""

from __future__ import annotations

import sys
from typing import Callable, Sequence, Tuple

from absl import app

FAILED, INTERRUPTED = 1, 130


def run(
    main: Callable[[Sequence[str]], int],
    *,
    errors: Tuple[type, ...],
    then: str = "",
) -> None:
    """Runs `main(argv)` by absl; what its user can mend ends in one line.

    Args:
      main: returns the exit code.
      errors: exceptions whose message is for the user: exit code 1.
      then: what the same command does after Ctrl-C: exit code 130.
    """

    def guarded(argv: Sequence[str]) -> int:
        try:
            return main(argv)
        except KeyboardInterrupt:
            print("interrupted" + (f"; {then}" if then else ""), file=sys.stderr)
            return INTERRUPTED
        except errors as error:
            print(f"error: {error}", file=sys.stderr)
            return FAILED

    app.run(guarded)
