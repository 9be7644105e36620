"""Archives in place: names that lead astray, damage of every kind, and the same tree as from the
unpacked folder.
"""

import gzip
import io
import lzma
import os
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from packing import make_tar, make_zip

from pipeline.core.errors import UserError
from pipeline.datasets.images import RefusedError
from pipeline.datasets.source import Archive, Tree, open_source

OFFICIAL = {
    "a.tar": Archive(fills=("a",), at="a"),
    "a.zip": Archive(fills=("a",), at="a"),
    "b.zip": Archive(fills=("b",)),
    "classes.tar": Archive(fills=("train",), at="train", nested=True),
    "kit.tar.gz": Archive(fills=("kit",)),
    "top.zip": Archive(fills=("top", "x"), top="top"),
}
FILES = [("one.jpg", b"1" * 700), ("deep/two.jpg", b"22"), ("deep/empty.jpg", b"")]


def opened(folder: Path) -> Tree:
    return open_source(folder, OFFICIAL)


def contents(tree: Tree) -> dict[str, bytes]:
    return {path: place.read() for path, place in tree.files.items()}


def refused(tree: Tree) -> dict[str, str]:
    return {entry.path: entry.reason for entry in tree.refused}


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.tar", make_tar),
        ("a.zip", make_zip),
        ("a.zip", lambda path, files: make_zip(path, files, zipfile.ZIP_STORED)),
        (
            "top.zip",
            lambda path, files: make_zip(path, [(f"top/a/{name}", data) for name, data in files]),
        ),
        (
            "kit.tar.gz",
            lambda path, files: make_tar(
                path, [(f"a/{name}", data) for name, data in files], "w:gz"
            ),
        ),
        (
            "b.zip",
            lambda path, files: make_zip(path, [(f"./a//{name}", data) for name, data in files]),
        ),
    ],
)
def test_members_have_their_paths_in_the_layout(
    tmp_path: Path, name: str, write: Callable[[Path, list[tuple[str, bytes]]], None]
) -> None:
    odd = [
        ("._one.jpg", b"x"),
        ("deep/.git/x", b"x"),
        ("deep/.git/y", b"x"),
        ("__MACOSX/z", b"x"),
        ("in.ZIP", b"x"),
    ]
    write(tmp_path / name, [*FILES, *odd])
    tree = opened(tmp_path)
    assert contents(tree) == {f"a/{path}": data for path, data in FILES}
    assert tree.folders == ["a", "a/deep"]
    assert sorted((entry.path, entry.reason, entry.files) for entry in tree.ignored) == [
        ("a/._one.jpg", "hidden", 1),
        ("a/__MACOSX", "hidden", 1),
        ("a/deep/.git", "hidden", 2),
        ("a/in.ZIP", "nested_archive", 1),
    ]
    assert not tree.refused
    for path, data in [*FILES, *odd]:  # and so it is with the folder
        (tmp_path / "folder" / "a" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "folder" / "a" / path).write_bytes(data)
    folder = opened(tmp_path / "folder")
    assert contents(folder) == contents(tree) and folder.folders == tree.folders
    assert sorted(folder.ignored) == sorted(tree.ignored)


def nest(path: Path, classes: dict[str, list[tuple[str, bytes]]]) -> None:
    inner = []
    for name, files in classes.items():
        make_tar(path.with_name("inner"), files)
        inner.append((name, path.with_name("inner").read_bytes()))
    path.with_name("inner").unlink()
    make_tar(path, inner)


def test_a_tar_of_tars_is_folders(tmp_path: Path) -> None:
    nest(
        tmp_path / "classes.tar",
        {"n01.tar": FILES, "./n02.tar": [], "n03.tar": [("b.tar", b"no tar"), ("x", b"3")]},
    )
    tree = opened(tmp_path)
    assert contents(tree) == {
        **{f"train/n01/{path}": data for path, data in FILES},
        "train/n03/x": b"3",
    }
    assert tree.folders == ["train", "train/n01", "train/n01/deep", "train/n02", "train/n03"]
    assert [(entry.path, entry.reason) for entry in tree.ignored] == [
        ("train/n03/b.tar", "nested_archive")
    ]


UNSAFE = [
    "/etc/passwd",
    "../out.jpg",
    "deep/../../out.jpg",
    "C:/out.jpg",
    "c:out.jpg",
    "deep\\..\\out.jpg",
]


@pytest.mark.parametrize("name", [*UNSAFE, "one.jpg\0.exe"])
def test_names_that_lead_astray_in_a_zip(tmp_path: Path, name: str) -> None:
    # the writer cuts names at a NUL, so one of the same length is put in its place afterwards
    make_zip(tmp_path / "a.zip", [(name.replace("\0", "!"), b"x"), ("fine.jpg", b"y")])
    data = (
        (tmp_path / "a.zip").read_bytes().replace(name.replace("\0", "!").encode(), name.encode())
    )
    (tmp_path / "a.zip").write_bytes(data)
    tree = opened(tmp_path)
    assert refused(tree) == {f"a/{name}": "unsafe_name"} and contents(tree) == {"a/fine.jpg": b"y"}


@pytest.mark.parametrize("name", UNSAFE)
def test_names_that_lead_astray_in_a_tar_and_in_a_tar_in_it(tmp_path: Path, name: str) -> None:
    make_tar(tmp_path / "a.tar", [(name, b"x"), ("fine.jpg", b"y")])
    nest(
        tmp_path / "classes.tar",
        {"n01.tar": [(name, b"x"), ("fine.jpg", b"y")], f"{name}.tar": FILES},
    )
    tree = opened(tmp_path)
    assert set(refused(tree).values()) == {"unsafe_name"}
    assert contents(tree) == {"a/fine.jpg": b"y", "train/n01/fine.jpg": b"y"}


def test_a_path_that_no_file_system_takes_is_refused_and_makes_no_folders(tmp_path: Path) -> None:
    make_zip(tmp_path / "a.zip", [("x/" * 16_000 + "y.jpg", b"x"), ("fine.jpg", b"y")])
    tree = opened(tmp_path)
    assert set(refused(tree).values()) == {"unsafe_name"} and max(map(len, refused(tree))) < 300
    assert contents(tree) == {"a/fine.jpg": b"y"} and len(tree.folders) < 3


def special(kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(f"special-{kind.decode()}.jpg")
    info.type, info.linkname = kind, "/etc/passwd"
    return info


def test_what_is_no_file_is_not_followed(tmp_path: Path) -> None:
    kinds = [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE]
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for kind in kinds:
            archive.addfile(special(kind))
        sparse = special(tarfile.GNUTYPE_SPARSE)
        block = bytearray(sparse.tobuf(tarfile.GNU_FORMAT))
        block[386:410] = b"%011o\0%011o\0" % (0, 0)  # one stretch, without bytes
        block[483:495] = b"%011o\0" % 10**9  # and a gigabyte of nothing
        block[148:156] = b" " * 8
        block[148:156] = b"%06o\0 " % sum(block)
        archive.fileobj.write(bytes(block))
        archive.offset += 512
    link = zipfile.ZipInfo("link.jpg")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    tree = opened(tmp_path)
    names = {f"a/special-{kind.decode()}.jpg" for kind in [*kinds, tarfile.GNUTYPE_SPARSE]}
    assert refused(tree) == dict.fromkeys([*names, "link.jpg"], "not_a_file") and not tree.files


def test_long_names_and_pax_headers(tmp_path: Path) -> None:
    long = "d" * 120 + "/" + "é" * 60 + ".jpg"
    for form, name in [(tarfile.GNU_FORMAT, "a.tar"), (tarfile.PAX_FORMAT, "classes.tar")]:
        with tarfile.open(tmp_path / name, "w", format=form) as archive:
            info = tarfile.TarInfo(long)
            info.size, info.mtime = 3, 1.5
            archive.addfile(info, io.BytesIO(b"123"))
    assert contents(opened(tmp_path)) == {f"a/{long}": b"123", f"train/{long}": b"123"}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(("name", "write"), [("a.tar", make_tar), ("a.zip", make_zip)])
def test_a_member_listed_twice_stops(
    tmp_path: Path, name: str, write: Callable[[Path, list[tuple[str, bytes]]], None]
) -> None:
    write(tmp_path / name, [("x.jpg", b"1"), ("./x.jpg", b"2")])
    with pytest.raises(UserError, match=rf"{name} lists a/x\.jpg twice"):
        opened(tmp_path)


def cuts(size: int) -> list[int]:
    """Every block's border and its neighbours, and some places between them."""
    borders = {border + shift for border in range(0, size, 512) for shift in (-1, 0, 1)}
    return sorted(cut for cut in borders | set(range(0, size, 97)) if 0 <= cut < size)


@pytest.mark.parametrize("name", ["a.tar", "a.zip", "classes.tar", "kit.tar.gz"])
def test_a_cut_archive_stops_wherever_it_is_cut(tmp_path: Path, name: str) -> None:
    if name == "classes.tar":
        nest(tmp_path / name, {"n01.tar": FILES, "n02.tar": FILES[:1]})
    elif name == "a.zip":
        make_zip(tmp_path / name, FILES)
    else:
        make_tar(tmp_path / name, FILES, "w:gz" if name.endswith("gz") else "w")
    whole = (tmp_path / name).read_bytes()
    before, survived = len(opened(tmp_path).files), []
    for cut in cuts(len(whole)):
        (tmp_path / name).write_bytes(whole[:cut])
        try:
            assert len(opened(tmp_path).files) == before
            survived.append(cut)
        except UserError as error:
            assert name in str(error) and "\n" not in str(error)
    if name.endswith(".tar"):  # nothing is missing but zeros after the end mark
        assert survived and not any(whole[survived[0] - 512 :])
    else:
        assert not survived


@pytest.mark.parametrize(
    ("cut", "said"),
    [
        (3 * 512 - 100, r"one\.jpg ends at byte 1536, but there are 1436 bytes"),
        (3 * 512, "its end mark should start at byte 1536, but there are 1536 bytes"),
        (3 * 512 + 100, "but there are 1636 bytes"),
    ],
)
def test_a_cut_tar_says_what_was_expected_and_found(tmp_path: Path, cut: int, said: str) -> None:
    make_tar(tmp_path / "a.tar", FILES)
    os.truncate(tmp_path / "a.tar", cut)
    with pytest.raises(UserError, match=rf"a\.tar is cut off: .*{said}"):
        opened(tmp_path)


def test_a_cut_zip_says_what_was_expected_and_found(tmp_path: Path) -> None:
    make_zip(tmp_path / "a.zip", FILES)
    os.truncate(tmp_path / "a.zip", 100)
    with pytest.raises(
        UserError, match=r"a\.zip is cut off or no zip: .* at the end of its 100 bytes"
    ):
        opened(tmp_path)


def test_a_broken_header_in_the_middle_does_not_end_a_tar(tmp_path: Path) -> None:
    make_tar(tmp_path / "a.tar", FILES)
    data = bytearray((tmp_path / "a.tar").read_bytes())
    data[3 * 512] ^= 1  # the second member's name, so that its checksum is wrong
    (tmp_path / "a.tar").write_bytes(data)
    with pytest.raises(UserError, match="neither a member nor the end at byte 1536"):
        opened(tmp_path)


@pytest.mark.parametrize("left", [0, 100])
def test_an_inner_tar_without_its_end_does_not_run_into_the_next(tmp_path: Path, left: int) -> None:
    make_tar(tmp_path / "inner", FILES[:1])
    cut = (tmp_path / "inner").read_bytes()[: 3 * 512 + left]
    make_tar(tmp_path / "classes.tar", [("n01.tar", cut), ("n02.tar", cut)])
    with pytest.raises(UserError, match=r"n01\.tar in .*classes\.tar is cut off"):
        opened(tmp_path)


def zipped(tmp_path: Path, data: bytes = b"12345" * 40) -> tuple[Path, bytearray, int]:
    """Write a zip of one member; return it, its bytes, and where its entry in the directory
    starts.
    """
    make_zip(tmp_path / "a.zip", [("x.jpg", data)])
    raw = bytearray((tmp_path / "a.zip").read_bytes())
    return tmp_path / "a.zip", raw, raw.index(b"PK\x01\x02")


@pytest.mark.parametrize("shift", range(0, 12))
def test_a_flipped_bit_in_a_member_is_found_when_it_is_read(tmp_path: Path, shift: int) -> None:
    path, raw, _ = zipped(tmp_path)
    raw[30 + len("x.jpg") + shift % 8] ^= 1 << (shift // 2)
    path.write_bytes(raw)
    with pytest.raises(RefusedError) as caught:
        contents(opened(tmp_path))
    assert caught.value.reason == "damaged_member"


def test_a_lost_local_header_is_found_when_it_is_read(tmp_path: Path) -> None:
    path, raw, _ = zipped(tmp_path)
    raw[0] ^= 1
    path.write_bytes(raw)
    with pytest.raises(RefusedError, match="no header at byte 0"):
        contents(opened(tmp_path))


def test_an_encrypted_or_oddly_packed_member_is_refused(tmp_path: Path) -> None:
    path, raw, entry = zipped(tmp_path)
    raw[entry + 8] |= 1
    path.write_bytes(raw)
    assert refused(opened(tmp_path)) == {"a/x.jpg": "encrypted_member"}
    make_zip(path, [("x.jpg", b"12345")], zipfile.ZIP_LZMA)
    assert refused(opened(tmp_path)) == {"a/x.jpg": "unknown_compression"}


def test_a_zip_bomb_is_refused_by_what_it_declares(tmp_path: Path) -> None:
    make_zip(tmp_path / "a.zip", [("bomb.jpg", bytes(200 << 20)), ("fine.jpg", b"y" * 10000)])
    tree = opened(tmp_path)
    assert refused(tree) == {"a/bomb.jpg": "declared_too_large"} and set(tree.files) == {
        "a/fine.jpg"
    }
    assert "declares 209715200 bytes" in tree.refused[0].detail


def test_no_more_is_inflated_than_was_declared(tmp_path: Path) -> None:
    path, raw, entry = zipped(tmp_path, bytes(200 << 20))
    struct.pack_into("<I", raw, entry + 24, 1000)  # a small size in the directory
    path.write_bytes(raw)
    import tracemalloc

    tree = opened(tmp_path)
    tracemalloc.start()
    with pytest.raises(RefusedError) as caught:
        contents(tree)
    assert caught.value.reason == "damaged_member"
    assert tracemalloc.get_traced_memory()[1] < 10 << 20
    tracemalloc.stop()


def test_members_that_share_their_bytes_stop(tmp_path: Path) -> None:
    path, raw, entry = zipped(tmp_path, os.urandom(5000))
    end = raw.index(b"PK\x05\x06")
    many = bytes(raw[entry:end])
    copies = b"".join(many.replace(b"x.jpg", b"%05d" % i) for i in range(50))
    tail = bytearray(raw[end:])
    struct.pack_into("<HHI", tail, 8, 50, 50, len(copies))
    path.write_bytes(raw[:entry] + copies + tail)
    with pytest.raises(UserError, match="its members take up 250"):
        opened(tmp_path)


def test_a_gzip_bomb_stops(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "kit.tar.gz", "wb") as file:
        for _ in range(64):
            file.write(bytes(1 << 20))
    with pytest.raises(UserError, match=r"unpacks from .* to more than"):
        opened(tmp_path)


def test_a_part_that_lies_there_twice_stops(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    make_tar(tmp_path / "a.tar", FILES)
    with pytest.raises(UserError, match=r"holds both a\.tar and a, .*keep one"):
        opened(tmp_path)
    (tmp_path / "a").rmdir()
    make_zip(tmp_path / "a.zip", FILES)
    with pytest.raises(
        UserError, match=r"a\.zip lists a/one\.jpg twice, or beside another archive"
    ):
        opened(tmp_path)


def test_folders_and_archives_mix(tmp_path: Path) -> None:
    make_zip(tmp_path / "b.zip", [("b/x.jpg", b"b")])
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "y.jpg").write_bytes(b"a")
    (tmp_path / "other.zip").write_bytes(b"not looked at")
    tree = opened(tmp_path)
    assert contents(tree) == {"a/y.jpg": b"a", "b/x.jpg": b"b"}
    assert tree.where("a/y.jpg") == str(tmp_path / "a/y.jpg") and tree.where("b/x.jpg").endswith(
        "b.zip (b/x.jpg)"
    )
    assert [(entry.path, entry.reason) for entry in tree.ignored] == [
        ("other.zip", "nested_archive")
    ]


def test_an_archive_alone(tmp_path: Path) -> None:
    make_zip(tmp_path / "top.zip", [("top/x.jpg", b"1")])
    make_tar(tmp_path / "a.tar", FILES)
    assert contents(open_source(tmp_path / "top.zip", OFFICIAL)) == {"x.jpg": b"1"}
    assert set(contents(open_source(tmp_path, OFFICIAL, ["top.zip"]))) == {"x.jpg"}


def test_an_archive_that_is_a_link_out_of_the_folder_stops(tmp_path: Path) -> None:
    make_tar(tmp_path / "elsewhere.tar", FILES)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.tar").symlink_to(tmp_path / "elsewhere.tar")
    with pytest.raises(UserError, match=r"a\.tar: link_outside; put the archive itself there"):
        opened(tmp_path / "in")
    assert set(contents(open_source(tmp_path / "in", OFFICIAL, follow_links=True))) == {
        f"a/{path}" for path, _ in FILES
    }


@pytest.mark.parametrize(
    ("stored", "name"),
    [("über.jpg".encode(), "über.jpg"), (b"\x81ber.jpg", "über.jpg"), (b"\xfcber.jpg", "ⁿber.jpg")],
)
def test_a_zip_that_does_not_say_how_its_names_are_encoded(
    tmp_path: Path, stored: bytes, name: str
) -> None:
    placeholder = b"?" * len(stored)
    make_zip(tmp_path / "b.zip", [(placeholder.decode(), b"1")])
    archive = tmp_path / "b.zip"
    archive.write_bytes(archive.read_bytes().replace(placeholder, stored))
    assert contents(opened(tmp_path)) == {name: b"1"}


@pytest.mark.parametrize(
    ("packed", "said"), [(gzip.compress, "gzip; call it a.tar.gz"), (lzma.compress, "xz; call it")]
)
def test_a_tar_packed_as_a_whole_says_what_to_do(
    tmp_path: Path, packed: Callable[[bytes], bytes], said: str
) -> None:
    make_tar(tmp_path / "a.tar", FILES)
    (tmp_path / "a.tar").write_bytes(packed((tmp_path / "a.tar").read_bytes()))
    with pytest.raises(UserError, match=said):
        opened(tmp_path)


def test_a_class_tar_that_holds_its_folder(tmp_path: Path) -> None:
    nest(tmp_path / "classes.tar", {"n01.tar": [(f"n01/{name}", data) for name, data in FILES]})
    assert contents(opened(tmp_path)) == {f"train/n01/{path}": data for path, data in FILES}


def test_a_file_called_zip_and_members_that_reach_past_the_end(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"<html>no such page</html>")
    with pytest.raises(UserError, match=r"a\.zip is cut off or no zip"):
        opened(tmp_path)
    path, raw, entry = zipped(tmp_path, os.urandom(100))
    struct.pack_into("<I", raw, entry + 42, len(raw) - 20)
    path.write_bytes(raw)
    with pytest.raises(UserError, match=r"x\.jpg ends at byte"):
        opened(tmp_path)
