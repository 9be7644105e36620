"""Writing a published file through its model, and reading it back, or one sentence."""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from pipeline.core.csv import csv_text
from pipeline.core.errors import UserError, discreet
from pipeline.core.files import finite, write_json, write_text
from pipeline.core.records import Record

AGAIN = "run its stage again"
File = TypeVar("File", bound=Record)


def publish_json(path: Path, model: type[File], content: Mapping[str, Any]) -> File:
    """Write a file as its readers will take it, null where a number is not finite, and return it as
    they do.

    Raises:
        ValidationError: it does not fit, or holds what the model does not know.
    """
    text = json.dumps(finite(content))
    fitting = model.model_validate_json(text, extra="forbid")
    write_json(path, fitting.model_dump(by_alias=True, exclude_unset=True))
    return fitting


def publish_table(
    path: Path, model: type[Record], columns: Sequence[str], lines: Iterable[Mapping[str, Any]]
) -> None:
    """Write a table under these columns; a line may have columns by name beside its model's own."""
    fitting = [model.model_validate(finite(line)) for line in lines]
    rows = [line.model_dump(by_alias=True, exclude_unset=True) for line in fitting]
    write_text(path, csv_text(columns, rows))


def read_json(path: Path, model: type[File]) -> File:
    """Read a results file.

    Raises:
        UserError: it cannot be read, is not JSON, or does not fit the model.
    """
    try:
        data = path.read_bytes()
        json.loads(data)
        return model.model_validate_json(data)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); {AGAIN}") from None
    except ValidationError as error:
        raise UserError(f"{path} does not fit{_where(error)}; {AGAIN}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON ({error}); {AGAIN}") from None


def read_table(path: Path) -> list[dict[str, str]]:
    """Read the lines of a table; a cell that is empty is missing.

    Raises:
        UserError: it cannot be read, or a line has too few or too many cells.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file, strict=True))
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"{path} cannot be read as a table ({error}); {AGAIN}") from None

    for line, row in enumerate(rows, start=2):
        if None in row or None in row.values():
            raise UserError(
                f"{path} has a row with too few or too many cells in line {line}; {AGAIN}"
            )

    return [{key: text for key, text in row.items() if text != ""} for row in rows]


def line_of(path: Path, line: int, model: type[File], cells: Mapping[str, Any]) -> File:
    """Read one line of a table, whose cells are text.

    Raises:
        UserError: it does not fit the model.
    """
    try:
        return model.model_validate(cells, strict=False)
    except ValidationError as error:
        message = f"{path} does not fit{_where(error, f' in line {line}')}; {AGAIN}"
        raise UserError(discreet(message)) from None


def _where(error: ValidationError, place: str = "") -> str:
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"]))
    reason = first["msg"].removeprefix("Value error, ")
    return f" at '{where}'{place}: {reason}" if where else f"{place}: {reason}"
