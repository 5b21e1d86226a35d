"""The samples of a split that can be read, for what a system learns of it before it is trained."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pipeline.shards.shard import Sample
from pipeline.shards.shard_set import ShardSet


def readable_samples(shards: ShardSet, domains: Iterable[str]) -> Iterator[Sample]:
    """The samples of `domains` whose record can be read, in the order of the shards. The others are met again, listed and counted, when they are
    drawn to be trained on."""
    for number in [number for domain in domains for number in shards.of_domain(domain)]:
        shard = shards.shard(number)
        for row in range(len(shard)):
            sample = shard.sample(row)
            try:
                sample.record  # noqa: B018  read here and kept
            except ValueError:
                continue
            yield sample
