"""Keys: safe for every tar reader, unique, and the same whatever the order of work."""

import io
import string
import tarfile
from random import Random

import webdataset
from hypothesis import given
from hypothesis import strategies as st
from webdataset.tariterators import base_plus_ext

from pipeline.datasets import keys
from pipeline.shards import tar

names = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=120
)
paths = st.lists(st.tuples(st.sampled_from("abA"), names).map("/".join), unique=True, max_size=12)


@given(paths)
def test_keys_are_unique_even_where_case_is_ignored(found: list[str]) -> None:
    assigned = keys.assign(found)
    assert len({key.casefold() for key in assigned}) == len(found)


@given(paths, st.randoms())
def test_a_key_does_not_depend_on_the_order_of_the_paths(found: list[str], random: Random) -> None:
    assigned = dict(zip(found, keys.assign(found), strict=True))
    shuffled = random.sample(found, len(found))
    assert dict(zip(shuffled, keys.assign(shuffled), strict=True)) == assigned


@given(names)
def test_webdataset_splits_the_name_where_the_key_ends(name: str) -> None:
    key = keys.encode(name)
    assert base_plus_ext(f"{key}.jpg") == (key, "jpg")
    assert set(key) <= set(string.ascii_letters + string.digits + "_-%")
    assert not key.startswith("-")
    assert tar.header(f"{key}.json", 1)  # fits


@given(paths)
def test_the_stock_reader_finds_every_key(found: list[str]) -> None:
    assigned = keys.assign(found)
    blocks = [tar.header(f"{key}.cls", 1) + b"7".ljust(512, b"\0") for key in assigned]
    stream = io.BytesIO(b"".join(blocks) + tar.END)
    with tarfile.open(fileobj=stream) as opened:
        assert opened.getnames() == [f"{key}.cls" for key in assigned]
    stream.seek(0)
    source = [{"url": "shard", "stream": stream}]
    samples = webdataset.tariterators.group_by_keys(
        webdataset.tariterators.tar_file_expander(source)
    )
    assert [sample["__key__"] for sample in samples] == assigned


def test_safe_names_stay() -> None:
    assert keys.assign(["train/n01440764/n01440764_10026.JPEG"]) == ["n01440764_10026"]
    assert keys.assign(["val/n01440764/ILSVRC2012_val_00000293.JPEG"]) == [
        "ILSVRC2012_val_00000293"
    ]


def test_names_that_repeat_across_classes_carry_their_class() -> None:
    assert keys.assign(["train/cat/0000.jpg", "train/dog/0000.jpg", "train/dog/0001.jpg"]) == [
        "cat-0000",
        "dog-0000",
        "0001",
    ]


def test_dots_are_encoded() -> None:
    assert keys.encode("img.v2.final") == "img%2Ev2%2Efinal"


def test_names_that_differ_in_case_or_extension_only_are_told_apart() -> None:
    found = ["c/a.jpg", "c/A.jpg", "c/a.png"]
    assert len({key.casefold() for key in keys.assign(found)}) == 3


def test_no_key_looks_like_an_option() -> None:
    assert keys.encode("-rf") == "%2Drf"
