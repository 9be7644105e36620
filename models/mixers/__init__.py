"""One file per way of mixing neighbours; a file put here is a mixer, there is no list to edit.

A mixer file `NAME.py` gives:

- `SWITCHES`: a `models.network.spec.Switches`, the three questions answered for its default
  options, as literals: the report reads them without importing the file;
- `ATTENTION = True`, only where the weights come from comparing positions with each other: it is no
  depth-wise network then, which the report sets against Swin;
- `block(place, *, option=default, ...) -> nn.Module`: one block of the network, (B, H, W, C) ->
  (B, H, W, C).
  The keyword-only parameters are the options that `create_model(NAME_size, option=...)` accepts. In
  every block that it returns, the module that mixes has an attribute `switches`, which says what
  the options made of it, and, for work that no Linear or Conv2d does, a method `extra_macs(x) ->
  int` for its input x.
"""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module

from torch import nn

from models.network.spec import Switches


@dataclass(frozen=True)
class MixerFile:
    """What one file of this folder declares."""

    name: str
    switches: Switches
    block: Callable[..., nn.Module]

    @property
    def options(self) -> tuple[str, ...]:
        """Names of the options that the mixer takes."""
        parameters = inspect.signature(self.block).parameters.values()
        return tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)


WHOLE_NETWORKS = ("timm",)
"""Files of this folder that build a whole network of somebody else instead of a block."""


def names() -> list[str]:
    """Names of all mixers, sorted: the files of this folder."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name not in WHOLE_NETWORKS)


def load(name: str) -> MixerFile:
    """Import one mixer by its file name.

    Raises:
        ValueError: there is no such file (the nearest name is given), or it lacks `SWITCHES` or
            `block`.
    """
    if name not in names():
        raise ValueError(f"there is no mixer '{name}'; {nearest(name, names())}")

    module = import_module(f"{__name__}.{name}")
    for attribute in ("SWITCHES", "block"):
        if not hasattr(module, attribute):
            raise ValueError(
                f"the mixer file {name}.py must define {attribute}, see models/mixers/__init__.py"
            )

    return MixerFile(name, module.SWITCHES, module.block)


def nearest(word: str, names: list[str]) -> str:
    """Half a sentence that points from a wrong name to the nearest right one, or to all of them."""
    close = get_close_matches(word, names, n=1, cutoff=0.5)
    return f"did you mean '{close[0]}'?" if close else f"known are {', '.join(names)}"
