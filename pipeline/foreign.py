"""Weights of other programs: read without running anything they hold, compared with ours name by name, taken whole or refused."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

SHOWN = 20
"""Names of each kind that a message lists."""


def read_foreign(path: str | Path) -> dict[str, Any]:
    """The groups of tensors, numbers and plain settings that a torch file holds. Raises ValueError as `load_foreign` does, and where it has none."""
    found = load_foreign(path)
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds a {type(found).__name__}, not a dictionary of weights")
    return found


def load_foreign(path: str | Path) -> Any:
    """What a torch file holds, in whatever form. Tensors stay on the disk until they are used, where the file allows it.

    Raises:
        ValueError: no such file, no torch file, or one that would run code.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            try:
                return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            except RuntimeError:  # written by torch before 1.6: not a zip file, cannot be mapped
                return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever the damage leads to: UnpicklingError, EOFError, RuntimeError, KeyError
        raise ValueError(f"{path}: not read as a torch checkpoint without running code from it: {str(error).splitlines()[0]}") from error


def below(weights: Mapping[str, Any], *prefixes: str) -> dict[str, Tensor]:
    """The tensors whose names begin with one of `prefixes`, without it."""
    return {name.removeprefix(prefix): value for prefix in prefixes for name, value in weights.items() if name.startswith(prefix)}


@dataclass
class Import:
    """What happens to a foreign file's tensors: our names with their values, what is left out and why, what is unknown.

    `taken` is a state dict by our names. `left_out`: foreign names -> reason.
    """

    taken: dict[str, Tensor] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)

    def take(self, prefix: str, weights: Mapping[str, Tensor]) -> None:
        """Take `weights` under our module `prefix` ("document.text")."""
        self.taken |= {f"{prefix}.{name}": value for name, value in weights.items()}

    def leave(self, names: list[str], reason: str) -> None:
        """Leave tensors out, on purpose."""
        self.left_out |= dict.fromkeys(names, reason)

    def into(self, module: nn.Module, source: str | Path, new: tuple[str, ...] = ()) -> list[str]:
        """Load what was taken into `module`; returns its tensors that stay new.

        Args:
            new: prefixes of ours that may be missing in the file, as a whole each.

        Raises:
            ValueError: lists names that are unknown, missing or misshapen; then nothing is loaded.
        """
        own = module.state_dict()
        fresh = [name for name in own if name.startswith(new) and new and name not in self.taken]
        partly = sorted({prefix for prefix in new if any(name.startswith(prefix) for name in self.taken)})
        missing = [name for name in own if name not in self.taken and (name not in fresh or name.startswith(tuple(partly)))]
        unknown = self.unknown + [name for name in self.taken if name not in own]
        misshapen = [
            f"{name} is {list(value.shape)}, wanted {list(own[name].shape)}"
            for name, value in self.taken.items()
            if name in own and value.shape != own[name].shape
        ]
        if missing or unknown or misshapen:
            raise ValueError(
                f"{source}: missing: {_shown(missing)}; unknown: {_shown(unknown)}; misshapen: {_shown(misshapen)}; nothing was imported"
            )
        module.load_state_dict({**own, **{name: value.to(own[name].dtype) for name, value in self.taken.items()}})
        return fresh


def _shown(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "") if names else "none"
