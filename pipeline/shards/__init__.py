"""Shards: plain webdataset tars with a manifest that knows every byte of them."""

from pipeline.shards.manifest import Manifest
from pipeline.shards.reader import ShardReader
from pipeline.shards.verify import verify

__all__ = ["Manifest", "ShardReader", "verify"]
