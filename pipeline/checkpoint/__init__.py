"""Checkpoints: one folder a step, renamed into place when whole; `latest` and `best` beside them name one each.

    RUN/checkpoints/step-00000200/  weights.pt  training.pt  state.json  recipe.json  system.json  tokenizer/  ema.pt (with --trainer.ema_decay)
    RUN/checkpoints/latest          text: step-00000200

A checkpoint needs nothing but itself to be evaluated: `system.json` rebuilds the architecture, `tokenizer/` the text encoder's words.
A run makes a copy of everything at a step (`contents`) and writes it beside the steps that follow (`background`); a run that is started
again goes on from the newest folder whose files have the checksums in its `state.json` (`folder`).
"""

from __future__ import annotations

from pipeline.checkpoint.background import Background
from pipeline.checkpoint.contents import contents_of
from pipeline.checkpoint.folder import CheckpointFolder
from pipeline.checkpoint.loading import Loaded, find_checkpoint, load_average, load_checkpoint, load_weights, start_from
from pipeline.checkpoint.state import State

__all__ = [
    "Background",
    "CheckpointFolder",
    "Loaded",
    "State",
    "contents_of",
    "find_checkpoint",
    "load_average",
    "load_checkpoint",
    "load_weights",
    "start_from",
]
