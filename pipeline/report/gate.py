"""What a factorial tells apart: each term before its pairs, at 5% over all of them together."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

LEVEL = 0.05
POWER = 0.8
REACH = 8.0
POINTS = 201
"""The grid of standard normal numbers on which power is integrated: how far, and how fine."""


class TermAndPairs(NamedTuple):
    """A term's p by its F-test, and the p of each of its pairs by its t-test.

    Of a term's pairs one at most may be none where the term is not: so it is with up to three
    pairs of two degrees of freedom.
    """

    term: float
    pairs: tuple[float, ...]

    @property
    def cleared(self) -> float:
        """The level at which the term and all its pairs are told apart."""
        return max(self.term, *self.pairs)


def adjusted(family: Sequence[TermAndPairs]) -> list[TermAndPairs]:
    """Return each p as the level of the whole family at which it is told apart.

    A family of n terms begins with an n-th of the level for each. A pair is tested at its term's
    level once the term is told apart (Fisher's protected differences, exact for three levels).
    A term whose pairs are all told apart leaves its level to the others, as in Holm's procedure,
    which this is where every term has one pair. So at most 5% of families of true nulls, terms
    and pairs together, hold a false claim.
    """
    cleared = sorted(tested.cleared for tested in family)
    opened = [0.0]  # the level of the family from which on as many terms have left theirs
    for place, level in enumerate(cleared):
        opened.append(max(opened[-1], (len(family) - place) * level))

    def raised(p: float) -> float:
        shares = range(len(family))
        return min(1.0, *(max(opened[gone], (len(family) - gone) * p) for gone in shares))

    return [
        TermAndPairs(raised(each.term), tuple(raised(max(each.term, pair)) for pair in each.pairs))
        for each in family
    ]


@lru_cache
def detectable(rank: int, freedom: int, terms: int) -> float:
    """Return the effect, in standard errors of its estimate, that `adjusted` tells apart in 80% of
    repetitions where it stands alone among this many terms.

    Args:
        rank: degrees of freedom of its term, 1 or 2. Of a term with two, the third level lies
            midway, where the F-test finds least.
        freedom: residual degrees of freedom.
        terms: how many are tested together.
    """
    import numpy as np
    from scipy.optimize import brentq
    from scipy.special import chdtr, fdtri, stdtrit

    level = LEVEL / terms
    normal = np.linspace(-REACH, REACH, POINTS)
    mass = np.exp(-(normal**2) / 2)
    mass /= mass.sum()

    def lacking(shift: float) -> float:
        squares = (normal + shift) ** 2
        most = squares / stdtrit(freedom, 1 - level / 2) ** 2  # of the scatter's square, for t
        if rank == 1:
            return float(mass @ chdtr(freedom, freedom * most)) - POWER
        of_term = (squares[:, None] + normal**2) / (2 * fdtri(2, freedom, 1 - level))
        both = np.minimum(most[:, None], of_term)
        return float(mass @ chdtr(freedom, freedom * both) @ mass) - POWER

    return float(brentq(lacking, 0, 1000))
