"""Packed splits: shards of samples read by offset, what is checked of them, and several of them as one."""

from __future__ import annotations

from pipeline.shards.shard import Sample, Shard, ShardInfo
from pipeline.shards.shard_set import FORMAT_VERSION, MANIFEST, WORK_FOLDER, ShardSet, is_shard_set, open_shards, splits_of

__all__ = ["FORMAT_VERSION", "MANIFEST", "WORK_FOLDER", "Sample", "Shard", "ShardInfo", "ShardSet", "is_shard_set", "open_shards", "splits_of"]
