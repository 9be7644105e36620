"""Where raw bytes lie: folders, official archives read in place, and downloads, all as one kind of
tree.
"""

from pipeline.datasets.source.archive import Archive, open_source
from pipeline.datasets.source.tree import Filed, Tree

__all__ = ["Archive", "Filed", "Tree", "open_source"]
