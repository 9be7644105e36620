"""Networks that are traced: by `torch.export`, `torch.compile`, `torch.jit.trace` or under fake
tensors.

What is made then may be a stand-in without values, so nothing of it may outlive the tracing.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import wraps
from typing import ParamSpec

import torch
from torch import Tensor

Arguments = ParamSpec("Arguments")
MOST = 32
"""Tensors that are kept of one function."""


def traced() -> bool:
    """Whether the operations that run now are written down, to be run elsewhere."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()


def kept(make: Callable[Arguments, Tensor]) -> Callable[Arguments, Tensor]:
    """Make a function of hashable arguments keep what it gave, but nothing of a traced network."""
    store: dict[tuple[Hashable, ...], Tensor] = {}

    @wraps(make)
    def made(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Tensor:
        if traced():
            return make(*args, **kwargs)
        key = (*args, *kwargs.items())
        if key in store:
            return store[key]
        # A tensor that is made in inference mode could not take part in training later.
        with torch.inference_mode(False):
            value = make(*args, **kwargs)
        if type(value) is Tensor:  # no fake or functional tensor of a mode around us
            if len(store) == MOST:
                del store[next(iter(store))]
            store[key] = value
        return value

    return made
