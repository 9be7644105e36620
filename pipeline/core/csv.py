"""Tables as CSV."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipeline.core.files import finite


def csv_lines(head: Sequence[str], lines: Iterable[Sequence[Any]]) -> str:
    """Return lines of cells as CSV under a head."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(lines)
    return text.getvalue()


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Return rows as CSV under these columns; empty where one is missing, None, or a number that is
    not finite.

    Raises:
        ValueError: a row has a column that is not among them.
    """
    lines = []
    for row in rows:
        if strays := row.keys() - set(columns):
            raise ValueError(f"no column for {', '.join(sorted(strays))}")
        lines.append([finite(row.get(column)) for column in columns])
    return csv_lines(columns, lines)
