"""The encoder of `evaluate.browse`, which starts it: python -m pipeline.browsing.worker --run RUN --dump DUMP ...

Questions on standard input, answers on standard output (`evaluate/browsing/encoder.py` has their form); it ends with its input. A picture that is
given searches goods as a clip of one frame does, and videos as a good does; words alone search as queries do.
"""

from __future__ import annotations

import io
import json
import math
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from launch import distributed
from launch.command import CommandParser
from pipeline.browsing.corpus import DumpedCorpus
from pipeline.browsing.looks import images_of, title_of
from pipeline.browsing.loose import LooseItem
from pipeline.cards import FRAMES
from pipeline.checkpoint import Loaded, find_checkpoint, load_checkpoint
from pipeline.frames import FrameReader
from pipeline.item import CLIPS
from pipeline.media.check import check_video
from pipeline.precision import autocast, resolve_precision
from pipeline.shards import Sample


class Worker:
    """Embeds what is given and shows items."""

    def __init__(self, loaded: Loaded, corpus: DumpedCorpus, device: torch.device) -> None:
        self._loaded, self._corpus, self._device = loaded, corpus, device
        self._system = loaded.system.to(device).eval()
        self._preparation = self._system.preparation(training=False)
        self._precision = resolve_precision("auto", device)
        self._decode_limit_s = loaded.recipe.stream.decode_timeout_s
        self._reader = FrameReader(loaded.recipe.stream.decoder, self._decode_limit_s)

    def about(self) -> dict[str, Any]:
        """The first answer."""
        name = self._loaded.recipe.name
        grey = io.BytesIO()
        Image.new("RGB", (32, 32), (128, 128, 128)).save(grey, "JPEG")
        media = self._refusal(LooseItem("a picture", "goods", {}, grey.getvalue()), f"{name} takes no pictures and no clips")
        words = self._refusal(LooseItem("a query", "query", {"title": "words"}, None), f"{name} takes no words")
        return {"recipe": name, "checkpoint": self._loaded.checksum, "refuses": {"media": media, "words": words}, "corpus": self._corpus.missing()}

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to a request."""
        begin = time.monotonic()
        try:
            if request["do"] == "embed":
                return self._embedded(request)
            return {"cards": [self._card(shard, item, request["frames"]) for shard, item in request["items"]]}
        except ValueError as error:
            return {"error": str(error), "late": time.monotonic() - begin >= self._decode_limit_s}

    def _refusal(self, item: LooseItem, says: str) -> str:
        """Why the system makes no vector of `item`, behind what it `says`; "" where it does."""
        try:
            self._vector(item)
        except ValueError as error:
            return f"{says}: {error}"
        return ""

    @torch.inference_mode()
    def _vector(self, item: Sample) -> list[float]:
        batch = self._preparation.collate([self._preparation.sample(item, None, None)])
        with autocast(self._precision, self._device):
            vector = self._system.embed({name: value.to(self._device) for name, value in batch.items()}, item.domain)[0].float()
        if not bool(vector.isfinite().all()):
            raise ValueError("its embedding is not finite")
        return vector.tolist()

    def _embedded(self, request: dict[str, Any]) -> dict[str, Any]:
        words = {"title": request["words"]} if request["words"] else {}
        if request["file"] is None:
            return {"vector": self._vector(LooseItem("the words", "query", words, None)), "images": []}
        file = Path(request["file"])
        is_clip = LooseItem("it", "video", {}, file).video() is not None
        if is_clip:
            check_video(file, "it")
        item = LooseItem("it", "video" if is_clip or request["among"] != "video" else "goods", words, file)
        return {"vector": self._vector(item), "images": images_of(item, self._reader, FRAMES if is_clip else 1)}

    def _card(self, shard: str, item: str, frames: int) -> dict[str, Any]:
        sample = self._corpus.sample(shard, item)
        if sample is None:
            return {"title": "", "words": {}, "images": []}
        try:
            images = images_of(sample, self._reader, frames if sample.domain in CLIPS else 1)
        except ValueError:  # packed and embedded, and not to be read now: its words are shown all the same
            images = []
        return {"title": title_of(sample), "words": sample.words(), "images": images}


def main() -> None:
    """Load, then answer on standard output until standard input ends; what libraries print goes to standard error."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def say(answer: dict[str, Any]) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    try:
        worker = _loaded()
        about = worker.about()
    except (ValueError, OSError) as error:
        say({"error": str(error)})
        sys.exit(2)
    say(about)
    for line in sys.stdin.buffer:
        request = json.loads(line)
        # Whoever asked ends a process that hangs. Should they be gone themselves, the alarm ends it, whatever it hangs in.
        signal.alarm(math.ceil(request["limit_s"]) + 2)
        answer = worker.answer(request)
        signal.alarm(0)
        say(answer)


def _loaded() -> Worker:
    parser = CommandParser("python -m pipeline.browsing.worker", __doc__)
    parser.add_argument("--run", required=True)
    parser.add_argument("--dump", required=True, nargs="+")
    parser.add_argument("--shards", nargs="+", default=[])
    parser.add_argument("--weights", choices=["live", "ema"], default="live")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    given = parser.parse_args()
    device = distributed.start(given.device)
    loaded = load_checkpoint(find_checkpoint(given.run, "--run"), given.weights)
    return Worker(loaded, DumpedCorpus(given.dump, given.shards, Path(given.run)), device)


if __name__ == "__main__":
    main()
