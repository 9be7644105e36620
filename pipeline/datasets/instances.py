"""COCO's annotation files: what each row must look like, and what becomes of rows that mean nothing.

A row of another shape (an id that is no integer, a box that is no list of four numbers) stops the work: whoever wrote
it means something else. A row of the right shape that no evaluator can read (numbers that are not finite, run lengths
that do not fill the image, no polygon of three points or more) is dropped. A box without area or over the edge is
COCO's own: training drops or clips it, an evaluation keeps it, so that it sees exactly the official ground truth.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.datasets.listing import Listing
from pipeline.datasets.metadata import read_json
from pipeline.datasets.notes import Notes
from pipeline.errors import UserError

Row = dict[str, Any]
LARGEST_ID = 2**63 - 1
LARGEST_SIDE = 2**31 - 1
LARGEST_NUMBER = 1e9
OVER_THE_EDGE = 0.01  # pixels; boxes are written with two digits


class Field(NamedTuple):
    """What a row says: in words, and as a test."""

    words: str
    holds: Callable[[Any], bool]


def read(listing: Listing, path: str) -> dict[str, list[Row]]:
    """Return the lists `images`, `annotations` and `categories` of an annotation file.

    Raises:
        UserError: the file is not JSON, a list is missing, a row is of another shape, or ids repeat.
    """
    value, where = read_json(listing, path, finite=False), listing.root / path
    for name, fields in FIELDS.items():
        rows = value.get(name) if isinstance(value, dict) else None
        if not isinstance(rows, list):
            raise UserError(f"{where}: expected a list called {name!r}, as in instances_train2017.json")
        for number, row in enumerate(rows):
            _check_row(where, name, number, row, fields)
        _check_unique(where, name, (row["id"] for row in rows))
    return {name: value[name] for name in FIELDS}


def clean(row: Row, width: int, height: int, exact: bool, where: str, notes: Notes) -> Row | None:
    """Return an annotation that training or evaluation can use, or None where it is dropped.

    Args:
        row: a row of `annotations` that `read` returned.
        width: pixels of its image.
        height: pixels of its image.
        exact: keep boxes as they are, for an evaluation.
        where: the file, for the notes.
        notes: counts `not_finite`, `bad_rle`, `degenerate_polygon`, `degenerate_box` (dropped), `clipped_box`, and
            where boxes stay, `degenerate_box_kept` and `box_outside_kept`.
    """
    kept, example = {name: row[name] for name in ANNOTATION_FIELDS}, f"{where} annotation {row['id']}"
    segmentation = row["segmentation"]
    polygons = segmentation if isinstance(segmentation, list) else []
    if not all(_finite(numbers) for numbers in (row["bbox"], [row["area"]], *polygons)):
        notes.add("not_finite", example)
        return None
    if isinstance(segmentation, dict):
        if not _fills(segmentation, width, height):
            notes.add("bad_rle", example)
            return None
    else:
        kept["segmentation"] = [polygon for polygon in polygons if len(polygon) >= 6 and len(polygon) % 2 == 0]
        if not polygons or len(kept["segmentation"]) < len(polygons):
            notes.add("degenerate_polygon", example)
        if not kept["segmentation"]:
            return None
    left, top, wide, high = row["bbox"]
    right, bottom = left + wide, top + high
    if min(left, top) < -OVER_THE_EDGE or right > width + OVER_THE_EDGE or bottom > height + OVER_THE_EDGE:
        notes.add("box_outside_kept" if exact else "clipped_box", example)
        left, right = (min(max(edge, 0), width) for edge in (left, right))
        top, bottom = (min(max(edge, 0), height) for edge in (top, bottom))
        wide, high = round(right - left, 2), round(bottom - top, 2)
        kept["bbox"] = row["bbox"] if exact else [left, top, wide, high]
    if wide <= 0 or high <= 0:
        notes.add("degenerate_box_kept" if exact else "degenerate_box", example)
        return kept if exact else None
    return kept


def run_lengths(counts: str) -> list[int] | None:
    """Return the run lengths that COCO's compressed form holds, or None where the text is not of that form.

    Each number takes characters of six bits, lowest first: five of the number and one that says that more follow; from
    the fourth number on, what is stored is the difference to the number before the last.
    """
    runs: list[int] = []
    value = shift = 0
    for letter in counts:
        bits = ord(letter) - 48
        if not 0 <= bits < 64 or shift > 60:
            return None
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            if bits & 16:
                value -= 1 << shift
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    return None if shift else runs


def _fills(runs: Mapping[str, Any], width: int, height: int) -> bool:
    """Say whether run lengths are of this image's size and cover it exactly."""
    counts: list[int] = run_lengths(runs["counts"]) or [] if isinstance(runs["counts"], str) else runs["counts"]
    return runs["size"] == [height, width] and bool(counts) and min(counts) >= 0 and sum(counts) == width * height


def _finite(numbers: list[float]) -> bool:
    return all(map(LARGEST_NUMBER.__gt__, map(abs, numbers)))  # false for NaN too; 60 million numbers in COCO


def _check_row(where: Path, name: str, number: int, row: Any, fields: Mapping[str, Field]) -> None:
    """Stop at a row that is not of its list's shape."""
    if not isinstance(row, dict):
        raise UserError(f"{where}: entry {number} of {name!r} should be a mapping, found {_brief(row)}")
    for field, (words, holds) in fields.items():
        if field not in row:
            raise UserError(f"{where}: entry {number} of {name!r} lacks {field}: {_brief(row)}")
        if not holds(row[field]):
            raise UserError(
                f"{where}: entry {number} of {name!r}: {field} should be {words}, found {_brief(row[field])}"
            )


def _check_unique(where: Path, name: str, ids: Iterable[int]) -> None:
    if repeated := [str(i) for i, times in Counter(ids).items() if times > 1]:
        more = f" and {len(repeated) - 10} more" if len(repeated) > 10 else ""
        raise UserError(f"{where}: ids of {name!r} repeat: {', '.join(repeated[:10])}{more}")


def _brief(value: Any) -> str:
    """Return the start of what was found; of a list or mapping only its first entries, however large it is."""
    if isinstance(value, (list, dict)):
        return f"a {'list' if isinstance(value, list) else 'mapping'} of {len(value)}: {_start(value)}"
    return _start(value)


def _start(value: Any) -> str:
    text = repr(value) if not isinstance(value, int) or abs(value) <= LARGEST_ID else "a very large integer"
    return ascii(text[:100])[1:-1] + (" ..." if len(text) > 100 else "")


def _is_id(value: Any) -> bool:
    return type(value) is int and 0 <= value <= LARGEST_ID


def _is_side(value: Any) -> bool:
    return type(value) is int and 0 < value <= LARGEST_SIDE


def _is_text(value: Any) -> bool:
    """Say whether a value is text that can be written: JSON may escape half a character."""
    return isinstance(value, str) and value.encode(errors="replace").decode() == value


def _is_path(value: Any) -> bool:
    return _is_text(value) and "\0" not in value and not {"", ".", ".."} & set(value.split("/"))


def _are_numbers(value: Any) -> bool:
    return type(value) is list and {*map(type, value)} <= {int, float}


def _is_segmentation(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_are_numbers, value))
    if not isinstance(value, dict) or "size" not in value or "counts" not in value:
        return False
    size, counts = value["size"], value["counts"]
    whole = isinstance(counts, str) or (type(counts) is list and {*map(type, counts)} <= {int})
    return whole and type(size) is list and {*map(type, size)} == {int}


ID = Field("an integer from 0 to 2^63 - 1", _is_id)
SIDE = Field("a positive integer", _is_side)
FIELDS = {
    "images": {
        "id": ID,
        "file_name": Field("a path inside the split's folder", _is_path),
        "width": SIDE,
        "height": SIDE,
    },
    "annotations": {
        "id": ID,
        "image_id": ID,
        "category_id": ID,
        "bbox": Field("a list of four numbers", lambda value: _are_numbers(value) and len(value) == 4),
        "area": Field("a number", lambda value: type(value) in (int, float)),
        "iscrowd": Field("0 or 1", lambda value: type(value) is int and value in (0, 1)),
        "segmentation": Field("polygons (lists of numbers) or run lengths (size and counts)", _is_segmentation),
    },
    "categories": {"id": ID, "name": Field("text", _is_text)},
}
ANNOTATION_FIELDS = tuple(name for name in FIELDS["annotations"] if name != "image_id")
