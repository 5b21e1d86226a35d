"""What goes into a checkpoint, in memory of its own: training goes on while it is written."""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from pipeline.checkpoint.state import State
from pipeline.recipe import Recipe
from pipeline.system import System


@dataclass(frozen=True)
class Contents:
    """A run at one step, as it was when this was made, whatever becomes of the run meanwhile."""

    state: State
    recipe: Recipe
    system: System
    """for its tokenizer's files alone, which training does not change"""
    architecture: dict[str, Any]
    tensors: dict[str, Any]
    """"weights" and, where there are any, "training" and "ema": each becomes a file NAME.pt"""
    is_best: bool

    @property
    def name(self) -> str:
        """The name of its folder, e.g. step-00000200."""
        return f"step-{self.state.step:08d}"

    def bytes_needed(self) -> int:
        """Bytes that its tensors take on disk; what is shared is written once a file."""
        return sum(sum({storage._cdata: storage.nbytes() for storage in _storages(value)}.values()) for value in self.tensors.values())


def contents_of(
    system: System,
    recipe: Recipe,
    state: State,
    training: dict[str, Any] | None = None,
    average: dict[str, Tensor] | None = None,
    is_best: bool = False,
) -> Contents:
    """The contents of a checkpoint of `system` now.

    Args:
        training: what a run needs to go on from here; None where there was none (imported weights).
        average: the slow average of the trained weights, where one is kept.
        is_best: it becomes what `best` names.
    """
    tensors = {"weights": system.state_dict(), "ema": average, "training": training}
    tensors = {name: value for name, value in tensors.items() if value is not None}
    return Contents(State(**asdict(state)), recipe, system, system.describe(), host_copy(tensors), is_best)


def host_copy(value: Any) -> Any:
    """The same nest of dicts, lists and tuples with all tensors copied to the host's memory; those that share memory still do.

    From a card the copies go into pinned memory, all at once, and are complete when this returns. Texts are interned: torch.save writes one
    that it has seen as a reference, and what was read from a file has equal texts twice; so equal values give equal bytes.
    """
    copies: dict[int, torch.UntypedStorage] = {}
    copied = _copied(value, copies)
    if any(storage.is_pinned() for storage in copies.values()):
        torch.cuda.synchronize()
    return copied


def _copied(value: Any, copies: dict[int, torch.UntypedStorage]) -> Any:
    if isinstance(value, Tensor):
        storage = value.untyped_storage()
        if storage._cdata not in copies:
            copies[storage._cdata] = _host_storage(storage)
        return torch.empty(0, dtype=value.dtype).set_(copies[storage._cdata], value.storage_offset(), value.size(), value.stride())
    if isinstance(value, dict):
        same_kind = copy.copy(value)  # a state_dict is an OrderedDict that carries the versions of its modules
        same_kind.clear()
        same_kind.update({_copied(key, copies): _copied(inner, copies) for key, inner in value.items()})
        return same_kind
    if isinstance(value, list | tuple):
        return type(value)(_copied(inner, copies) for inner in value)
    return sys.intern(value) if isinstance(value, str) else value


def _host_storage(storage: torch.UntypedStorage) -> torch.UntypedStorage:
    if storage.device.type == "cpu":
        return storage.clone()
    host = torch.empty(storage.nbytes(), dtype=torch.uint8, pin_memory=True)
    host.copy_(torch.empty(0, dtype=torch.uint8, device=storage.device).set_(storage), non_blocking=True)
    return host.untyped_storage()


def _storages(value: Any) -> Iterator[torch.UntypedStorage]:
    if isinstance(value, Tensor):
        yield value.untyped_storage()
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _storages(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _storages(inner)
