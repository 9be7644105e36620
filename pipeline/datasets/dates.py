"""When raw files were last written: their names and sizes do not show that one was written over.

Dates are kept as scratch and are part of no digest: a copy of the same files has other dates and
gives the same shards.
"""

import json
import os
from pathlib import Path

from pipeline.core.files import digest, write_json
from pipeline.datasets.listing import Listing


def remember(note: Path, listing: Listing) -> None:
    """Note when the files of a listing were last written."""
    write_json(
        note, {"listing": listing.digest(), "root": _root(listing), "dates": _dates(listing)}
    )


def rewritten(note: Path, listing: Listing) -> bool:
    """Return whether a file of this very listing was written since `remember`; False where that is
    not known.

    A source that lies elsewhere now, or was copied, has dates of its own that say nothing.
    """
    try:
        remembered = json.loads(note.read_bytes())
        same = remembered["listing"] == listing.digest() and remembered["root"] == _root(listing)
        return bool(same and remembered["dates"] != _dates(listing))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _root(listing: Listing) -> str:
    """Return a digest of where the source lies."""
    return digest(os.path.realpath(listing.root))


def _dates(listing: Listing) -> str:
    used = {
        listing.tree.files[path].file
        for split in listing.splits
        for path in listing.files_in(split)
    }
    return digest([(file, os.stat(file).st_mtime_ns) for file in sorted(used)])
