"""Names of any bytes can be written down, and other spellings of a name are matched where that is
clear.
"""

import json
import os
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.datasets.source.names import escaped, printable, raw, respelled

NFC, NFD = (unicodedata.normalize(form, "über.jpg") for form in ("NFC", "NFD"))
MISTAKEN, CODE_PAGE = NFC.encode().decode("cp437"), os.fsdecode(NFC.encode("cp437"))


@given(st.binary())
def test_any_bytes_can_be_written_down(data: bytes) -> None:
    name = os.fsdecode(data)
    assert raw(name) == data
    assert json.loads(json.dumps(escaped(name)).encode()) == escaped(name).encode().decode()
    assert printable(name).isprintable() or not name


def test_escapes_are_those_of_bytes() -> None:
    assert escaped(os.fsdecode(b"caf\xe9/a")) == r"caf\xe9/a"
    assert printable("a\nb\x1b") == r"a\nb\x1b"
    assert escaped("\ud83d") == r"\ud83d" and raw("\ud83d") == b"\xed\xa0\xbd"


@pytest.mark.parametrize(
    "there", [NFD, MISTAKEN, CODE_PAGE, "über.JPG", os.fsdecode(NFC.encode("latin-1"))]
)
def test_another_spelling_is_found(there: str) -> None:
    assert respelled([NFC], [there, "uber.jpg"]) == {NFC: there}
    assert respelled([NFC], [there, NFC]) == {}, "what is there under its very name needs no other"


@pytest.mark.parametrize(
    ("names", "there"),
    [
        ([NFC], [NFD, "über.JPG"]),
        (["A.jpg", "A.JPg"], ["A.JPG"]),
        ([NFC, NFD], [NFD]),
        (["a.jpg"], ["A.jpg"]),
    ],
)
def test_what_is_not_clear_is_not_matched(names: list[str], there: list[str]) -> None:
    assert respelled(names, there) == {}
