"""Networks that are traced: by `torch.export`, `torch.compile`, `torch.jit.trace` or under fake
tensors.

What is made then may be a stand-in without values, so nothing of it may outlive the tracing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, ParamSpec

import torch
from torch import Tensor

Arguments = ParamSpec("Arguments")
MOST = 32
"""Tensors that are kept of one function."""


def traced() -> bool:
    """Return whether the operations that run now are written down, to be run elsewhere."""
    return torch.compiler.is_compiling() or bool(torch.jit.is_tracing())  # type: ignore[attr-defined, no-untyped-call]


class Kept(Generic[Arguments]):
    """A function of hashable arguments that keeps what it gave, but nothing of a traced network."""

    def __init__(self, make: Callable[Arguments, Tensor]) -> None:
        """`make` gives the same values for the same arguments."""
        self.make = make
        self.store: dict[object, Tensor] = {}

    def __call__(self, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Tensor:
        """Return what the function gives, possibly from an earlier call."""
        if traced():
            return self.make(*args, **kwargs)
        key = (*args, *kwargs.items())
        if key not in self.store:
            return self._made(key, *args, **kwargs)
        return self.store[key]

    def _made(self, key: object, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Tensor:
        # A tensor that is made in inference mode could not take part in training later.
        with torch.inference_mode(False):
            value = self.make(*args, **kwargs)
        if type(value) is Tensor:  # no fake or functional tensor of a mode around us
            if len(self.store) == MOST:
                del self.store[next(iter(self.store))]
            self.store[key] = value
        return value
