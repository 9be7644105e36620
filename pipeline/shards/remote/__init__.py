"""Shards that come by URL: read, kept in a cache, fetched ahead."""
