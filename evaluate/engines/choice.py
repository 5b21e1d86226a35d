"""Which engine searches: the one asked for, or the fastest of those that are there.

    faiss     FAISS: its cards where it has some, else the processor
    torch     torch: a card where it sees one, else the processor
    auto      a small search: FAISS on the processor, which starts at once and needs no torch. Otherwise, of torch's card, FAISS's cards, torch on
              the processor (where it multiplies bfloat16, or the search is a long one), and FAISS on the processor those that are here; of
              several the one that is fastest with the first documents

The engines give the same lists, so the choice shows in the time alone (between processor and card in the last bit of a score, too).
"""

from __future__ import annotations

import importlib
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from evaluate.engines.best import Best, NoRoom
from evaluate.engines.device_names import check_device
from evaluate.engines.faiss_cards import MOST_RESULTS, CardsBest, cards_here
from evaluate.engines.faiss_flat import FaissBest
from evaluate.engines.faiss_loading import load_faiss
from evaluate.engines.processor import multiplies_bf16

ENGINES = ("auto", "faiss", "torch")
SMALL = 1e11
"""Multiplications up to which loading another library takes longer than the search."""
MEDIUM = 1e12
"""Multiplications up to which loading torch takes longer than its float32 saves on a processor: nothing, or half (long lists, narrow vectors)."""
TRIED_DOCS, TRIED_QUERIES = 32768, 512
DRIVERS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")


class Choice(NamedTuple):
    """An engine: name (faiss, faiss-cards, torch), torch's device, the reason, and bytes it holds for each number of a block beside the block."""

    name: str
    device: str = "cpu"
    why: str = ""
    held: int = 0

    @property
    def label(self) -> str:
        """What a person reads."""
        return {"faiss": "FAISS on the processor", "faiss-cards": "FAISS on its cards", "torch": f"torch on {self.device}"}[self.name]

    def finds(self, k: int) -> bool:
        """Whether it gives lists of `k`."""
        return self.name != "faiss-cards" or k <= MOST_RESULTS

    def __str__(self) -> str:
        return f"{self.label} ({self.why})"


def make(choice: Choice, queries: np.ndarray, k: int) -> Best:
    """That engine, with nothing found yet."""
    if choice.name == "faiss":
        return FaissBest(queries, k)
    if choice.name == "faiss-cards":
        return CardsBest(queries, k, cards_here(choice.device))
    from evaluate.engines.torch_scan import TorchBest  # here: it loads torch, which a search by FAISS is spared

    return TorchBest(queries, k, choice.device)


def choose(engine: str, device: str, queries: np.ndarray, k: int, docs: int, block: np.ndarray | None) -> Choice:
    """The engine for a search of `docs` documents, of which `block` float32 [n, D] are the first (None: there are none).

    Raises ValueError for an `engine` or `device` that is not known or not here.
    """
    if engine not in ENGINES:
        raise ValueError(f"--engine {engine}: choose {', '.join(ENGINES[:-1])} or {ENGINES[-1]}")
    check_device(device)
    there = _there(engine, device, k, float(len(queries)) * docs * queries.shape[1])
    return there[0] if len(there) == 1 or block is None else _fastest(there, queries, k, block)


def _there(engine: str, device: str, k: int, products: float) -> list[Choice]:
    """What may be taken for a search of so many multiplications."""
    wants_card, wants_processor = device != "cpu", not device.startswith("cuda")
    if products < SMALL and engine == "auto" and wants_processor:
        return [Choice("faiss", why="for a small search")]
    torch_processor = wants_processor and (engine == "torch" or (engine == "auto" and (multiplies_bf16() or products >= MEDIUM)))
    if torch_processor or (wants_card and _driver()):
        importlib.import_module("torch")  # before FAISS is looked at (faiss_loading.py)
    torch_card = wants_card and engine != "faiss" and _torch_sees_a_card()
    found = []
    if torch_card:
        found.append(Choice("torch", device.replace("auto", "cuda"), "torch sees a card"))
    faiss_cards = wants_card and engine != "torch" and _faiss_sees_cards()
    if faiss_cards and k <= MOST_RESULTS:
        found.append(Choice("faiss-cards", device, "FAISS sees cards", held=2))
    if torch_processor and not (engine == "torch" and torch_card):
        found.append(Choice("torch", "cpu", "as asked for" if engine == "torch" else "the search is a long one", 2 * multiplies_bf16()))
    if wants_processor and (engine == "auto" or (engine == "faiss" and not found)):
        asked = f"FAISS finds at most {MOST_RESULTS} on a card" if faiss_cards else "as asked for"
        found.append(Choice("faiss", why=asked if engine == "faiss" else "no card is seen, and the processor does not multiply bfloat16"))
    if not found:
        if faiss_cards:
            raise ValueError(f"--engine faiss --top_k {k}: FAISS finds at most {MOST_RESULTS} on a card; use --engine torch or --device cpu")
        remedy = "run launch/setup.sh for a build that serves your card, or use --device cpu"
        raise ValueError(f"--engine {engine} --device {device}: no card is seen here; {remedy}")
    return found


def _fastest(there: list[Choice], queries: np.ndarray, k: int, block: np.ndarray) -> Choice:
    """The one of `there` that is done first with the first documents."""
    docs, asking = block[:TRIED_DOCS], queries[:TRIED_QUERIES]
    seconds, said = [], []
    for choice in there:
        try:
            make(choice, asking, k).add(docs[: TRIED_DOCS // 8], 0)  # the first call loads and tunes
            started = time.perf_counter()
            best = make(choice, asking, k)
            best.add(docs, 0)
            best.keys()
            seconds.append(time.perf_counter() - started)
            said.append(f"{choice.label} {seconds[-1]:.2f} s")
        except (RuntimeError, NoRoom) as error:  # a card that others fill, or that a build has no code for
            seconds.append(float("inf"))
            said.append(f"{choice.label} failed: {str(error).splitlines()[0]}")
    fastest = int(np.argmin(seconds))
    if seconds[fastest] == float("inf"):
        raise ValueError(f"no engine works here: {'; '.join(said)}; use --device cpu")
    others = ", ".join(said[:fastest] + said[fastest + 1 :])
    return there[fastest]._replace(why=f"which took {seconds[fastest]:.2f} s for {len(asking)} x {len(docs)} ({others})")


def _torch_sees_a_card() -> bool:
    """Without loading torch where there is no driver that it could use."""
    if "torch" not in sys.modules and not _driver():
        return False
    import torch

    return torch.cuda.is_available()


def _driver() -> bool:
    return any(Path(path).exists() for path in DRIVERS)


def _faiss_sees_cards() -> bool:
    faiss = load_faiss()
    return hasattr(faiss, "get_num_gpus") and faiss.get_num_gpus() > 0
