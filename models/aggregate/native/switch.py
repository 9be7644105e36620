"""Which kernels the aggregations of a network use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal, get_args

Kernels = Literal["plain", "native"]
KERNELS: tuple[str, ...] = get_args(Kernels)
_chosen: ContextVar[str] = ContextVar("kernels", default="plain")


@contextmanager
def kernels(name: str) -> Iterator[None]:
    """Use the kernels of that name in every forward pass inside; its gradient goes the same way.

    `plain` is PyTorch's operations, the measure and the default. `native` is the compiled ones, for
    what they take: float32 and bfloat16 on a CPU with a compiler, outside `torch.compile` and
    export; everything else stays plain.

    Raises:
        ValueError: there are no kernels of that name.
    """
    if name not in KERNELS:
        raise ValueError(f"kernels must be {' or '.join(KERNELS)}, not {name!r}")
    token = _chosen.set(name)
    try:
        yield
    finally:
        _chosen.reset(token)


def asked() -> bool:
    """Return whether the native kernels are asked for here."""
    return _chosen.get() == "native"
