"""COCO's annotation files: what each row must look like, and what becomes of rows that mean
nothing.

A row of another shape (an id that is no integer, a box that is no list of four numbers) stops the
work: whoever wrote it means something else. What a row of the right shape leaves out is filled in
and noted (`area`, `iscrowd`); a box whose mask cannot be drawn stays as a box; a box that is no
number is dropped. A box without area or over the edge is COCO's own: training drops or clips it, an
evaluation keeps it, so that it sees exactly the official ground truth.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.core.errors import UserError
from pipeline.datasets.coco.segmentations import Mask, drawable
from pipeline.datasets.listing import Listing
from pipeline.datasets.metadata import read_json
from pipeline.datasets.notes import Notes, brief
from pipeline.datasets.objects import CROWD, DEGENERATE, NEGATIVE, why_unseen
from pipeline.datasets.targets import NO_MASK, Tally

Row = dict[str, Any]
LARGEST_ID = 2**63 - 1
LARGEST_SIDE = 2**31 - 1
LARGEST_NUMBER = 1e9
OVER_THE_EDGE = 0.01  # pixels; boxes are written with two digits
EXAMPLES = 3
# a box's edges, rounded or counted from the pixels inside, lie no farther from those of its
# polygons
A_PIXEL = 1.5


class Field(NamedTuple):
    """What a row says: in words, and as a test; whether it may be missing or null."""

    words: str
    holds: Callable[[Any], bool]
    optional: bool = False


def read(listing: Listing, path: str) -> dict[str, list[Row]]:
    """Return the lists `images`, `annotations` and `categories` of an annotation file.

    Raises:
        UserError: the file is not JSON, a list is missing, a row is of another shape, or ids
            repeat.
    """
    value = read_json(listing, path, finite=False)
    where = Path(listing.tree.where(path))
    for name, fields in FIELDS.items():
        rows = value.get(name) if isinstance(value, dict) else None
        if not isinstance(rows, list):
            held = (
                f"a mapping of {brief(sorted(map(str, value)))}"
                if isinstance(value, dict)
                else _brief(value)
            )
            raise UserError(
                f"{where}: expected a list called {name!r}, as in instances_train2017.json; "
                f"found {held}"
            )
        _check_rows(where, name, rows, fields)
        _check_unique(where, name, (row["id"] for row in rows))

    return {name: value[name] for name in FIELDS}


def clean(
    row: Row, width: int, height: int, exact: bool, where: str, tally: Tally, notes: Notes
) -> Row | None:
    """Return an annotation that training or evaluation can use, or None where it is dropped.

    Args:
        row: a row of `annotations` that `read` returned.
        width: pixels of its image.
        height: pixels of its image.
        exact: keep boxes as they are, for an evaluation.
        where: the file, for the notes.
        tally: counts the annotation.
        notes: counts, with examples, what was wrong or is not as the file says.
    """
    example = f"{where} annotation {row['id']}"
    tally.listed += 1
    if not all(map(_is_finite, row["bbox"])):
        tally.dropped["not_finite"] += 1
        notes.add("not_finite", f"{example} (its box)")
        return None

    mask = drawable(row["segmentation"], width, height)
    if _is_outside(row["bbox"], width, height) and _is_corners(row["bbox"], mask):
        tally.dropped["looks_like_corners"] += 1
        notes.add("looks_like_corners", f"{example} (bbox {row['bbox']})")
        return None

    kept = {
        "id": row["id"],
        "category_id": row["category_id"],
        "iscrowd": _crowd(row, example, notes),
    }
    kept |= {
        "bbox": row["bbox"],
        "segmentation": mask.segmentation,
        "area": _area(row, mask, example, notes),
    }

    if not exact:
        kept["bbox"] = _clipped(row["bbox"], width, height)
    if kept["bbox"] != row["bbox"] or (exact and _is_outside(row["bbox"], width, height)):
        notes.add("box_outside_kept" if exact else "clipped_box", example)

    reason = why_unseen(kept)
    if reason in (DEGENERATE, NEGATIVE) and not exact:
        tally.dropped[reason] += 1
        notes.add(reason, example)
        return None

    _count(reason, mask, example, tally, notes)
    return kept


def _crowd(row: Row, example: str, notes: Notes) -> int:
    """Return whether a row is a crowd, as 0 or 1; one that does not say is none."""
    value = row.get("iscrowd")
    if type(value) is not int:
        notes.add("iscrowd_missing" if value is None else "iscrowd_boolean", example)
    return int(value or 0)


def _area(row: Row, mask: Mask, example: str, notes: Notes) -> float:
    """Return a row's area in pixels; where it says none that can be true, that of its mask, or else
    of its box.
    """
    area: float | None = row.get("area")
    if area is not None and _is_finite(area) and area > 0:
        return area
    computed: float = mask.area or max(0.0, row["bbox"][2]) * max(0.0, row["bbox"][3])
    if area != 0 or computed > 0:
        notes.add("area_missing" if area is None else "area_computed", example)
    return computed


def _clipped(box: list[float], width: int, height: int) -> list[float]:
    """Return a box inside the image: the same where it is, else with two digits."""
    if not _is_outside(box, width, height) or min(box[2:]) < 0:
        return box
    left = box[0]
    top = box[1]
    right = box[0] + box[2]
    bottom = box[1] + box[3]

    left, right = (min(max(edge, 0), width) for edge in (left, right))
    top, bottom = (min(max(edge, 0), height) for edge in (top, bottom))
    return [left, top, round(right - left, 2), round(bottom - top, 2)]


def _is_corners(box: list[float], mask: Mask) -> bool:
    """Say whether a box holds the right and lower edge of its polygons in place of their width and
    height.
    """
    extent = mask.extent
    if extent is None or max(box[:2]) <= 2 * A_PIXEL:
        # from the corner of the image the two are the same
        return False
    return all(abs(number - edge) < A_PIXEL for number, edge in zip(box, extent, strict=True))


def _is_outside(box: list[float], width: int, height: int) -> bool:
    left = box[0]
    top = box[1]
    right = box[0] + box[2]
    bottom = box[1] + box[3]

    return (
        min(left, top) < -OVER_THE_EDGE
        or right > width + OVER_THE_EDGE
        or bottom > height + OVER_THE_EDGE
    )


def _count(reason: str | None, mask: Mask, example: str, tally: Tally, notes: Notes) -> None:
    """Count an annotation that stays: whether training sees it, and whether it has a mask."""
    if reason is None:
        tally.seen += 1
    else:
        tally.judging_only[reason] += 1
        if reason != CROWD:
            notes.add(f"{reason}_kept" if reason == DEGENERATE else reason, example)

    code, what = mask.problem or (NO_MASK, "")
    if not mask.segmentation:
        tally.without_mask[code] += 1
    if mask.problem or not mask.segmentation:
        notes.add(code, f"{example} ({what})" if what else example)


def _is_finite(number: float) -> bool:
    return abs(number) < LARGEST_NUMBER  # false for NaN too


def _check_rows(where: Path, name: str, rows: Sequence[Any], fields: Mapping[str, Field]) -> None:
    """Stop at rows that are not of their list's shape; the first few are named."""
    if wrong := [number for number, row in enumerate(rows) if not isinstance(row, dict)]:
        raise UserError(
            f"{_entries(where, name, wrong)}: should be a mapping, found {_brief(rows[wrong[0]])}"
        )
    if any("segments_info" in row for row in rows[:EXAMPLES]):
        raise UserError(
            f"{where} is a panoptic file (its annotations hold segments_info); instances "
            "are read: put "
            "instances_train2017.json and instances_val2017.json into annotations/, or convert "
            "it to that form"
        )

    for field, (words, holds, optional) in fields.items():
        lacking = (
            [] if optional else [number for number, row in enumerate(rows) if field not in row]
        )
        if lacking:
            raise UserError(
                f"{_entries(where, name, lacking)} lacks {field}, which should be {words}; found "
                f"{_brief(rows[lacking[0]])}"
            )
        wrong = [
            number for number, row in enumerate(rows) if not _holds(row.get(field), holds, optional)
        ]
        if wrong:
            value = _brief(rows[wrong[0]][field])
            raise UserError(
                f"{_entries(where, name, wrong)}: {field} should be {words}, found {value}"
            )


def _holds(value: Any, holds: Callable[[Any], bool], optional: bool) -> bool:
    return (optional and value is None) or holds(value)


def _entries(where: Path, name: str, numbers: Sequence[int]) -> str:
    """Return how to call some entries of a list: the first, then the next ones."""
    more = f" (and entries {brief(numbers[1:])})" if len(numbers) > 1 else ""
    return f"{where}: entry {numbers[0]} of {name!r}{more}"


def _check_unique(where: Path, name: str, ids: Iterable[int]) -> None:
    if repeated := [i for i, times in Counter(ids).items() if times > 1]:
        raise UserError(
            f"{where}: ids of {name!r} repeat: {brief(repeated)}; give each entry an id of its own"
        )


def _brief(value: Any) -> str:
    """Return the start of what was found; of a list or mapping only its first entries, however
    large it is.
    """
    if isinstance(value, (list, dict)):
        return (
            f"a {'list' if isinstance(value, list) else 'mapping'} of {len(value)}: {_start(value)}"
        )
    return _start(value)


def _start(value: Any) -> str:
    text = (
        repr(value)
        if not isinstance(value, int) or abs(value) <= LARGEST_ID
        else "a very large integer"
    )
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
    if value is None:
        return True
    if isinstance(value, list):
        return all(map(_are_numbers, value))
    if not isinstance(value, dict) or "size" not in value or "counts" not in value:
        return False

    size = value["size"]
    counts = value["counts"]
    valid_counts = isinstance(counts, str) or (
        type(counts) is list and {*map(type, counts)} <= {int}
    )
    return valid_counts and type(size) is list and {*map(type, size)} == {int}


ID = Field("an integer from 0 to 2^63 - 1 (not text, not a float)", _is_id)
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
        "bbox": Field(
            "a list of four numbers (left, top, width, height in pixels)",
            lambda value: _are_numbers(value) and len(value) == 4,
        ),
        "area": Field("a number", lambda value: type(value) in (int, float), optional=True),
        "iscrowd": Field(
            "0 or 1", lambda value: type(value) in (int, bool) and value in (0, 1), optional=True
        ),
        "segmentation": Field(
            "polygons (a list of lists [x1, y1, x2, y2, ...]) or run lengths (size and counts); "
            "[] for a box alone",
            _is_segmentation,
        ),
    },
    "categories": {"id": ID, "name": Field("text", _is_text)},
}
ANNOTATION_FIELDS = tuple(name for name in FIELDS["annotations"] if name != "image_id")
