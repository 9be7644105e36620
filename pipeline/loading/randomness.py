"""Counter-based randomness: every draw is a function of what it is for, never of what was drawn
before.
"""

import hashlib
import random

import numpy as np


def seed_for(*parts: int | str) -> int:
    """Return a 64-bit seed that depends on every part and on their order."""
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def seed_libraries(*parts: int | str) -> None:
    """Seed the global CPU generators of Python, NumPy and PyTorch.

    Library transforms draw from those; this hands them their randomness from outside. Nothing in
    the project relies on the state that such a call replaces.
    """
    import torch

    seed = seed_for(*parts)
    random.seed(seed)
    np.random.seed(seed & 0xFFFFFFFF)
    torch.default_generator.manual_seed(seed)


def generator(*parts: int | str) -> np.random.Generator:
    """Return a NumPy generator of its own for `parts`."""
    return np.random.Generator(np.random.Philox(key=seed_for(*parts)))
