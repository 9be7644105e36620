"""From shards to batches: which sample when, decoding, augmentation, micro-batches."""
