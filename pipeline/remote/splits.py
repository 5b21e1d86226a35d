"""Which splits an address names."""

from __future__ import annotations

from pathlib import Path

from launch.files import read_json
from pipeline.remote.address import Address, addresses_of
from pipeline.remote.mirror import MANIFEST, mirrored
from pipeline.remote.retries import NotThere

SPLITS = ("train", "val", "test")
"""Folders that are looked for below an address which is no split itself: a web server lists nothing."""


def remote_splits(text: str) -> dict[str, Path]:
    """Split -> its local folder (or a range of shards in it), with its manifest and small files fetched.

    Raises:
        ValueError: no packed split is there, or two of them are of one name.
        NotFetched: the store could not be read.
    """
    addresses = addresses_of(text)
    alone = len(addresses) == 1 and not addresses[0].shards and not addresses[0].is_pipe
    found: dict[str, Path] = {}
    for address in addresses:
        for split, folder in (_one_or_several(address) if alone else _one(address)).items():
            if split in found:
                raise ValueError(f"{text}: names two splits {split}; name each once")
            found[split] = folder
    return found


def _one(address: Address) -> dict[str, Path]:
    try:
        folder = mirrored(address)
    except NotThere as error:
        raise ValueError(f"{error}; name the folder of a packed split") from error
    split: str = read_json(folder / MANIFEST)["split"]
    return {split: folder / address.shards if address.shards else folder}


def _one_or_several(address: Address) -> dict[str, Path]:
    found: dict[str, Path] = {}
    reason = ""
    for place in (address, *(address.below(name) for name in SPLITS)):
        try:
            folder = mirrored(place)
        except NotThere as error:
            reason = str(error)
            continue
        found[read_json(folder / MANIFEST)["split"]] = folder
        if place is address:
            return found
    if not found:
        raise ValueError(f"{reason}; name the folder of a packed split, or one that holds {', '.join(SPLITS)}")
    return found
