"""Shards that lie elsewhere: in an object store, on a web server, behind a command. To all readers they are a packed split of this machine.

address, ranges     what a person may write
splits              which splits that names
mirror              the local folder of such a split; what is fetched when
cache               the bounded room that shards take there, shared by processes and nodes
ahead               fetching before the need (`pipeline.order.lookahead` tells what)
transfer, retries   one try at one file; trying again
settings            flags and environment

A shard is fetched whole, since samples are read by offset in the order of a shuffle that keeps to a few shards at a time. Bounds, for a node: on
disk --cache_size of shards, and beside it the small files of each split (about 200 bytes an item); in memory the indices of open shards, as for
local ones, and some 10 MB a rank for the batches that are looked ahead; on the network, each node fetches each shard once an epoch, or once
at all where the cache holds the corpus. A process keeps at most four shards from being removed (`mirror.OPEN`).
"""
