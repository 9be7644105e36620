"""Why there is nothing to read: the files that were refused, by reason, and what helps."""

from collections import defaultdict
from collections.abc import Iterable

from pipeline.datasets.listing import Filed, Listing
from pipeline.datasets.notes import brief

MOST_REASONS = 4
REMEDIES = {
    "missing_image": "file_name counts from inside that folder, with / between folders and in "
    "the same case",
    "not_in_annotations": "each image needs an entry in 'images'",
    "size_mismatch": "width and height are those of the stored pixels: EXIF orientation is not "
    "applied",
    "not_an_image": "images are JPEG or PNG files: .jpg, .jpeg or .png",
    "empty": "copy or download it again",
    "truncated": "copy or download it again",
    "damaged": "copy or download it again",
    "too_many_pixels": "raise shard.max_pixels",
    "too_large_for_jpeg": "cut it into parts",
    "no_mask": "each image needs a mask of the same name in annotations/, a .png",
    "no_image": "each mask needs an image of the same name in images/",
    "mask_not_png": "save masks as PNG, from the labels and not from a JPEG",
    "mask_depth": "save masks with 8 bits a pixel",
    "mask_channels": "save masks with one channel of class numbers",
    "mask_size": "a mask has the size of its image's stored pixels",
    "mask_value": "each value needs a row in objectInfo150.txt; 0 is what is ignored",
    "unknown_compression": "pack the zip anew, stored or deflated",
    "unsafe_name": "pack the archive anew, with / between folders",
}


def why_empty(listing: Listing) -> str:
    """Return the reasons for which files were refused, each with its first files and what helps."""
    entries = defaultdict[str, list[Filed]](list)
    for entry in listing.quarantined:
        entries[entry.reason].append(entry)
    common = sorted(entries, key=lambda reason: (-len(entries[reason]), reason))
    causes = [_cause(reason, entries[reason]) for reason in common[:MOST_REASONS]]
    return "; ".join(causes) or "there are no files in it"


def what_helps(reasons: Iterable[str]) -> str:
    """Return what mends files of these reasons, in brackets, or nothing."""
    advice = [f"{reason}: {REMEDIES[reason]}" for reason in sorted(reasons) if reason in REMEDIES]
    return f" ({'; '.join(advice[:MOST_REASONS])})" if advice else ""


def _cause(reason: str, refused: list[Filed]) -> str:
    advice = what_helps([reason]).replace(f"{reason}: ", "")
    return f"{reason}: {brief(entry.path for entry in refused)}{advice}"
