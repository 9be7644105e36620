"""Which mixers the questions are about: chosen by what each mixer's file says of itself, so that a
new one stands in the answers. The files are read and not imported, which would need torch.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.core.errors import UserError
from pipeline.params import variants

SWIN = ("swin",)
"""What the paper sets the depth-wise networks against."""
PAPER = ("dwnet", "dynamic_dwnet", "i_dynamic_dwnet", "locally_connected", "local_mlp")
"""The paper's networks, of which advice speaks first."""


def static() -> tuple[str, ...]:
    """Depth-wise networks: a window around every position, one set of weights for all of them and
    for every image.
    """
    return _mixers(neighbourhood=("sliding",), shared_positions=(True,), dynamic=(False,))


def dynamic() -> tuple[str, ...]:
    """Depth-wise networks whose weights are computed from the image."""
    return _mixers(neighbourhood=("sliding",), dynamic=(True,))


def unshared() -> tuple[str, ...]:
    """Networks that learn weights of their own for every position of a neighbourhood."""
    return _mixers(neighbourhood=("sliding", "window"), shared_positions=(False,), dynamic=(False,))


def _mixers(**required: tuple[Any, ...]) -> tuple[str, ...]:
    """Return the mixers whose switches are among the wanted ones; attention is no such network."""
    names = [
        path.stem
        for path in variants.MIXERS.glob("[a-z]*.py")
        if (switches := declared(path)) is not None
        and not switches["attention"]
        and all(switches.get(name) in values for name, values in required.items())
    ]

    order = {name: place for place, name in enumerate(PAPER)}
    return tuple(sorted(names, key=lambda name: (order.get(name, len(PAPER)), name)))


def declared(path: Path) -> dict[str, Any] | None:
    """Return the switches that a mixer's file declares, and whether it is `attention`; None where
    it declares none, as a whole network of somebody else's does not.

    Raises:
        UserError: the file is not Python.
    """
    values = dict(_assigned(path))
    switches = values.get("SWITCHES")
    if not isinstance(switches, ast.Call):
        return None

    literals = {item.arg: _literal(item.value) for item in switches.keywords if item.arg}
    attention = values.get("ATTENTION")
    return {**literals, "attention": attention is not None and _literal(attention) is True}


def _assigned(path: Path) -> Iterator[tuple[str, ast.expr]]:
    """Yield the names that a module assigns to, with what it assigns."""
    try:
        body = ast.parse(path.read_text()).body
    except SyntaxError as error:
        raise UserError(f"{path}, line {error.lineno}, is not Python; mend it") from None

    for node in body:
        if isinstance(node, ast.Assign):
            names = [target.id for target in node.targets if isinstance(target, ast.Name)]
            yield from ((name, node.value) for name in names)
        elif isinstance(node, ast.AnnAssign) and node.value and isinstance(node.target, ast.Name):
            yield node.target.id, node.value


def _literal(node: ast.expr) -> Any:
    return node.value if isinstance(node, ast.Constant) else None
