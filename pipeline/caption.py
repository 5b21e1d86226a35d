"""Write what a shopper would have searched for: texts generated from the frames of goods or clips (goods2caption).

    python -m pipeline.caption --checkpoint RUN --shards SHARDS/test --domain goods --out OUT/captions.jsonl [--beams 5 | --sample]

OUT/captions.jsonl has a line for each item, in the order of the shards: {"id": …, "captions": [{"text": …, "log_probability": …}, …]}, best
first. Greedy as it stands. Items without frames have no caption; those that cannot be read have a reason instead.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import torch

from launch.command import CommandParser, run_command
from launch.files import whole_file
from launch.logs import progress, say
from models.query_decoder import Decoding
from pipeline.bad_items import USUAL, BadItemCount, BadItems, bad_items_of
from pipeline.checkpoint import load_checkpoint
from pipeline.embed import add_embedding_arguments, start_embedding
from pipeline.precision import autocast, resolve_precision
from pipeline.shards import ShardSet, open_shards
from pipeline.shards.verification import verify
from pipeline.stream import evaluation_batches
from pipeline.system import System


def write_captions(
    system: System,
    shards: ShardSet,
    domain: str,
    out: str | Path,
    decoding: Decoding,
    *,
    device: torch.device,
    precision: str,
    batch_size: int,
    workers: int,
    bad_items: BadItems = USUAL,
) -> Path:
    """Write the captions of all items of `domain` and return the file.

    Raises:
        ValueError: the split has no such item, more of them cannot be read than may be, or the system has no decoder.
    """
    numbers = shards.of_domain(domain)
    if not numbers:
        raise ValueError(f"{shards.folder}: no {domain} item; the split holds {shards.counts}")
    system = system.to(device).eval()
    left = iter(numbers)
    pieces = evaluation_batches(
        shards, lambda: next(left, None), system.preparation(training=False), batch_size=batch_size, workers=workers, pin=device.type == "cuda"
    )
    if bad_items.verify:
        verify(shards, numbers, str(out))
    bad = BadItemCount(bad_items, str(out), shards.counts[domain], where=f"{shards.folder}, {domain}", listed=str(out))
    written = unreadable = unseen = 0
    with whole_file(out) as file, progress(total=shards.counts[domain], what=f"caption {domain}", unit="item") as bar:
        for piece in pieces:
            if piece.batch is not None:
                batch = {name: value.to(device) for name, value in piece.batch.items()}
                with torch.inference_mode(), autocast(precision, device):
                    captions = system.caption(batch, decoding)
                for item, texts in zip(piece.ids, captions):
                    listed = [{"text": without_gaps(text), "log_probability": round(score, 4)} for text, score in texts]
                    file.write(json.dumps({"id": item, "captions": listed}, ensure_ascii=False) + "\n")
                    written, unseen = written + bool(texts), unseen + (not texts)
            if piece.failures:
                bad.add(len(piece.failures), piece.failures[0][1])
            for item, reason in piece.failures:
                file.write(json.dumps({"id": item, "captions": [], "reason": reason}, ensure_ascii=False) + "\n")
                unreadable += 1
            bar.update(piece.last - piece.first)
    say(f"{out}: captions of {written} {domain} items; {unseen} have no frames, {unreadable} could not be read")
    return Path(out)


def without_gaps(text: str) -> str:
    """`text` without the gaps that a tokenizer of single characters leaves between those of Chinese and Japanese."""
    character = "[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]"
    return re.sub(f"(?<={character}) (?={character})", "", text)


def main(argv: list[str] | None = None) -> None:
    parser = CommandParser("python -m pipeline.caption", __doc__)
    parser.add_argument("--checkpoint", required=True, help="run folder (its best checkpoint, else the latest) or one checkpoint folder")
    parser.add_argument("--shards", required=True, help="packed split, e.g. SHARDS/test")
    parser.add_argument("--split", default="test", help="which split, where --shards is a folder of several (default test)")
    parser.add_argument("--domain", default="goods", help="goods, video or live (default goods)")
    parser.add_argument("--out", required=True, help="file to be written, one JSON object a line")
    parser.add_argument("--beams", type=int, default=1, help="hypotheses of a beam search (default 1: greedy)")
    parser.add_argument("--sample", action="store_true", help="draw words by their probability, from --seed")
    parser.add_argument("--texts", type=int, default=1, help="texts an item: best beams, or samples (default 1)")
    parser.add_argument("--temperature", type=float, default=1.0, help="of sampling; below 1 is more certain (default 1)")
    parser.add_argument("--top_k", type=int, default=0, help="sample among so many likeliest words; 0 = all (default)")
    parser.add_argument("--top_p", type=float, default=1.0, help="sample among the likeliest words that hold this share (default 1)")
    parser.add_argument("--max_tokens", type=int, default=0, help="tokens of a text with its start and end (default 0: the recipe's query_length)")
    parser.add_argument("--seed", type=int, default=0, help="of sampling (default 0)")
    add_embedding_arguments(parser)
    given = parser.parse_args(argv)
    device = start_embedding(given)
    loaded = load_checkpoint(given.checkpoint, given.weights)
    torch.manual_seed(given.seed)
    decoding = Decoding(
        beams=given.beams,
        sample=given.sample,
        texts=given.texts,
        temperature=given.temperature,
        top_k=given.top_k,
        top_p=given.top_p,
        max_tokens=given.max_tokens or loaded.recipe.system.query_length,
    )
    write_captions(
        loaded.system,
        open_shards(given.shards, given.split),
        given.domain,
        given.out,
        decoding,
        device=device,
        precision=resolve_precision(given.precision, device),
        batch_size=given.batch_size,
        workers=given.workers,
        bad_items=bad_items_of(given),
    )


if __name__ == "__main__":
    run_command(main)
