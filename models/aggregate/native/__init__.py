"""Kernels of this project's own for one thread of a CPU, compiled on the machine where they run.

Off unless asked for: their sums run in another order than PyTorch's, and differ from them by some
1e-7 of the largest. Anything that they do not take goes the plain way.
"""

from models.aggregate.native.switch import KERNELS, Kernels, kernels

__all__ = ["KERNELS", "Kernels", "kernels"]
