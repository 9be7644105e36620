"""Cases of ADE20K-like folders: masks as people's tools write them."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.tasks.segment.sampling import read_labels
from tests.cases.case import Case, Made, Outcome, kept, refused
from tests.cases.drawing import SIZE, encoded, jpeg, picture, put

Labels = NDArray[np.uint8]
Draw = Callable[[Path], None]
NAMES = "Idx\tRatio\tTrain\tVal\tStuff\tName\n" + "".join(
    f"{number}\t0.3\t1\t1\t1\t{name}\n"
    for number, name in enumerate(("wall", "sky", "car"), start=1)
)
PIXELS = 2 * SIZE[0] * SIZE[1]


def labels() -> Labels:
    """Return the labels of an image: a border of unlabelled pixels around three classes."""
    values = np.zeros((SIZE[1], SIZE[0]), dtype=np.uint8)
    values[4:, :20] = 1
    values[10:, 20:] = 2
    values[:6, 30:] = 3
    return values


UNLABELLED = 2 * int((labels() == 0).sum())


def mask(
    mode: str = "L", change: Callable[[Labels], Labels] | None = None, **options: object
) -> bytes:
    """Return a mask as PNG, its values changed."""
    values = labels() if change is None else change(labels())
    return encoded(Image.fromarray(values.astype(np.uint8)).convert(mode), "PNG", **options)


def palette(**options: object) -> bytes:
    """Return a mask whose colours are those of a palette; its values are the class numbers."""
    image = Image.fromarray(labels(), "P")
    image.putpalette([0, 0, 0, 120, 120, 120, 180, 120, 120, 6, 230, 230])
    return encoded(image, "PNG", **options)


def gamma() -> bytes:
    """Return a mask that says how bright it is meant to be shown."""
    data, body = mask(), b"gAMA" + struct.pack(">I", 45455)
    return data[:33] + struct.pack(">I", 4) + body + struct.pack(">I", zlib.crc32(body)) + data[33:]


def folder(
    truth: Callable[[int], bytes] = lambda number: mask(),
    image: Callable[[int], bytes] = jpeg,
    names: str | bytes = NAMES,
    suffixes: tuple[str, str] = (".jpg", ".png"),
) -> Draw:
    """Return what draws a data set of two images a split."""

    def draw(root: Path) -> None:
        for split, short in (("training", "train"), ("validation", "val")):
            for number in (1, 2):
                stem, seed = f"{split}/ADE_{short}_{number:08d}", number + 10 * len(split)
                put(root, f"images/{stem}{suffixes[0]}", image(seed))
                put(root, f"annotations/{stem}{suffixes[1]}", truth(number))
        put(root, "objectInfo150.txt", names)

    return draw


def read_back(made: Made) -> str:
    """Return what is wrong with the labels that training reads, or with their account."""
    for split, entry in made.manifest.splits.items():
        if any(
            (read_labels(sample["png"]) != labels() - np.uint8(1)).any()
            for sample in made.samples(split)
        ):
            return f"{split}: labels differ"
        words = (
            f"{PIXELS:,} pixels: {PIXELS - UNLABELLED:,} seen, {UNLABELLED:,} dropped "
            f"(unlabelled {UNLABELLED:,})"
        )
        if entry.targets is None or entry.targets.words("pixels") != words:
            return f"{split}: {entry.targets}"
    return ""


def nothing_seen(made: Made) -> str:
    """Return what is wrong with the account of masks in which nothing is labelled."""
    seen = {
        split: entry.targets and entry.targets.seen for split, entry in made.manifest.splits.items()
    }
    examples = made.manifest.inputs.notes["unlabelled_mask"].examples
    right = (
        seen == {"train": 0, "val": 0} and "annotations/training/ADE_train_00000001.png" in examples
    )
    return "" if right else f"{seen}, {examples}"


def case(name: str, draw: Draw, right: Outcome) -> Case:
    return Case(name, "ade20k", draw, right, check=read_back)


FIRST = "ADE_train_00000001.png"
CASES = [
    case("ade_plain", folder(), kept(2, 2)),
    case("ade_palette", folder(lambda n: palette()), kept(2, 2)),
    case("ade_palette4", folder(lambda n: palette(bits=4)), kept(2, 2)),
    case("ade_gamma_mask", folder(lambda n: gamma()), kept(2, 2)),
    case("ade_trns_mask", folder(lambda n: mask(transparency=0)), kept(2, 2)),
    case("ade_crlf_info", folder(names=NAMES.replace("\n", "\r\n")), kept(2, 2)),
    case("ade_bom_info", folder(names=f"\ufeff{NAMES}"), kept(2, 2)),
    Case(
        "ade_all_ignored",
        "ade20k",
        folder(lambda n: mask(change=np.zeros_like)),
        kept(2, 2, noted={"unlabelled_mask": 4}),
        check=nothing_seen,
    ),
    case(
        "ade_16bit",
        folder(lambda n: encoded(Image.fromarray(labels().astype(np.uint16)), "PNG")),
        refused(
            FIRST, "ADE_train_00000002.png", "one 8-bit channel, found mode I;16", "8-bit ones"
        ),
    ),
    case(
        "ade_rgb_grey",
        folder(lambda n: mask("RGB")),
        refused(FIRST, "found mode RGB", "a number for each colour"),
    ),
    case(
        "ade_grey_alpha",
        folder(lambda n: mask("LA")),
        refused(FIRST, "found mode LA", "without their alpha"),
    ),
    case(
        "ade_rgb_second",
        folder(lambda n: mask("L" if n == 1 else "RGB")),
        refused(
            "ADE_train_00000002.png: mask_channels",
            "ADE_val_00000002.png",
            "shard.max_quarantined allows 0",
        ),
    ),
    case(
        "ade_0_255",
        folder(lambda n: mask(change=lambda v: 255 * (v > 1).astype(np.uint8))),
        refused(FIRST, "mask_value (value 255"),
    ),
    case(
        "ade_255_ignore",
        folder(lambda n: mask(change=lambda v: v - np.uint8(1))),
        refused(FIRST, "mask_value (value 255", "names 1 to 3", "write it as 0"),
    ),
    case("ade_binary", folder(lambda n: mask("1")), refused(FIRST, "mask_depth", "found 1 bits")),
    case(
        "ade_mask_smaller",
        folder(lambda n: mask(change=lambda v: v[::2, ::2])),
        refused(FIRST, "mask_size (mask 24x16, image 48x32)"),
    ),
    case(
        "ade_exif6",
        folder(lambda n: mask(change=np.transpose)),
        refused(FIRST, "mask_size (mask 32x48"),
    ),
    case(
        "ade_mask_jpg",
        folder(lambda n: encoded(Image.fromarray(labels()))),
        refused(FIRST, "mask_not_png"),
    ),
    case(
        "ade_mask_jpg_named",
        folder(lambda n: encoded(Image.fromarray(labels())), suffixes=(".jpg", ".jpg")),
        refused("masks of the same names", "ADE_train_00000001.jpg"),
    ),
    case(
        "ade_seg_suffix",
        folder(suffixes=(".jpg", "_seg.png")),
        refused("masks of the same names", "ADE_train_00000001_seg.png"),
    ),
    case(
        "ade_latin1",
        folder(names=NAMES.replace("sky", "caf\u00e9").encode("latin-1")),
        refused("not UTF-8"),
    ),
    case(
        "ade_csv_info",
        folder(names=NAMES.replace("\t", ",")),
        refused("tab-separated", "Idx and Name"),
    ),
    case(
        "ade_zero_row",
        folder(names=NAMES.replace("\n1\t", "\n0\t0.1\t1\t1\t1\tother\n1\t")),
        refused("row 1 should be class 1", "Idx counts from 1"),
    ),
    case(
        "ade_png_images",
        folder(image=lambda n: encoded(picture(n), "PNG"), suffixes=(".png", ".png")),
        kept(2, 2),
    ),
    case(
        "ade_cmyk_grey",
        folder(image=lambda n: encoded(picture(n, mode="CMYK" if n % 2 else "L"))),
        kept(
            2,
            2,
            repaired={
                "images/training/ADE_train_00000001.jpg": "cmyk",
                "images/validation/ADE_val_00000001.jpg": "cmyk",
            },
        ),
    ),
]
