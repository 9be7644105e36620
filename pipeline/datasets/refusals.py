"""Why there is nothing to read: the files that were refused, by reason, and what helps."""

from collections import defaultdict

from pipeline.datasets.listing import Filed, Listing
from pipeline.datasets.notes import brief

MOST_REASONS = 4
REMEDIES = {
    "missing_image": "file_name counts from inside that folder, with / between folders and in the same case",
    "not_in_annotations": "each image needs an entry in 'images'",
    "not_an_image": "images are JPEG or PNG files: .jpg, .jpeg or .png",
    "empty": "these files have no bytes: copy or download them again",
    "no_mask": "each image needs a mask of the same name in annotations/, a .png",
    "no_image": "each mask needs an image of the same name in images/",
    "mask_not_png": "masks are .png files",
}


def why_empty(listing: Listing) -> str:
    """Return the reasons for which files were refused, each with its first files and what helps."""
    entries = defaultdict[str, list[Filed]](list)
    for entry in listing.quarantined:
        entries[entry.reason].append(entry)
    common = sorted(entries, key=lambda reason: (-len(entries[reason]), reason))
    causes = [_cause(reason, entries[reason]) for reason in common[:MOST_REASONS]]
    return "; ".join(causes) or "there are no files in it"


def _cause(reason: str, refused: list[Filed]) -> str:
    advice = f" ({REMEDIES[reason]})" if reason in REMEDIES else ""
    return f"{reason}: {brief(entry.path for entry in refused)}{advice}"
