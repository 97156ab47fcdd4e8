"""How an entry point is run."""

import os
import re
import signal
import sys
from typing import Callable, List, Sequence, Tuple

from absl import app, flags

from car_tf.config import quiet, schema

FAILED, INTERRUPTED = 1, 130
GOES_ON = "the same command goes on where it stopped"
# After "stopped" the process ends within that time.
END_SECONDS = 10
# Read by TensorFlow when it starts; what the environment says already counts.
TENSORFLOW = {
    "TF_CPP_MIN_LOG_LEVEL": "2",
    # oneDNN's kernels, which TensorFlow chooses by itself on some processors alone.
    "TF_ENABLE_ONEDNN_OPTS": "1",
}

# In help: how a module is run, and how `python -m car_tf` names it.
spelling = ("", "")


def prepare_tensorflow() -> None:
    """Has TensorFlow, whenever it is imported, start as all commands start it."""
    if "tensorflow" not in sys.modules:
        for name, value in TENSORFLOW.items():
            os.environ.setdefault(name, value)
        quiet.install()


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
    prepare_tensorflow()

    def guarded(argv: Sequence[str]) -> int:
        if argv[1:] and not takes_arguments:
            raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
        try:
            return main(argv) if takes_arguments else main()
        except KeyboardInterrupt as stop:
            says = str(stop) or "interrupted" + (f"; {then}" if then else "")
            print(says, file=sys.stderr, flush=True)
            # TensorFlow's threads may keep the process from ending: the system ends it.
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(END_SECONDS)
            return INTERRUPTED
        except errors as error:
            print(f"error: {error}", file=sys.stderr)
            return FAILED

    doc = sys.modules["__main__"].__doc__ or ""
    if spelling[0]:
        own = re.escape(spelling[0]) + r"(?![\w.])"
        sys.modules["__main__"].__doc__ = re.sub(own, spelling[1], doc)
    app.run(guarded, flags_parser=_parse)


def _parse(argv: Sequence[str]) -> List[str]:
    """Reads flags; a wrong one ends the program with one line."""
    try:
        return flags.FLAGS(argv)
    except flags.UnrecognizedFlagError as error:
        words = str(error) + _field_hint(error.flagname)
    except flags.Error as error:
        words = str(error)
    print(f"error: {' '.join(words.split())} (--help lists all)", file=sys.stderr)
    sys.exit(FAILED)


def _field_hint(name: str) -> str:
    """Returns how a flag is set that is a field of the configuration."""
    keys = [
        f"{section}.{field}"
        for section, kind in schema.Config.model_fields.items()
        for field in getattr(kind.annotation, "model_fields", ())
        if name in (field, f"{section}.{field}")
    ]
    if not keys or "set" not in flags.FLAGS:
        return ""
    return "; a field is set by " + " or ".join(f"--set {key}=VALUE" for key in keys)
