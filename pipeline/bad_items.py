"""What a command does about items that cannot be read or packed: it skips and lists them, up to a ceiling, or it stops at the first.

    --on_bad_item skip|stop    --max_bad_items 250|2%    --verify

One spelling and one rule for packing, features, training, embedding and the evaluate scripts. An item is bad where its own data are at fault: a
file that is missing, cut short or no picture, a video that cannot be decoded in time, numbers that are not finite, a record that is no JSON, a
shard that is not the one that was packed. It is left out, listed with its reason, and never replaced by another item. What lists the items (a
manifest, an index) and what is the machine's fault (a disk, a network) is no item's matter and stops a command under either policy.
"""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass
from typing import Any

from launch import distributed

POLICIES = ("skip", "stop")
LEAST = 100
"""Items that a share allows at least: one per cent of a small corpus would be stopped by a handful of broken photos."""


@dataclass(frozen=True)
class BadItems:
    """The policy.

    Args:
        on_bad_item: "skip" or "stop".
        max_bad_items: a number ("250") or a share ("2%") of the items at hand; of a share, `LEAST` are allowed in any case.
        verify: compare shards with their checksums before anything is read (`pipeline.shards.verification`); one that differs is bad as a whole.

    Raises:
        ValueError: neither of these.
    """

    on_bad_item: str = "skip"
    max_bad_items: str = "1%"
    verify: bool = False

    def __post_init__(self) -> None:
        if self.on_bad_item not in POLICIES:
            raise ValueError(f"--on_bad_item {self.on_bad_item}: choose {' or '.join(POLICIES)}")
        if not re.fullmatch(r"[0-9]+|[0-9]+(\.[0-9]+)?%", self.max_bad_items):
            raise ValueError(f"--max_bad_items {self.max_bad_items}: give a number of items (250) or a share of them (2%)")

    @property
    def stops(self) -> bool:
        """True where the first bad item ends the command."""
        return self.on_bad_item == "stop"

    def most(self, items: int) -> int:
        """How many of `items` may be bad."""
        if self.stops:
            return 0
        number, share, _ = self.max_bad_items.partition("%")
        return max(LEAST, int(items * float(number) / 100)) if share else int(number)

    def check(self, bad: int, items: int, *, where: str, listed: str, example: str) -> None:
        """Raise ValueError where `bad` of `items` are too many.

        Args:
            where: what holds the items.
            listed: the file that lists bad ones.
            example: one of them: where it is and what is wrong.
        """
        most = self.most(items)
        if bad <= most:
            return
        if self.stops:
            raise ValueError(f"{example} (--on_bad_item skip goes on without such items and lists them in {listed})")
        allowed = f"--max_bad_items {self.max_bad_items} allows {most:,}"
        raise ValueError(f"{where}: {bad:,} of {items:,} items are bad, {allowed}; one of them: {example}. Mend them (see {listed}), or allow more")


USUAL = BadItems()
"""The policy where nothing is said."""


class BadItemCount:
    """The bad items of one piece of work, counted over all ranks of a job, which make it together.

    Args:
        name: of the work, another one for each in a job.
        items: how many items the work is about.
        where, listed: as of `BadItems.check`.
    """

    def __init__(self, policy: BadItems, name: str, items: int, *, where: str, listed: str) -> None:
        self._policy, self._items, self._where, self._listed = policy, items, where, listed
        self._counter = distributed.SharedCounter(f"bad/{name}")

    def add(self, count: int, example: str) -> None:
        """Count so many more; `example` is where one of them is and what is wrong with it. Raises ValueError where that is too many."""
        for _ in range(count):
            counted = self._counter.next() + 1
        if count:
            self._policy.check(counted, self._items, where=self._where, listed=self._listed, example=example)


def add_bad_item_arguments(parser: argparse.ArgumentParser, listed: str) -> None:
    """The policy's two flags; `listed` is the file that lists bad items."""
    parser.add_argument(
        "--on_bad_item",
        choices=POLICIES,
        default=BadItems.on_bad_item,
        help=f"skip = leave an item that cannot be read out and list it in {listed}; stop = at the first one (default: %(default)s)",
    )
    parser.add_argument(
        "--max_bad_items",
        type=str,
        default=BadItems.max_bad_items,
        metavar="NUMBER|SHARE",
        help="bad items after which the command stops, as a number or, with a per cent sign, as a share of all, which allows "
        f"{LEAST} in any case: more than that are a fault of the corpus or of a disk, and not of items (default: %(default)s)",
    )


def add_verify_argument(parser: argparse.ArgumentParser) -> None:
    """The flag of commands that read shards."""
    parser.add_argument(
        "--verify",
        action="store_true",
        help="compare the shards with the manifest's checksums first, which reads them once more; their sizes and their records are always compared",
    )


def bad_items_of(arguments: Any) -> BadItems:
    """The policy that the flags of `add_bad_item_arguments` and `add_verify_argument` name."""
    return BadItems(arguments.on_bad_item, arguments.max_bad_items, arguments.verify)
