"""Samples that are drawn from a split: which ones, is a function of their names, their classes and
a seed alone.
"""

import hashlib
from collections.abc import Hashable, Mapping

from pipeline.datasets.source.names import raw

Groups = Mapping[str, Hashable]
"""The class of each name; a single one where classes are not known."""


def spread(groups: Groups, count: int, seed: int) -> list[str]:
    """Draw `count` names that stand for all of them: one of each class first, then each class by
    its share.
    """
    ranked = []
    for group, names in _ranked(groups, seed).items():
        place = _digest(seed, repr(group))
        ranked += [
            (i > 0, i and (i + 0.5) / len(names), place, name) for i, name in enumerate(names)
        ]
    return [name for *_, name in sorted(ranked)[:count]]


def share(groups: Groups, fraction: float, seed: int) -> set[str]:
    """Draw a fraction (above 0, below 1) of each class: of two names or more at least one, and
    never all.
    """
    drawn: set[str] = set()
    for names in _ranked(groups, seed).values():
        drawn.update(names[: min(max(1, round(len(names) * fraction)), len(names) - 1)])
    return drawn


def _ranked(groups: Groups, seed: int) -> dict[Hashable, list[str]]:
    """Return the names of each class in an order that each name decides by itself."""
    ranked: dict[Hashable, list[str]] = {}
    for name in sorted(groups, key=lambda name: _digest(seed, name)):
        ranked.setdefault(groups[name], []).append(name)
    return ranked


def _digest(seed: int, name: str) -> bytes:
    return hashlib.sha256(b"%d\0" % seed + raw(name)).digest()
