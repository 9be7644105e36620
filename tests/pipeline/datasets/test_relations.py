"""The fair test: nothing short of looking from one part to the other, far away, tells the class."""

from collections import Counter, defaultdict
from fractions import Fraction
from itertools import combinations, product

import numpy as np
import pytest

from pipeline.datasets.synthetic import relations
from pipeline.datasets.synthetic.relations import CELLS, CLASSES, Placement, placements

LABELS = range(len(CLASSES))
Cell = tuple[int, int]


def exact(label: int) -> list[tuple[Placement, Fraction]]:
    return [
        (placement, Fraction(placement.weight).limit_denominator(1000))
        for placement in placements(label)
    ]


def parity(cell: tuple[int, ...]) -> Cell:
    """Where a cell lies in its aligned block of 2 x 2."""
    return cell[0] % 2, cell[1] % 2


def block(cell: tuple[int, ...]) -> Cell:
    return cell[0] // 2, cell[1] // 2


@pytest.mark.parametrize("label", LABELS)
def test_every_placement_shows_its_class(label: int) -> None:
    assert sum(weight for _, weight in exact(label)) == 1
    for placement, weight in exact(label):
        (ay, ax), (by, bx) = placement.a, placement.b
        assert (abs(bx - ax), by - ay) == CLASSES[label] and weight > 0
        assert all(0 <= place < CELLS for place in (ay, ax, by, bx))


@pytest.mark.parametrize("label", LABELS)
def test_no_block_holds_both_parts(label: int) -> None:
    assert all(block(placement.a) != block(placement.b) for placement, _ in exact(label))


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("part", ["a", "b"])
def test_each_part_is_anywhere_in_its_block_equally_often(label: int, part: str) -> None:
    where: dict[Cell, Fraction] = defaultdict(Fraction)
    for placement, weight in exact(label):
        where[parity(getattr(placement, part))] += weight
    assert set(where.values()) == {Fraction(1, 4)} and len(where) == 4


@pytest.mark.parametrize("label", LABELS)
def test_mirroring_keeps_the_class(label: int) -> None:
    weights = {(placement.a, placement.b): weight for placement, weight in exact(label)}
    for ((ay, ax), (by, bx)), weight in weights.items():
        assert weights[((ay, CELLS - 1 - ax), (by, CELLS - 1 - bx))] == weight


def contents(label: int) -> dict[tuple[object, ...], Fraction]:
    """How often a block holds what, over all placements and every pair of cells for two other
    shapes.
    """
    found: dict[tuple[object, ...], Fraction] = defaultdict(Fraction)
    for placement, weight in exact(label):
        free = [
            cell
            for cell in product(range(CELLS), repeat=2)
            if cell not in (placement.a, placement.b)
        ]
        pairs = list(combinations(free, 2))
        for others in pairs:
            shown = {placement.a: "A", placement.b: "B", others[0]: "other", others[1]: "other"}
            for corner in product(range(2), repeat=2):
                inside = sorted(
                    (parity(cell), what) for cell, what in shown.items() if block(cell) == corner
                )
                found[tuple(inside)] += weight / len(pairs)
    return found


def test_blocks_hold_the_same_in_every_class() -> None:
    first = contents(0)
    assert all(contents(label) == first for label in LABELS)


@pytest.mark.parametrize("side", [32, 64, 96])
def test_parts_stay_in_their_cells(side: int) -> None:
    """Take the difference of a scene with and without a part: it lies within one cell."""
    cell = side / CELLS
    for seed, paint in product(range(40), (relations._disc, relations._square)):
        rng = np.random.default_rng(seed)
        canvas = np.full((side, side, 3), -1, dtype=np.float32)
        place = (int(rng.integers(CELLS)), int(rng.integers(CELLS)))
        paint(rng, canvas, *relations._centre(rng, side, place))
        painted = np.argwhere((canvas != -1).any(axis=2))
        assert {(int(y // cell), int(x // cell)) for y, x in painted} == {place}


def test_draws_follow_the_weights() -> None:
    label = 1
    counts: Counter[tuple[Cell, Cell]] = Counter()
    rng = np.random.default_rng(0)
    for _ in range(4000):
        chosen = relations.choose(rng, label)
        counts[chosen.a, chosen.b] += 1
    assert all(abs(counts[p.a, p.b] / 4000 - p.weight) < 0.03 for p in placements(label))
