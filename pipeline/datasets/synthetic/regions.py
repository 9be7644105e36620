"""Synthetic images for ADEChallengeData2016: every pixel of a scene has a label, a few are left
unlabelled.

A scene is two grounds that meet at a wavy line (stuff), with discs, squares and triangles on them
(things). Label 0 marks blots that nobody named, as in the original.
"""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from pipeline.datasets.synthetic import painting
from pipeline.datasets.synthetic.painting import Generator, Mask, Pixels

STUFF = ("plain", "meadow", "brick", "water")
THINGS = ("disc", "square", "triangle", "ring")
FOLDERS = {"train": "training", "val": "validation"}


def files(
    split: str, count: int, side: int, rng: Callable[[int], Generator]
) -> Iterator[tuple[str, bytes]]:
    """Yield the images and masks of a split in the challenge's layout."""
    folder = FOLDERS[split]
    for index in range(count):
        canvas, labels = draw(rng(index), side)
        stem = f"ADE_{split}_{index + 1:08d}"
        yield f"images/{folder}/{stem}.jpg", painting.jpeg(canvas)
        yield f"annotations/{folder}/{stem}.png", painting.png(labels)


def names() -> Iterator[tuple[str, bytes]]:
    """Yield the list of names; its columns are those of the original."""
    rows = [
        f"{i}\t0\t0\t0\t{int(name in STUFF)}\t{name}\n"
        for i, name in enumerate((*STUFF, *THINGS), start=1)
    ]
    yield "objectInfo150.txt", ("Idx\tRatio\tTrain\tVal\tStuff\tName\n" + "".join(rows)).encode()


def draw(rng: Generator, side: int) -> tuple[Pixels, NDArray[np.uint8]]:
    """Return a scene, shape (side, side, 3), and its labels, shape (side, side)."""
    canvas = painting.ground(rng, side)
    y, x = painting.grid(side)
    level, swing, phase = rng.uniform([0.3, 0.02, 0], [0.7, 0.08, 6.3]) * [side, side, 1]
    lower = y > level + swing * np.sin(2 * np.pi * x / side + phase)
    above, below = rng.permutation(len(STUFF))[:2]
    labels = np.where(lower, below + 1, above + 1).astype(np.uint8)

    _cover(rng, canvas, ~lower, int(above))
    _cover(rng, canvas, lower, int(below))

    for _ in range(1 + int(rng.integers(3))):
        thing = int(rng.integers(len(THINGS)))
        where = _outline(rng, side, THINGS[thing])
        light = (
            painting.checks(y, x, max(4.0, side / 12), (0.0, 0.0))
            if thing % 2
            else np.ones_like(where)
        )
        painting.paint(
            canvas, where, light, painting.colour(rng, 1.0, 0.5), painting.colour(rng, 0.1, 0.5)
        )
        labels[where] = len(STUFF) + thing + 1

    labels[_outline(rng, side, "disc", 0.05)] = 0
    return canvas, labels


def _cover(rng: Generator, canvas: Pixels, where: Mask, stuff: int) -> None:
    """Give part of the ground the texture of its kind; its colour stays random."""
    y, x = painting.grid(len(canvas))
    period = max(4.0, len(canvas) / 12)
    if STUFF[stuff] == "plain":
        return

    pattern = {
        "meadow": lambda: rng.random(where.shape) > 0.5,
        "brick": lambda: painting.checks(y, x, period, (0.0, 0.0)),
        "water": lambda: np.broadcast_to(painting.stripes(y, x, period, 0.0, 0.0), where.shape),
    }[STUFF[stuff]]()
    canvas[where & pattern] += np.float32(0.18)


def _outline(rng: Generator, side: int, name: str, size: float | None = None) -> Mask:
    """Return the pixels of a shape somewhere in the scene; `size` is its radius as a part of the
    side.
    """
    radius = side * (size if size is not None else rng.uniform(0.08, 0.18))
    cy, cx = rng.uniform(radius, side - radius, 2)
    y, x = painting.grid(side)
    v = y - np.float32(cy)
    u = x - np.float32(cx)
    far = v * v + u * u

    shapes: dict[str, Callable[[], Mask]] = {
        "disc": lambda: far < radius**2,
        "ring": lambda: (far < radius**2) & (far > (radius / 2) ** 2),
        "square": lambda: (np.abs(v) < 0.8 * radius) & (np.abs(u) < 0.8 * radius),
        "triangle": lambda: (np.abs(u) < (v + radius) / 2) & (v < radius),
    }
    return shapes[name]()
