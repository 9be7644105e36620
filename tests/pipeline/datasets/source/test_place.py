"""Places give exactly the bytes that were listed, or say what is wrong."""

import pickle
from pathlib import Path

import pytest

from pipeline.datasets.source.place import Whole


def test_a_file_that_changed_since_it_was_listed_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"12345")
    place = Whole(str(path), 5)
    assert pickle.loads(pickle.dumps(place)).read() == b"12345"
    path.write_bytes(b"1234567")
    with pytest.raises(OSError, match=r"had 5 bytes when it was listed and now has 7: '.*a\.jpg'"):
        place.read()
