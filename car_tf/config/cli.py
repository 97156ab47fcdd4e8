"""How an entry point is run."""

from __future__ import annotations

import os
import sys
from typing import Callable, Sequence, Tuple

from absl import app

from car_tf.config import quiet

FAILED, INTERRUPTED = 1, 130
# Read by TensorFlow when it starts; what the environment says already counts.
TENSORFLOW = {
    "TF_CPP_MIN_LOG_LEVEL": "2",
    # oneDNN's kernels, which TensorFlow chooses by itself on some processors alone.
    "TF_ENABLE_ONEDNN_OPTS": "1",
}


def run(
    main: Callable[..., int],
    *,
    errors: Tuple[type, ...],
    then: str = "",
    takes_arguments: bool = False,
) -> None:
    """Runs `main` by absl; what its user can mend ends in one line.

    Args:
      main: returns the exit code. TensorFlow, if it needs it, starts there.
      errors: exceptions whose message is for the user: exit code 1.
      then: what the same command does after Ctrl-C: exit code 130.
      takes_arguments: whether `main` is given the command line without its flags.
    """
    for name, value in TENSORFLOW.items():
        os.environ.setdefault(name, value)

    quiet.install()

    def guarded(argv: Sequence[str]) -> int:
        if argv[1:] and not takes_arguments:
            raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
        try:
            return main(argv) if takes_arguments else main()
        except KeyboardInterrupt as stop:
            says = str(stop) or "interrupted" + (f"; {then}" if then else "")
            print(says, file=sys.stderr)
            return INTERRUPTED
        except errors as error:
            print(f"error: {error}", file=sys.stderr)
            return FAILED

    app.run(guarded)
