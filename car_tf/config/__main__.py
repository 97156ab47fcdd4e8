"""Lists the configurations, or prints one: each field, its value, range and meaning.

    python -m car_tf.config
    python -m car_tf.config NAME [--set section.field=value]

NAME is what `--config` takes: a name of the list, a Python file, or a run's config.json.
"""

import textwrap
from typing import Iterator, Sequence

from absl import app, flags

from car_tf import config as config_lib
from car_tf.config import cli, fields

_SET = flags.DEFINE_multi_string(
    "set", [], "Overrides one field, such as train.seed=2; may be repeated."
)


def lines(config: config_lib.Job) -> Iterator[str]:
    """Yields for each field a line `section.field=value` and its explanation."""
    for section, value in config:
        if not isinstance(value, fields.Section):
            continue
        yield f"\n{section}: {value.__doc__}"
        for name, field in type(value).model_fields.items():
            given = getattr(value, name)
            if isinstance(given, tuple):
                given = ",".join(map(str, given))
            yield f"  {section}.{name}={given}"
            words = fields.wanted(field.annotation, field.metadata)
            explained = " ".join(f"{field.description} ({words})".split())
            yield textwrap.indent(textwrap.fill(explained, 80), " " * 6)


def main(argv: Sequence[str]) -> int:
    """Prints; returns the exit code."""
    if len(argv) > 2:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[2:])}")
    if argv[1:]:
        config = config_lib.load(argv[1], _SET.value)
        print(f"{config.name}: {type(config).__doc__}")
        print("\n".join(lines(config)))
    else:
        for name, words in config_lib.summaries().items():
            print(f"{name:<18} {words}")
    return 0


if __name__ == "__main__":
    cli.run(main, errors=(config_lib.ConfigError, OSError), takes_arguments=True)
