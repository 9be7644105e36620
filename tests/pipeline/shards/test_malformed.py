"""Malformed inputs among 200 good ones of each layout: each ends in its bucket, and no good one is
touched.
"""

import io
import json
import os
import pickle
import shutil
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from helpers import one_by_one
from PIL import Image

from pipeline.core.errors import UserError
from pipeline.datasets.base import list_folder
from pipeline.datasets.synthetic import materialise
from pipeline.params import Shard, Synthetic
from pipeline.shards import Manifest
from pipeline.shards.build import build

GOOD = {"train": 160, "val": 40}
SIDE = 32
Make = Callable[[Path], object]


class Case(NamedTuple):
    """One malformed input: where it lies, how it is made there, and its bucket and reason (a note's
    where kept).
    """

    path: str
    make: Make
    bucket: str
    reason: str = ""


def pixels(mode: str = "RGB", seed: int = 0) -> Image.Image:
    """Return an image that no other has, unless seed and mode are the same."""
    drawn = np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    return Image.fromarray(drawn).convert(mode)


def encoded(kind: str = "JPEG", image: Image.Image | None = None, **options: Any) -> bytes:
    out = io.BytesIO()
    (image or pixels()).save(out, kind, **options)
    return out.getvalue()


def data(content: bytes) -> Make:
    return lambda path: path.write_bytes(content)


def picture(mode: str = "RGB", kind: str = "JPEG", seed: int = 0, **options: Any) -> Make:
    return data(encoded(kind, pixels(mode, seed), **options))


def twin(pattern: str) -> Make:
    """Copy the first good file of another folder."""
    return lambda path: shutil.copy(sorted(path.parents[2].glob(pattern))[0], path)


def link(target: str) -> Make:
    return lambda path: path.symlink_to(target)


def exif(orientation: int, broken: bool = False) -> bytes:
    block = Image.Exif()
    block[0x0112] = orientation
    found = block.tobytes()
    return found[:-6] if broken else found


def bomb() -> bytes:
    """Return a small PNG of 100 million pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    rows = zlib.compress(bytes(10_001 * 10_000), 9)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 10_000, 10_000, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


class Payload:
    """Leaves a file where whoever unpickles it stands."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch executed",)


def archive(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as opened:
        opened.writestr("a.JPEG", b"x")


def harmful_tar(path: Path) -> None:
    with tarfile.open(path, "w") as opened:
        opened.addfile(tarfile.TarInfo("../../executed"), io.BytesIO())


JPEG = encoded()
DEEP = Image.fromarray((np.arange(SIDE * SIDE, dtype=np.uint16) * 60).reshape(SIDE, SIDE))
TRAIN = "train/n00000001"
IMAGENET = [
    Case(f"{TRAIN}/png.JPEG", picture(kind="PNG", seed=1), "repaired", "format_mismatch"),
    Case(f"{TRAIN}/plain.png", picture(kind="PNG", seed=2), "kept"),
    Case(f"{TRAIN}/cmyk.JPEG", picture("CMYK", seed=3), "repaired", "cmyk"),
    Case(f"{TRAIN}/exif.JPEG", picture(seed=4, exif=exif(6, broken=True)), "repaired", "exif_bad"),
    Case(f"{TRAIN}/rotated.JPEG", picture(seed=5, exif=exif(6)), "kept", "exif_rotated"),
    Case(f"{TRAIN}/grey.JPEG", picture("L", seed=6), "kept"),
    Case(f"{TRAIN}/palette.png", picture("P", "PNG", 7), "repaired", "mode_palette"),
    Case(f"{TRAIN}/alpha.png", picture("RGBA", "PNG", 8), "repaired", "mode_alpha"),
    Case(f"{TRAIN}/grey_alpha.png", picture("LA", "PNG", 9), "repaired", "mode_grey_alpha"),
    Case(f"{TRAIN}/bilevel.png", picture("1", "PNG", 10), "repaired", "mode_bilevel"),
    Case(f"{TRAIN}/deep.png", data(encoded("PNG", DEEP)), "repaired", "mode_16_bit"),
    Case(f"{TRAIN}/cut.JPEG", data(JPEG[: len(JPEG) // 2]), "quarantined", "truncated"),
    Case(f"{TRAIN}/cut.png", data(encoded("PNG")[:500]), "quarantined", "truncated"),
    Case(f"{TRAIN}/header.JPEG", data(JPEG[:4] + b"\0" * 60), "quarantined", "damaged"),
    Case(f"{TRAIN}/empty.JPEG", data(b""), "quarantined", "empty"),
    Case(
        f"{TRAIN}/error_page.JPEG",
        data(b"<!DOCTYPE html><title>404</title>"),
        "quarantined",
        "not_an_image",
    ),
    Case(f"{TRAIN}/gif.JPEG", picture("P", "GIF"), "quarantined", "not_an_image"),
    Case(f"{TRAIN}/pickle.JPEG", data(pickle.dumps(Payload())), "quarantined", "not_an_image"),
    Case(f"{TRAIN}/labels.pkl", data(pickle.dumps(Payload())), "quarantined", "not_an_image"),
    Case(
        f"{TRAIN}/pipe:touch executed.JPEG", data(b"|touch executed"), "quarantined", "not_an_image"
    ),
    Case(f"{TRAIN}/bomb.png", data(bomb()), "quarantined", "too_many_pixels"),
    Case(f"{TRAIN}/notes.txt", data(b"notes"), "quarantined", "not_an_image"),
    Case(f"{TRAIN}/deeper/a.JPEG", picture(seed=11), "quarantined", "outside_layout"),
    Case("train/stray.JPEG", picture(seed=12), "quarantined", "outside_layout"),
    Case(f"{TRAIN}/nowhere.JPEG", link("gone"), "quarantined", "dangling_link"),
    Case(f"{TRAIN}/outside.JPEG", link("/etc/hostname"), "quarantined", "link_outside"),
    Case(f"{TRAIN}/loop", link(".."), "quarantined", "link_loop"),
    Case(f"{TRAIN}/queue.JPEG", os.mkfifo, "quarantined", "not_a_file"),
    Case(f"{TRAIN}/.DS_Store", data(b"x"), "ignored", "hidden"),
    Case(f"{TRAIN}/._a.JPEG", data(b"x"), "ignored", "hidden"),
    Case(f"{TRAIN}/Thumbs.db", data(b"x"), "ignored", "hidden"),
    Case(f"{TRAIN}/nested.zip", archive, "ignored", "nested_archive"),
    Case("harmful.tar", harmful_tar, "ignored", "nested_archive"),
    Case(f"{TRAIN}/caf\u00e9.JPEG", picture(seed=13), "kept"),
    Case(f"{TRAIN}/cafe\u0301.JPEG", picture(seed=14), "kept"),
    Case(f"{TRAIN}/new\nline.JPEG", picture(seed=15), "kept"),
    Case(f"{TRAIN}/-rf.JPEG", picture(seed=16), "kept"),
    Case(f"{TRAIN}/{'long' * 50}.JPEG", picture(seed=17), "kept"),
    Case(f"{TRAIN}/dots.in.name.JPEG", picture(seed=18), "kept"),
    Case(f"{TRAIN}/CASE.JPEG", picture(seed=19), "kept"),
    Case(f"{TRAIN}/case.jpg", picture(seed=20), "kept"),
    Case(f"{TRAIN}/" + os.fsdecode(b"latin\xe9.JPEG"), picture(seed=21), "kept"),
    Case(f"{TRAIN}/" + os.fsdecode(b"latin\xe9.gif"), data(b"GIF"), "quarantined", "not_an_image"),
    Case("train/n00000002/twin.JPEG", twin("train/n00000003/*.JPEG"), "kept", "dup_hash"),
    Case("val/n00000004/twin.JPEG", twin("train/n00000004/*.JPEG"), "kept", "dup_hash"),
]


def test_malformed_images_among_good_ones(tmp_path: Path) -> None:
    assert_buckets("imagenet", IMAGENET, tmp_path)


def rows(path: Path, changes: dict[str, Any]) -> None:
    """Make a good image of its own and an annotation with these changes."""
    path.write_bytes(encoded(image=pixels(seed=sum(path.name.encode()))))
    annotate(path, [changes])


def annotate(path: Path, changes: Sequence[dict[str, Any]]) -> None:
    """Add an image and annotations to its split's annotation file."""
    names = path.parents[1] / "annotations" / f"instances_{path.parent.name}.json"
    value = json.loads(names.read_text())
    number = max(image["id"] for image in value["images"]) + 1
    value["images"].append({"id": number, "file_name": path.name, "width": SIDE, "height": SIDE})
    for change in changes:
        value["annotations"].append(
            {
                "id": max(row["id"] for row in value["annotations"]) + 1,
                "image_id": number,
                "category_id": 1,
                "bbox": [1, 1, 9, 9],
                "area": 40.5,
                "iscrowd": 0,
                "segmentation": [[1, 1, 9, 1, 9, 9]],
                **change,
            }
        )
    names.write_text(json.dumps(value))


def annotated(**changes: Any) -> Make:
    return lambda path: rows(path, changes)


def unannotated(path: Path) -> None:
    path.write_bytes(encoded(image=pixels(seed=99)))
    annotate(path, [])


def of_another_size(path: Path) -> None:
    path.write_bytes(encoded(image=pixels(seed=98).resize((20, 30))))
    annotate(path, [])


def damaged(content: bytes) -> Make:
    def make(path: Path) -> None:
        path.write_bytes(content)
        annotate(path, [{}])

    return make


def crowd(counts: Any, size: Sequence[int] = (SIDE, SIDE)) -> dict[str, Any]:
    return {"iscrowd": 1, "segmentation": {"size": list(size), "counts": counts}}


COCO = [
    Case("train2017/unannotated.jpg", unannotated, "kept", "no_annotations"),
    Case("train2017/flat.jpg", annotated(bbox=[1, 1, 9, 0]), "kept", "degenerate_box"),
    Case("val2017/flat.jpg", annotated(bbox=[1, 1, 9, 0]), "kept", "degenerate_box_kept"),
    Case("train2017/outside.jpg", annotated(bbox=[-1, 1, 9, 90]), "kept", "clipped_box"),
    Case("val2017/outside.jpg", annotated(bbox=[-1, 1, 9, 90]), "kept", "box_outside_kept"),
    Case("train2017/nan.jpg", annotated(bbox=[float("nan"), 1, 9, 9]), "kept", "not_finite"),
    Case("val2017/infinite.jpg", annotated(area=float("inf")), "kept", "area_computed"),
    Case("train2017/box.jpg", annotated(segmentation=[]), "kept", "no_mask"),
    Case(
        "train2017/far.jpg",
        annotated(segmentation=[[1, 1, 1e8, 1, 9, 9]]),
        "kept",
        "polygon_far_outside",
    ),
    Case(
        "train2017/line.jpg", annotated(segmentation=[[1, 1, 9, 9]]), "kept", "degenerate_polygon"
    ),
    Case("train2017/crowd.jpg", annotated(**crowd([0, SIDE * SIDE])), "kept"),
    Case(
        "train2017/crowd_size.jpg", annotated(**crowd([0, SIDE * SIDE], (1, 2))), "kept", "bad_rle"
    ),
    Case("train2017/crowd_text.jpg", annotated(**crowd("@@@@@@@@@@@@@@@@@")), "kept", "bad_rle"),
    Case("train2017/gone.jpg", lambda path: annotate(path, [{}]), "quarantined", "missing_image"),
    Case("train2017/extra.jpg", picture(seed=97), "quarantined", "not_in_annotations"),
    Case("train2017/other_size.jpg", of_another_size, "quarantined", "size_mismatch"),
    Case("train2017/empty.jpg", damaged(b""), "quarantined", "empty"),
    Case("train2017/cut.jpg", damaged(JPEG[:300]), "quarantined", "truncated"),
    Case("train2017/text.txt", damaged(b"text"), "quarantined", "not_an_image"),
    Case("annotations/captions.json", data(b"{"), "ignored", "outside_layout"),
    Case("annotations/model.pkl", data(pickle.dumps(Payload())), "ignored", "outside_layout"),
]


def test_malformed_annotations_among_good_ones(tmp_path: Path) -> None:
    assert_buckets("coco", COCO, tmp_path)


def pair(image: bytes | None, mask: bytes | None, suffix: str = ".png") -> Make:
    """Make an image and a mask of the same name, whichever is given."""

    def make(path: Path) -> None:
        split, stem = path.parent.name, path.stem
        top = path.parents[2]
        for folder, content, ending in (("images", image, ".jpg"), ("annotations", mask, suffix)):
            if content is not None:
                (top / folder / split / f"{stem}{ending}").write_bytes(content)

    return make


def mask(
    value: int = 1, mode: str = "L", size: tuple[int, int] = (SIDE, SIDE), kind: str = "PNG"
) -> bytes:
    return encoded(kind, Image.new("L", size, value).convert(mode))


def own(seed: int) -> bytes:
    return encoded(image=pixels(seed=seed))


MASKS, IMAGES = "annotations/training", "images/training"
ADE = [
    Case(f"{MASKS}/size.png", pair(own(1), mask(size=(9, 9))), "quarantined", "mask_size"),
    Case(f"{MASKS}/value.png", pair(own(2), mask(251)), "quarantined", "mask_value"),
    Case(f"{MASKS}/colour.png", pair(own(3), mask(mode="RGB")), "quarantined", "mask_channels"),
    Case(f"{MASKS}/bits.png", pair(own(4), mask(mode="1")), "quarantined", "mask_depth"),
    Case(f"{MASKS}/deep.png", pair(own(5), encoded("PNG", DEEP)), "quarantined", "mask_depth"),
    Case(f"{MASKS}/jpeg.png", pair(own(6), mask(kind="JPEG")), "quarantined", "mask_not_png"),
    Case(
        f"{MASKS}/lossy.jpg", pair(None, mask(kind="JPEG"), ".jpg"), "quarantined", "mask_not_png"
    ),
    Case(f"{MASKS}/cut.png", pair(own(8), mask()[:60]), "quarantined", "truncated"),
    Case(f"{MASKS}/empty.png", pair(None, b""), "quarantined", "empty"),
    Case(f"{IMAGES}/lonely.jpg", pair(own(9), None), "quarantined", "no_mask"),
    Case(f"{MASKS}/lonely_mask.png", pair(None, mask()), "quarantined", "no_image"),
    Case(f"{IMAGES}/broken.jpg", pair(JPEG[:200], mask()), "quarantined", "truncated"),
    Case(f"{IMAGES}/unlabelled.jpg", pair(own(10), mask(0)), "kept"),
    Case(f"{IMAGES}/palette.jpg", pair(own(11), mask(mode="P")), "kept"),
]
PARTNERS = {
    "images": ("size", "value", "colour", "bits", "deep", "jpeg", "cut"),
    "annotations": ("broken",),
}


def test_malformed_masks_among_good_ones(tmp_path: Path) -> None:
    manifest = assert_buckets("ade20k", ADE, tmp_path)
    partners = {
        entry.path for entry in manifest.inputs.quarantined if entry.reason == "partner_quarantined"
    }
    assert {Path(path).stem for path in partners} == {
        stem for stems in PARTNERS.values() for stem in stems
    }


@pytest.fixture(autouse=True)
def every_example(monkeypatch: pytest.MonkeyPatch) -> None:
    """Notes keep all their examples, so that each case can be looked for."""
    monkeypatch.setattr("pipeline.datasets.notes.EXAMPLES", 1000)


def assert_buckets(name: str, cases: Sequence[Case], tmp_path: Path) -> Manifest:
    """Make 200 good inputs and the malformed ones, build shards of all, and look where each one
    is.
    """
    source = tmp_path / "raw"
    materialise(name, Synthetic(**GOOD, image_size=SIDE), source)
    folders = ("train", "val", "train2017", "val2017", "images")
    good = {
        path: path.read_bytes()
        for path in source.rglob("*")
        if path.is_file() and path.relative_to(source).parts[0] in folders
    }
    assert len(good) == sum(GOOD.values())
    for case in cases:
        path = source / case.path
        path.parent.mkdir(exist_ok=True)
        case.make(path)
    before = set(os.listdir(Path.cwd()))
    listing = list_folder(name, source, {})
    params = Shard(samples_per_shard=40, max_quarantined=100, max_dropped_annotations=0.1)
    manifest = build(name, listing, params, tmp_path / "shards", listing.digest(), run=one_by_one)
    assert set(os.listdir(Path.cwd())) == before  # no payload ran

    inputs = manifest.inputs
    buckets = {
        entry.path: (bucket, entry.reason)
        for bucket in ("repaired", "quarantined", "ignored")
        for entry in getattr(inputs, bucket)
    }
    assert (
        sum(inputs.files(bucket) for bucket in ("repaired", "quarantined", "ignored")) + inputs.kept
        == inputs.listed
    )
    found = sum(not path.is_dir() or path.is_symlink() for path in source.rglob("*"))
    assert inputs.listed == found + sum(case.reason == "missing_image" for case in cases)

    stored = read_shards(tmp_path / "shards")
    images = {
        s.image: stored.get((split, s.key))
        for split, samples in listing.splits.items()
        for s in samples
    }
    for case in cases:
        shown = case.path.encode(errors="surrogateescape").decode(errors="backslashreplace")
        assert buckets.get(shown, ("kept", "")) == (
            case.bucket,
            case.reason if case.bucket != "kept" else "",
        ), case
        if case.bucket == "kept":
            assert images[case.path] == (source / case.path).read_bytes(), case
        if case.bucket == "kept" and case.reason:
            assert any(case.path in example for example in inputs.notes[case.reason].examples), case
    for path, content in good.items():
        assert images[str(path.relative_to(source))] == content
    return manifest


def read_shards(folder: Path) -> dict[tuple[str, str], bytes]:
    """Return the image of every sample by split and key, as a plain tar reader sees them."""
    images = {}
    for path in sorted(folder.glob("*/*.tar")):
        with tarfile.open(path) as opened:
            for member in opened:
                key, _, extension = member.name.partition(".")
                if extension in ("jpg", "image.png"):
                    extracted = opened.extractfile(member)
                    assert extracted is not None
                    images[path.parent.name, key] = extracted.read()
    return images


class Stop(NamedTuple):
    """A structure that is wrong: how it is spoilt, and what the sentence names as expected and as
    found.
    """

    layout: str
    name: str
    spoil: Make
    said: tuple[str, ...]


def edited(change: Callable[[dict[str, Any]], object], split: str = "train") -> Make:
    """Change a split's annotations."""

    def spoil(root: Path) -> None:
        path = root / "annotations" / f"instances_{split}2017.json"
        value = json.loads(path.read_text())
        change(value)
        path.write_text(json.dumps(value))

    return spoil


def first(kind: str, **changes: Any) -> Make:
    return edited(lambda value: value[kind][0].update(changes))


def rewritten(change: Callable[[bytes], bytes]) -> Make:
    """Change the bytes of the training annotations."""

    def spoil(root: Path) -> None:
        path = root / "annotations" / "instances_train2017.json"
        path.write_bytes(change(path.read_bytes()))

    return spoil


def huge(root: Path) -> None:
    os.truncate(
        root / "annotations" / "instances_train2017.json", 2_100_000_000
    )  # sparse: takes no room


def only_one_class(root: Path) -> None:
    for folder in sorted((root / "train").iterdir())[1:]:
        shutil.rmtree(folder)


def full_ade20k(root: Path) -> None:
    for path in (root / "annotations" / "training").iterdir():
        path.write_bytes(mask(mode="RGB"))


def repeated(kind: str) -> Make:
    return edited(lambda value: value[kind].append(value[kind][0]))


def names(change: Callable[[str], str]) -> Make:
    def spoil(root: Path) -> None:
        path = root / "objectInfo150.txt"
        path.write_text(change(path.read_text()))

    return spoil


FLOAT = 7.0
STOPS = [
    Stop("imagenet", "one class", only_one_class, ("at least two class folders", "n00000001")),
    Stop(
        "imagenet",
        "empty class",
        lambda r: (r / "train/n09").mkdir(),
        ("images directly in", "none in n09/"),
    ),
    Stop(
        "imagenet",
        "unknown class",
        lambda r: (r / "val/n09").mkdir(),
        ("the classes of train/ in val/", "n09"),
    ),
    Stop(
        "imagenet",
        "no split",
        lambda r: shutil.rmtree(r / "val"),
        ("class folders with images in val/", "train"),
    ),
    Stop(
        "coco",
        "unknown category",
        first("annotations", category_id=2),
        ("category 2", "one of the 6"),
    ),
    Stop(
        "coco",
        "unknown image",
        first("annotations", image_id=5),
        ("annotation 1", "image 5", "not listed"),
    ),
    Stop("coco", "image twice", repeated("images"), ("ids of 'images' repeat: 7",)),
    Stop("coco", "annotation twice", repeated("annotations"), ("ids of 'annotations' repeat: 1",)),
    Stop(
        "coco",
        "text as category",
        first("annotations", category_id="1"),
        ("an integer from 0", "found '1'"),
    ),
    Stop(
        "coco",
        "id is true",
        first("annotations", id=True),
        ("id should be an integer", "found True"),
    ),
    Stop(
        "coco", "id is a float", first("images", id=FLOAT), ("id should be an integer", "found 7.0")
    ),
    Stop(
        "coco",
        "huge id",
        first("images", id=10**4000),
        ("an integer from 0", "found a very large integer"),
    ),
    Stop("coco", "NaN as id", first("images", id=float("nan")), ("an integer from 0", "found nan")),
    Stop(
        "coco", "box of text", first("annotations", bbox=["1"] * 4), ("four numbers", "a list of 4")
    ),
    Stop(
        "coco",
        "box of three",
        first("annotations", bbox=[1, 2, 3]),
        ("four numbers", "a list of 3"),
    ),
    Stop(
        "coco",
        "no segmentation",
        edited(lambda v: v["annotations"][0].pop("segmentation")),
        ("lacks segmentation",),
    ),
    Stop(
        "coco",
        "path out of the folder",
        first("images", file_name="../x.jpg"),
        ("inside the split's", "../x"),
    ),
    Stop(
        "coco",
        "absolute path",
        first("images", file_name="/etc/passwd"),
        ("inside the split's", "/etc/passw"),
    ),
    Stop("coco", "NUL in a path", first("images", file_name="a\0.jpg"), ("inside the split's",)),
    Stop(
        "coco",
        "half a character",
        rewritten(lambda d: d.replace(b'"disc"', b'"\\ud800"')),
        ("name should be text",),
    ),
    Stop(
        "coco",
        "zero width",
        first("images", width=0),
        ("width should be a positive integer", "found 0"),
    ),
    Stop(
        "coco",
        "cut JSON",
        rewritten(lambda d: d[:1000]),
        ("not whole JSON", "line 1, column", "character"),
    ),
    Stop(
        "coco",
        "nested JSON",
        rewritten(lambda d: b"[" * 10**6),
        ("not usable JSON", "nested too deeply"),
    ),
    Stop(
        "coco",
        "not UTF-8",
        rewritten(lambda d: d[:50] + b"\xff" + d[50:]),
        ("not UTF-8 text: byte 50",),
    ),
    Stop("coco", "a list", rewritten(lambda d: b"[]"), ("a list called 'images'",)),
    Stop("coco", "2.1 GB", huge, ("2,100,000,000 bytes", "may have 2,000,000,000")),
    Stop(
        "ade20k",
        "colour masks",
        full_ade20k,
        ("expected a mask with one 8-bit channel", "found mode RGB"),
    ),
    Stop(
        "ade20k",
        "names out of order",
        names(lambda t: t.replace("\n2\t", "\n3\t")),
        ("should be class 2", "3"),
    ),
    Stop(
        "ade20k",
        "no header",
        names(lambda t: t[t.index("\n") :]),
        ("a header that has Idx and Name",),
    ),
    Stop(
        "ade20k",
        "no names",
        lambda r: (r / "objectInfo150.txt").unlink(),
        ("expected objectInfo150.txt", "images"),
    ),
]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw")
    for name in ("imagenet", "coco", "ade20k"):
        materialise(name, Synthetic(train=20, val=10, image_size=SIDE), folder / name)
    return folder


@pytest.mark.parametrize("case", STOPS, ids=lambda case: f"{case.layout}: {case.name}")
def test_a_wrong_structure_stops_before_any_shard(case: Stop, small: Path, tmp_path: Path) -> None:
    source = Path(shutil.copytree(small / case.layout, tmp_path / "raw"))
    case.spoil(source)
    with pytest.raises(UserError) as caught:
        list_folder(case.layout, source, {})
    message = str(caught.value)
    assert all(word in message for word in (str(source), *case.said)), message
    assert "\n" not in message and len(message) < 500
    assert os.listdir(tmp_path) == ["raw"]


def test_a_byte_order_mark_is_no_fault(small: Path, tmp_path: Path) -> None:
    source = Path(shutil.copytree(small / "coco", tmp_path / "raw"))
    rewritten(lambda content: b"\xef\xbb\xbf" + content)(source)
    listing, plain = list_folder("coco", source, {}), list_folder("coco", small / "coco", {})
    assert (listing.classes, listing.splits) == (plain.classes, plain.splits)


def test_a_file_that_changed_since_it_was_listed_stops_by_name(small: Path, tmp_path: Path) -> None:
    source = Path(shutil.copytree(small / "imagenet", tmp_path / "raw"))
    listing = list_folder("imagenet", source, {})
    changed = source / listing.splits["val"][3].image
    changed.write_bytes(changed.read_bytes() + b"x")
    with pytest.raises(UserError, match=f"{changed}: had [0-9]+ bytes when it was listed"):
        build("imagenet", listing, Shard(), tmp_path / "shards", listing.digest(), run=one_by_one)
    assert not (tmp_path / "shards").exists()


def test_masks_are_mapped_by_readers_alone(small: Path, tmp_path: Path) -> None:
    """Sharding what was sharded changes no label: the shift by one happens once, after the
    shards.
    """
    first_pass, again = tmp_path / "first", tmp_path / "again"
    listing = list_folder("ade20k", small / "ade20k", {})
    manifest = build("ade20k", listing, Shard(), first_pass, listing.digest(), run=one_by_one)
    source = Path(shutil.copytree(small / "ade20k", tmp_path / "raw"))
    for path in sorted(first_pass.glob("*/*.tar")):
        folder = {"train": "training", "val": "validation"}[path.parent.name]
        with tarfile.open(path) as opened:
            for member in opened:
                kind = "images" if member.name.endswith(".jpg") else "annotations"
                extracted = opened.extractfile(member)
                assert extracted is not None
                (source / kind / folder / member.name).write_bytes(extracted.read())
    listing = list_folder("ade20k", source, {})
    assert (
        build("ade20k", listing, Shard(), again, listing.digest(), run=one_by_one).text
        == manifest.text
    )
    assert (manifest.target.ignore, [entry.id for entry in manifest.classes]) == (
        0,
        list(range(1, 9)),
    )
