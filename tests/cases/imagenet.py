"""Cases of folders per class, as ImageNet is one."""

import gzip
import io
import os
import struct
import tarfile
import unicodedata
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image, ImageCms

from tests.cases.case import Case, Made, kept, refused
from tests.cases.drawing import encoded, jpeg, picture, put

SYNSETS = ("n01440764", "n01443537")
TRAIN_TAR = "ILSVRC2012_img_train.tar"
Draw = Callable[[Path], None]


def folders(
    root: Path,
    classes: Sequence[str] = ("a", "b"),
    count: int = 3,
    splits: Sequence[str] = ("train", "val"),
) -> None:
    """Draw `count` pictures of each class in each split."""
    for i, split in enumerate(splits):
        for j, name in enumerate(classes):
            for k in range(count):
                put(root, f"{split}/{name}/{name}{k}.jpg", jpeg(100 * i + 10 * j + k))


def with_files(files: dict[str | bytes, bytes]) -> Draw:
    """Return what draws sound folders and these files in them."""

    def draw(root: Path) -> None:
        folders(root)
        for name, data in files.items():
            put(root, name, data)

    return draw


def renamed(*pairs: tuple[str, str | bytes], **options: Sequence[str]) -> Draw:
    """Return what draws sound folders and calls some of them otherwise, by any bytes."""

    def draw(root: Path) -> None:
        folders(root, **options)  # type: ignore[arg-type]
        for old, new in pairs:
            base = os.fsencode(root)
            os.rename(os.path.join(base, old.encode()), os.path.join(base, os.fsencode(new)))

    return draw


def tar(
    members: Iterable[tuple[str, bytes]],
    kind: int = tarfile.GNU_FORMAT,
    mode: str = "w",
    links: dict[str, str] | None = None,
) -> bytes:
    """Return a tar of files, with hard links to some of them."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode=mode, format=kind) as archive:  # type: ignore[call-overload]
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.linkname, info.type = target, tarfile.LNKTYPE
            archive.addfile(info)
    return data.getvalue()


def pictures_of(synset: str, count: int = 3) -> list[tuple[str, bytes]]:
    """Return the members of a class's tar."""
    return [(f"{synset}_{i}.JPEG", jpeg(10 * SYNSETS.index(synset) + i)) for i in range(count)]


def validation(root: Path) -> None:
    """Draw class folders with one picture each in `val`."""
    for i, synset in enumerate(SYNSETS):
        put(root, f"val/{synset}/v{i}.JPEG", jpeg(100 + i))


def archive(data: Callable[[], bytes], name: str = TRAIN_TAR) -> Draw:
    """Return what draws a validation split, and the training split as an archive."""

    def draw(root: Path) -> None:
        validation(root)
        put(root, name, data())

    return draw


def nested(
    member: str = "{}.tar", inner: str = "{}", kind: int = tarfile.GNU_FORMAT, mode: str = "w"
) -> bytes:
    """Return a tar of class tars, whose members and whose members' members are called by
    patterns.
    """
    tars = []
    for synset in SYNSETS:
        files = [(inner.format(name, synset=synset), data) for name, data in pictures_of(synset)]
        tars.append((member.format(synset), tar(files, kind, mode)))
    return tar(tars, kind)


def in_folders(top: str = "") -> bytes:
    """Return a tar of class folders."""
    return tar(
        (f"{top}{synset}/{name}", data) for synset in SYNSETS for name, data in pictures_of(synset)
    )


def with_hard_link() -> bytes:
    tars = []
    for synset in SYNSETS:
        links = {f"{synset}_9.JPEG": f"{synset}_0.JPEG"}
        tars.append((f"{synset}.tar", tar(pictures_of(synset), links=links)))
    return tar(tars)


def with_empty_class() -> bytes:
    tars = [(f"{synset}.tar", tar(pictures_of(synset))) for synset in SYNSETS]
    return tar([*tars, ("n01484850.tar", tar([]))])


def class_tars_unpacked(root: Path) -> None:
    class_tars_in_train(root)
    for synset in SYNSETS:
        for name, data in pictures_of(synset):
            put(root, f"train/{synset}/{name}", data)


def class_tars_in_train(root: Path) -> None:
    validation(root)
    for synset in SYNSETS:
        put(root, f"train/{synset}.tar", tar(pictures_of(synset)))


def kaggle(root: Path, top: str = "", solution: bool = True) -> None:
    """Draw what Kaggle's archive unpacks to."""
    data = f"{top}ILSVRC/Data/CLS-LOC"
    for i, synset in enumerate(SYNSETS):
        for k in range(2):
            put(root, f"{data}/train/{synset}/{synset}_{k}.JPEG", jpeg(10 * i + k))
        put(root, f"{data}/val/ILSVRC2012_val_{i + 1:08d}.JPEG", jpeg(100 + i))
        put(
            root, f"ILSVRC/Annotations/CLS-LOC/val/ILSVRC2012_val_{i + 1:08d}.xml", b"<annotation/>"
        )
    put(root, "LOC_synset_mapping.txt", "n01440764 tench, Tinca tinca\r\nn01443537 goldfish\r\n")
    if solution:
        lines = ["ImageId,PredictionString"]
        lines.append("ILSVRC2012_val_00000002,n01443537 1 2 3 4 n01443537 5 6 7 8 ")
        lines.append("ILSVRC2012_val_00000001,n01440764 1 2 3 4 ")
        put(root, "LOC_val_solution.csv", "\n".join(lines) + "\n")


def kaggle_of_two_classes(root: Path) -> None:
    kaggle(root)
    put(
        root,
        "LOC_val_solution.csv",
        "ImageId,PredictionString\nILSVRC2012_val_00000001,n01440764 1 2 3 4 n01443537 1 2 3 4\n",
    )


def kaggle_without_an_image(root: Path) -> None:
    kaggle(root)
    (root / "ILSVRC/Data/CLS-LOC/val/ILSVRC2012_val_00000002.JPEG").unlink()


def nested_images(root: Path) -> None:
    for split in ("train", "val"):
        for name in "ab":
            put(root, f"{split}/{name}/images/{name}.JPEG", jpeg(ord(name)))


def ids_in_val(root: Path) -> None:
    for i, path in enumerate((*(f"train/{synset}" for synset in SYNSETS), "val/1", "val/2")):
        put(root, f"{path}/a.JPEG", jpeg(i))


TRUTH = {"ILSVRC2012_val_00000001": "n01440764", "ILSVRC2012_val_00000002": "n01443537"}


def labels_are(expected: dict[str, str]) -> Callable[[Made], str]:
    """Return a check of what class each key of the validation split has."""

    def check(made: Made) -> str:
        ids = [entry.id for entry in made.manifest.classes]
        labels = {sample["__key__"]: ids[int(sample["cls"])] for sample in made.samples("val")}
        return "" if labels == expected else f"labels {labels}"

    return check


def pixels_are_kept(made: Made) -> str:
    """Compare every picture's pixels with those of its file, as Pillow decodes both."""
    files = {path.stem: path for path in (made.source / "train").rglob("*") if path.is_file()}
    for sample in made.samples("train"):
        data = sample["jpg"] if "jpg" in sample else sample["image.png"]
        with Image.open(io.BytesIO(data)) as mine, Image.open(files[sample["__key__"]]) as theirs:
            if not np.array_equal(
                np.asarray(mine.convert("RGB")), np.asarray(theirs.convert("RGB"))
            ):
                return f"{sample['__key__']} has other pixels"
    return ""


def bytes_are_kept(made: Made) -> str:
    """Compare every picture's bytes with those of its file, repaired ones aside."""
    repaired = {Path(entry.path).stem for entry in made.manifest.inputs.repaired}
    files = {path.stem: path for path in (made.source / "train").rglob("*") if path.is_file()}
    for sample in made.samples("train"):
        data = sample["jpg"] if "jpg" in sample else sample["image.png"]
        if sample["__key__"] not in repaired and data != files[sample["__key__"]].read_bytes():
            return f"{sample['__key__']} has other bytes"
    return ""


def classes_per_split(train: int, val: int) -> Callable[[Made], str]:
    """Return a check of how many samples each class has: the same number in a split."""

    def check(made: Made) -> str:
        counts = {
            split: Counter(sample["cls"] for sample in made.samples(split))
            for split in ("train", "val")
        }
        shown = {split: set(count.values()) for split, count in counts.items()}
        right = {"train": {train}, "val": {val}}
        sizes = {len(count) for count in counts.values()}
        return "" if shown == right and len(sizes) == 1 else f"samples by class {counts}"

    return check


def with_link_out(root: Path) -> None:
    """Draw a `train` that is a link to a folder beside the source."""
    folders(root, splits=("val",))
    folders(root.parent / "elsewhere", splits=("train",))
    (root / "train").symlink_to(root.parent / "elsewhere" / "train")


def with_linked_files(root: Path) -> None:
    """Draw pictures that are links to files beside the source, and a link that leads around."""
    folders(root)
    folders(root.parent / "elsewhere", splits=("train",), count=5)
    for i in (3, 4):
        (root / f"train/a/a{i}.jpg").symlink_to(root.parent / f"elsewhere/train/a/a{i}.jpg")


def with_loop_out(root: Path) -> None:
    """Draw a link to a folder beside the source in which a link leads back to it."""
    with_link_out(root)
    (root.parent / "elsewhere" / "train" / "a" / "back").symlink_to(root)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def deep_png() -> bytes:
    """Return a PNG of three 16-bit channels, which Pillow reads and does not write."""
    values = (np.arange(8 * 8 * 3).reshape(8, 8, 3) * 341).astype(">u2")
    rows = zlib.compress(b"".join(b"\0" + row.tobytes() for row in values))
    head = struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def with_gamma(data: bytes) -> bytes:
    """Return a PNG with a chunk of gamma after its header, of 33 bytes."""
    return data[:33] + chunk(b"gAMA", struct.pack(">I", 100_000)) + data[33:]


def odd_pngs() -> dict[str | bytes, bytes]:
    frames = [picture(20 + i) for i in range(3)]
    broken = bytearray(encoded(picture(31), "PNG"))
    broken[-20] ^= 1
    return {
        "train/a/animated.png": encoded(frames[0], "PNG", save_all=True, append_images=frames[1:]),
        "train/a/gamma.png": with_gamma(encoded(picture(23), "PNG")),
        "train/a/deep.png": deep_png(),
        "train/a/palette.png": encoded(picture(24).quantize(8), "PNG", transparency=0),
        "train/a/alpha.png": encoded(picture(25, mode="RGBA"), "PNG"),
        "train/a/transparent.png": encoded(picture(26), "PNG", transparency=(0, 0, 0)),
        "train/a/trailing.png": encoded(picture(27), "PNG") + bytes(300),
        "train/a/grey.png": encoded(picture(28, mode="L"), "PNG"),
        "train/a/wide.png": encoded(Image.new("L", (66_000, 40), 7), "PNG"),
        "train/a/broken.png": bytes(broken),
    }


def turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def odd_jpegs() -> dict[str | bytes, bytes]:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return {
        "train/a/one.jpg": jpeg(40, (1, 1)),
        "train/a/thin.jpg": jpeg(41, (600, 1)),
        "train/a/tall.jpg": jpeg(42, (1, 600)),
        "train/a/trailing.jpg": jpeg(43) + bytes(500),
        "train/a/no_end.jpg": jpeg(44)[:-2],
        "train/a/mpo.jpg": encoded(picture(45), "MPO", save_all=True, append_images=[picture(46)]),
        "train/a/cmyk.jpg": encoded(picture(47, mode="CMYK")),
        "train/a/progressive.jpg": jpeg(48, progressive=True),
        "train/a/grey.jpg": encoded(picture(49, mode="L")),
        "train/a/profile.jpg": jpeg(50, icc_profile=profile),
        "train/a/turned.jpg": jpeg(51, exif=turned()),
        "train/a/full.jpg": jpeg(52, subsampling=0),
        "train/a/rgb.jpg": jpeg(53, keep_rgb=True),
        "train/a/junk_before.jpg": b"\r\n" + jpeg(54),
    }


def wrong_extensions() -> dict[str | bytes, bytes]:
    return {
        "train/a/w.jpg": encoded(picture(60), "WEBP"),
        "train/a/g.jpg": encoded(picture(61), "GIF"),
        "train/a/b.jpg": encoded(picture(62), "BMP"),
        "train/a/t.JPEG": encoded(picture(63), "TIFF"),
        "train/a/h.jpg": b"\0\0\0 ftypheic\0\0\0\0mif1heic" + bytes(40),
        "train/a/p.png": jpeg(64),
        "train/a/q.JPEG": encoded(picture(65), "PNG"),
    }


def accents(root: Path) -> None:
    """Draw classes whose folders are composed in one split and decomposed in the other, and names
    for them.
    """
    forms: dict[str, Literal["NFC", "NFD"]] = {"train": "NFC", "val": "NFD"}
    for split, form in forms.items():
        for i, name in enumerate(("café", "naïve")):
            folder = unicodedata.normalize(form, name)
            put(root, f"{split}/{folder}/{name}{i}.jpg", jpeg(i + 10 * len(split)))
    put(
        root, "LOC_synset_mapping.txt", unicodedata.normalize("NFD", "café coffee\nnaïve artless\n")
    )


def named_by_list(made: Made) -> str:
    names = [entry.name for entry in made.manifest.classes]
    return "" if names == ["coffee", "artless"] else f"classes are called {names}"


def ids_are(*ids: str) -> Callable[[Made], str]:
    def check(made: Made) -> str:
        seen = [entry.id for entry in made.manifest.classes]
        return "" if seen == list(ids) else f"classes {seen}"

    return check


def many_of_few(root: Path) -> None:
    for split, count in (("train", 8), ("val", 5)):
        for name in ("a", "b", "c"):
            for i in range(count):
                put(
                    root,
                    f"{split}/{name}/{split}{name}{i}.jpg",
                    jpeg(ord(name) * 20 + i + len(split) * 5000),
                )


WRONG = {
    "train/a/b.jpg": "not_an_image",
    "train/a/g.jpg": "not_an_image",
    "train/a/h.jpg": "not_an_image",
    "train/a/t.JPEG": "not_an_image",
    "train/a/w.jpg": "not_an_image",
}
ODD_PNG = kept(
    15,
    6,
    repaired={
        "train/a/alpha.png": "mode_alpha",
        "train/a/deep.png": "mode_16_bit",
        "train/a/palette.png": "mode_palette",
    },
    quarantined={"train/a/broken.png": "damaged"},
)
ODD_JPEG = kept(
    18,
    6,
    repaired={"train/a/cmyk.jpg": "cmyk"},
    quarantined={"train/a/junk_before.jpg": "not_an_image", "train/a/no_end.jpg": "truncated"},
    noted={"exif_rotated": 1},
)


def allowing(count: int) -> dict[str, Any]:
    """Return the setting that so many files may be unusable."""
    return {"shard.max_quarantined": count}


OUT = {"data.imagenet.follow_links": True}
HALF = {"data.imagenet.hold_out": 0.34}
LIMIT, SPLITS = "data.imagenet.limit", "data.imagenet.splits"
case = partial(Case, dataset="imagenet")

PLAIN = [
    case("in_plain", draw=folders, right=kept(6, 6)),
    case(
        "in_limit_val",
        draw=many_of_few,
        right=kept(24, 3),
        settings={LIMIT: {"val": 3}},
        check=classes_per_split(8, 1),
    ),
    case(
        "in_limit_both",
        draw=many_of_few,
        right=kept(6, 6),
        settings={LIMIT: {"train": 6, "val": 6}},
        check=classes_per_split(2, 2),
    ),
    case(
        "in_limit_below_classes",
        draw=many_of_few,
        right=kept(24, 2, warned=("limit.val: 2 leaves 2 of 3 classes",)),
        settings={LIMIT: {"val": 2}},
    ),
    case(
        "in_one_class",
        draw=partial(folders, classes=("a",)),
        right=refused("two class folders in train/; found a"),
    ),
    case(
        "in_extra_val_class",
        draw=with_files({"val/c/x.jpg": jpeg(9)}),
        right=refused("the classes of train/", "found c"),
    ),
    case(
        "in_readme",
        draw=with_files(
            {"train/README.md": b"hi", "train/a/a0.txt": b"caption", "README.md": b"hi"}
        ),
        right=kept(
            6,
            6,
            quarantined={"train/README.md": "outside_layout", "train/a/a0.txt": "not_an_image"},
        ),
        settings=allowing(2),
    ),
    case(
        "in_dir_named_jpg",
        draw=with_files({"train/a/folder.jpg/x.jpg": jpeg(9)}),
        right=kept(6, 6, quarantined={"train/a/folder.jpg/x.jpg": "outside_layout"}),
        settings=allowing(1),
    ),
]

NAMES = [
    case(
        "in_latin1_class",
        draw=renamed(("train/a", b"train/caf\xe9"), ("val/a", b"val/caf\xe9")),
        right=refused(r"the class caf\xe9 has a name that is not UTF-8", "convmv"),
    ),
    case("in_latin1_file", draw=renamed(("train/b/b0.jpg", b"train/b/\xfc.jpg")), right=kept(6, 6)),
    case(
        "in_latin1_stray",
        draw=with_files({b"train/b/na\xefve.txt": b"x"}),
        right=kept(6, 6, quarantined={r"train/b/na\xefve.txt": "not_an_image"}),
        settings=allowing(1),
    ),
    case(
        "in_latin1_beside",
        draw=with_files({b"caf\xe9/x.jpg": jpeg(7), b"\xff\xfe": b"x"}),
        right=kept(6, 6),
    ),
    case(
        "in_latin1_lacks",
        draw=renamed(("val/a", b"val/caf\xe9")),
        right=refused(r"the classes of train/ in val/; found caf\xe9"),
    ),
    case(
        "in_newline_class",
        draw=renamed(("train/a", "train/a\nb"), ("val/a", "val/a\nb")),
        right=kept(6, 6),
        check=ids_are("a\nb", "b"),
    ),
    case(
        "in_control_file",
        draw=renamed(("train/b/b0.jpg", "train/b/\x1b[31m\t.jpg")),
        right=kept(6, 6),
    ),
    case(
        "in_spaces",
        draw=partial(folders, classes=("polar bear", "猫", "groß & klein", "it's; $HOME `x`")),
        right=kept(12, 12),
        check=ids_are("groß & klein", "it's; $HOME `x`", "polar bear", "猫"),
    ),
    case("in_unicode_forms", draw=accents, right=kept(2, 2), check=named_by_list),
    case(
        "in_case_classes",
        draw=partial(folders, classes=("Cat", "cat")),
        right=kept(6, 6),
        check=ids_are("Cat", "cat"),
    ),
    case(
        "in_dots",
        draw=with_files({"train/a/x.v1.jpg": jpeg(8), "train/a/x.v2.jpg": jpeg(9)}),
        right=kept(8, 6),
    ),
]

LAYOUTS = [
    case("in_kaggle", draw=kaggle, right=kept(4, 2), check=labels_are(TRUTH)),
    case(
        "in_kaggle_without_solution",
        draw=partial(kaggle, solution=False),
        right=refused(
            "ILSVRC/Data/CLS-LOC/val/", "the development kit beside it (or LOC_val_solution.csv)"
        ),
    ),
    case(
        "in_kaggle_odd_solution",
        draw=kaggle_of_two_classes,
        right=refused("LOC_val_solution.csv: line 2", "one class"),
    ),
    case(
        "in_kaggle_missing_image",
        draw=kaggle_without_an_image,
        right=kept(
            4,
            1,
            quarantined={"ILSVRC/Data/CLS-LOC/val/ILSVRC2012_val_00000002.JPEG": "missing_image"},
        ),
        settings=allowing(1),
    ),
    case(
        "in_train_only",
        draw=partial(folders, splits=("train",)),
        right=refused(
            "class folders with images in val/",
            "data.imagenet.splits.val",
            "data.imagenet.hold_out=0.1",
        ),
    ),
    case(
        "in_hold_out",
        draw=partial(folders, splits=("train",)),
        right=kept(4, 2),
        settings=HALF,
        check=classes_per_split(2, 1),
    ),
    case(
        "in_hold_out_beside_val",
        draw=folders,
        right=refused("has a validation split in val/", "hold_out"),
        settings=HALF,
    ),
    case("in_valid_named", draw=partial(folders, splits=("train", "valid")), right=kept(6, 6)),
    case(
        "in_two_vals",
        draw=partial(folders, splits=("train", "valid", "validation")),
        right=refused("valid/ and validation/", "data.imagenet.splits.val"),
    ),
    case(
        "in_two_vals_named",
        draw=partial(folders, splits=("train", "valid", "validation")),
        right=kept(6, 6),
        settings={SPLITS: {"val": "validation"}},
    ),
    case(
        "in_nested_images",
        draw=nested_images,
        right=refused(
            "images directly in every class folder of train/", "none in a/", "none in b/"
        ),
    ),
    case("in_val_ids", draw=ids_in_val, right=refused("the classes of train/ in val/; found 1, 2")),
]

LINKS = [
    case(
        "in_symlink_out",
        draw=with_link_out,
        right=refused("found val/", "train: link_outside (data.<name>.follow_links: true"),
    ),
    case("in_symlink_out_followed", draw=with_link_out, right=kept(6, 6), settings=OUT),
    case(
        "in_symlink_files",
        draw=with_linked_files,
        right=refused("train/a/a3.jpg: link_outside", "follow_links"),
    ),
    case("in_symlink_files_followed", draw=with_linked_files, right=kept(8, 6), settings=OUT),
    case(
        "in_symlink_loop_followed",
        draw=with_loop_out,
        right=kept(6, 6, quarantined={"train/a/back": "link_loop"}),
        settings={**OUT, **allowing(1)},
    ),
]

ARCHIVES = [
    case("in_tar_official", draw=archive(nested), right=kept(6, 2)),
    case("in_tar_dot", draw=archive(partial(nested, "./{}.tar", "./{}")), right=kept(6, 2)),
    case("in_tar_prefix", draw=archive(partial(nested, "train/{}.tar")), right=kept(6, 2)),
    case("in_tar_folders", draw=archive(in_folders), right=kept(6, 2)),
    case("in_tar_train_folders", draw=archive(partial(in_folders, "train/")), right=kept(6, 2)),
    case("in_tar_pax", draw=archive(partial(nested, kind=tarfile.PAX_FORMAT)), right=kept(6, 2)),
    case("in_tar_v7_dirs", draw=archive(partial(nested, inner="{synset}/{}")), right=kept(6, 2)),
    case(
        "in_tar_hardlink",
        draw=archive(with_hard_link),
        right=kept(
            6,
            2,
            quarantined={
                "train/n01440764/n01440764_9.JPEG": "not_a_file",
                "train/n01443537/n01443537_9.JPEG": "not_a_file",
            },
        ),
        settings=allowing(2),
    ),
    case(
        "in_tar_inner_gz",
        draw=archive(partial(nested, "{}.tar.gz", mode="w:gz")),
        right=refused(
            "class folders with images in train/", "archives: train/n01440764.tar.gz", "unpack each"
        ),
    ),
    case(
        "in_class_tars",
        draw=class_tars_in_train,
        right=refused(
            "class folders with images in train/", "archives: train/n01440764.tar", "unpack each"
        ),
    ),
    case("in_class_tars_beside", draw=class_tars_unpacked, right=kept(6, 2)),
    case(
        "in_tar_renamed",
        draw=archive(nested, "train.tar"),
        right=refused("found train.tar, val/", "archives are read as ILSVRC2012_img_train.tar"),
    ),
    case("in_tar_empty_class", draw=archive(with_empty_class), right=refused("none in n01484850/")),
    case(
        "in_tar_gzipped",
        draw=archive(lambda: gzip.compress(nested())),
        right=refused(TRAIN_TAR, "compressed with gzip", "gunzip"),
    ),
]

IMAGES = [
    case(
        "in_odd_jpeg",
        draw=with_files(odd_jpegs()),
        right=ODD_JPEG,
        settings=allowing(2),
        check=bytes_are_kept,
    ),
    case(
        "in_odd_png",
        draw=with_files(odd_pngs()),
        right=ODD_PNG,
        settings=allowing(1),
        check=pixels_are_kept,
    ),
    case(
        "in_odd_png_bytes",
        draw=with_files(odd_pngs()),
        right=ODD_PNG,
        settings=allowing(1),
        check=bytes_are_kept,
    ),
    case(
        "in_webp",
        draw=with_files({f"train/a/w{i}.webp": encoded(picture(70 + i), "WEBP") for i in range(2)}),
        right=kept(6, 6, quarantined={f"train/a/w{i}.webp": "not_an_image" for i in range(2)}),
        settings=allowing(2),
    ),
    case(
        "in_wrong_ext",
        draw=with_files(wrong_extensions()),
        right=kept(8, 6, repaired={"train/a/q.JPEG": "format_mismatch"}, quarantined=WRONG),
        settings=allowing(5),
        check=pixels_are_kept,
    ),
    case(
        "in_wide_png_shrunk",
        draw=with_files({"train/a/wide.png": encoded(Image.new("L", (70_000, 33), 7), "PNG")}),
        right=kept(6, 6, quarantined={"train/a/wide.png": "too_large_for_jpeg"}),
        settings={"shard.short_side": 32, **allowing(1)},
    ),
]

CASES = [*PLAIN, *NAMES, *LAYOUTS, *LINKS, *ARCHIVES, *IMAGES]
