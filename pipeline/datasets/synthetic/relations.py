"""Synthetic images for ImageNet whose class is how two things lie to each other, far apart.

Each scene holds a bright striped disc A and a dark chequered square B among other shapes. On a grid
of 4 x 4 cells B lies (dx, dy) cells from A, and the class is (|dx|, dy); |dx|, since training
mirrors images. What a network could see without looking from one far place to another says nothing
about the class:

- A and B never share an aligned block of half the side, nor touch: no patch, 3 x 3 neighbourhood,
  or token that patch merging gathers from 2 x 2 cells holds both;
- in every class A lies in each of the four cells of its block equally often, and so does B: a
  network that averages what it finds in the blocks (one with 1 x 1 kernels) meets the same blocks
  in every class;
- colours, textures, places within the cell, grounds and other shapes do not depend on the class.
"""

from collections.abc import Callable, Iterator
from functools import cache
from itertools import product
from typing import NamedTuple

import numpy as np

from pipeline.datasets.synthetic import painting
from pipeline.datasets.synthetic.painting import Generator, Pixels

CELLS = 4
CLASSES = (
    *((dx, dy) for dy in (-2, 2) for dx in (0, 1, 2, 3)),
    *((dx, 0) for dx in (2, 3)),
)
RADIUS = 0.46  # of a part, in cells
JITTER = 0.03  # of a part's centre within its cell, in cells


class Placement(NamedTuple):
    """Cells of A and B as (row, column), and how often a class uses this pair."""

    a: tuple[int, int]
    b: tuple[int, int]
    weight: float


def name(label: int) -> str:
    """Return what a class shows, in words."""
    dx, dy = CLASSES[label]
    across = {0: "", 1: "1 cell aside", 2: "2 cells aside", 3: "3 cells aside"}[dx]
    along = {-2: "2 cells above", 0: "", 2: "2 cells below"}[dy]
    return "square " + " and ".join(phrase for phrase in (along, across) if phrase) + " of disc"


@cache
def placements(label: int) -> tuple[Placement, ...]:
    """Return every pair of cells that shows a class; weights sum to 1.

    Both signs of dx weigh the same, and so do all places of one displacement; so in every class the
    row and the column of either part are even as often as odd.
    """
    dx, dy = CLASSES[label]
    pairs = []

    for step in {dx, -dx}:
        rows = _along(dy)
        columns = _along(step)
        weight = 1 / len(rows) / len(columns) / len({dx, -dx})
        pairs += [
            Placement((ay, ax), (by, bx), weight) for (ay, by), (ax, bx) in product(rows, columns)
        ]

    return tuple(sorted(pairs))


def _along(step: int) -> list[tuple[int, int]]:
    """Return the places (a, a + step) on one axis."""
    return [(a, a + step) for a in range(CELLS) if 0 <= a + step < CELLS]


@cache
def _cumulative(label: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.cumsum([placement.weight for placement in placements(label)])


def choose(rng: Generator, label: int) -> Placement:
    """Return a placement of a class, drawn by weight."""
    number = int(np.searchsorted(_cumulative(label), rng.random() * (1 - 1e-9), side="right"))
    return placements(label)[number]


def draw(rng: Generator, side: int, label: int) -> Pixels:
    """Return a scene of a class, shape (side, side, 3)."""
    chosen = choose(rng, label)
    free = [cell for cell in product(range(CELLS), repeat=2) if cell not in (chosen.a, chosen.b)]

    canvas = painting.ground(rng, side)
    for index in rng.choice(len(free), size=1 + int(rng.random() < 0.5), replace=False):
        _other(rng, canvas, *_centre(rng, side, free[index]))

    _disc(rng, canvas, *_centre(rng, side, chosen.a))
    _square(rng, canvas, *_centre(rng, side, chosen.b))
    return canvas


def _centre(rng: Generator, side: int, cell: tuple[int, int]) -> tuple[float, float]:
    """Return a centre within a cell, in pixels."""
    dy, dx = (2 * rng.random(2) - 1) * JITTER
    return (cell[0] + 0.5 + dy) * side / CELLS, (cell[1] + 0.5 + dx) * side / CELLS


def _disc(rng: Generator, canvas: Pixels, cy: float, cx: float) -> None:
    """Paint part A: a bright disc with stripes."""
    cell = canvas.shape[0] / CELLS
    pixels, v, u = painting.patch(canvas, cy, cx, RADIUS * cell)
    light = painting.stripes(v, u, cell / 4, rng.random() * np.pi, rng.random() * 2 * np.pi)
    inks = painting.colour(rng, 1.0, 0.2), painting.colour(rng, 0.75, 0.3)
    painting.paint(pixels, v * v + u * u < (RADIUS * cell) ** 2, light, *inks)


def _square(rng: Generator, canvas: Pixels, cy: float, cx: float) -> None:
    """Paint part B: a dark square with a chessboard."""
    cell = canvas.shape[0] / CELLS
    pixels, v, u = painting.patch(canvas, cy, cx, RADIUS * cell)
    light = painting.checks(v, u, cell / 2, (rng.random() * cell, rng.random() * cell))
    inks = painting.colour(rng, 0.25, 0.5), painting.colour(rng, 0.05, 0.5)
    painting.paint(pixels, np.maximum(np.abs(v), np.abs(u)) < RADIUS * cell, light, *inks)


def _other(rng: Generator, canvas: Pixels, cy: float, cx: float) -> None:
    """Paint a plain triangle or cross: something to look past."""
    radius = RADIUS * canvas.shape[0] / CELLS * 0.8
    pixels, v, u = painting.patch(canvas, cy, cx, radius)
    if rng.random() < 0.5:
        where = (np.abs(u) < (v + radius) / 2) & (v < radius)
    else:
        where = (np.abs(u) < radius / 3) | (np.abs(v) < radius / 3)

    pixels[where] = painting.colour(rng, rng.uniform(0.3, 0.9), 0.7)


def files(
    split: str, count: int, side: int, rng: Callable[[int], Generator]
) -> Iterator[tuple[str, bytes]]:
    """Yield the images of a split in ImageNet's layout, as relative paths and bytes; classes take
    turns.
    """
    for index in range(count):
        label = index % len(CLASSES)
        stem = (
            f"{wnid(label)}_{index}" if split == "train" else f"ILSVRC2012_{split}_{index + 1:08d}"
        )
        yield f"{split}/{wnid(label)}/{stem}.JPEG", painting.jpeg(draw(rng(index), side, label))


def names() -> Iterator[tuple[str, bytes]]:
    """Yield the file that names the classes."""
    lines = [f"{wnid(label)} {name(label)}\n" for label in range(len(CLASSES))]
    yield "LOC_synset_mapping.txt", "".join(lines).encode()


def wnid(label: int) -> str:
    """Return the name of a class's folder."""
    return f"n{label + 1:08d}"
