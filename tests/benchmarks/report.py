"""What a row of the benchmark hands back: tables for people and for JSON."""

from __future__ import annotations

import dataclasses
from typing import Any, Dict, List, Sequence, Tuple


@dataclasses.dataclass(frozen=True)
class Table:
    """Numbers under headings.

    Attributes:
      title: what was measured, sizes included.
      columns: headings, with units.
      rows: cells; None where there is nothing.
      notes: sentences below the table.
    """

    title: str
    columns: Tuple[str, ...]
    rows: Sequence[Sequence[Any]]
    notes: Tuple[str, ...] = ()

    def __post_init__(self):
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(
                    f"{self.title}: wanted {len(self.columns)} cells, got {row}"
                )

    def markdown(self) -> str:
        """Returns the table as aligned Markdown."""
        lines = [self.columns, *([cell(value) for value in row] for row in self.rows)]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.columns))]
        lines.insert(1, ["-" * width for width in widths])
        text = [
            "| " + " | ".join(c.ljust(w) for c, w in zip(line, widths)) + " |"
            for line in lines
        ]
        return "\n".join([f"{self.title}:", "", *text, *("", *self.notes)]).rstrip()

    def to_dict(self) -> Dict[str, Any]:
        """Returns what `--json` writes."""
        records: List[Dict[str, Any]] = [
            dict(zip(self.columns, row)) for row in self.rows
        ]
        return {"title": self.title, "rows": records, "notes": list(self.notes)}


def cell(value: Any) -> str:
    """Returns a number with three significant digits, anything else as it is."""
    if value is None:
        return ""
    if not isinstance(value, float):
        return str(value)
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}"
