"""Synthetic images, written in the official layouts so that the very same readers
take them.

Each image is a pure function of (seed, split, index): a longer set begins with the images of a
shorter one.
"""

from pipeline.datasets.synthetic.folders import folder_name, materialise

__all__ = ["folder_name", "materialise"]
