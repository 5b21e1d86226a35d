"""Turn published weights into a run folder that the evaluate scripts and --init take.

    python -m pipeline.import_checkpoint --from real20m checkpoint.pth.tar --tokenizer models/chinese-clip-vit-base-patch16 --out RUN
    python -m pipeline.import_checkpoint --from chinese-clip models/chinese-clip-vit-base-patch16 --out RUN
    python -m pipeline.import_checkpoint --from mqmc checkpoint.pth.tar --out RUN
    python -m pipeline.import_checkpoint --from hsl model_best.pth.tar --words vocab.json --out RUN

Every tensor of the file is taken, or left out for a reason that RUN/import.json gives, or the import is refused with a list of names that
are unknown, missing or misshapen: nothing is loaded half. No code from the file is run.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pipeline.recipes
from launch.command import CommandParser, run_command
from launch.files import checksum, write_json
from launch.logs import say
from pipeline.checkpoint import CheckpointFolder, State
from pipeline.recipe import Recipe
from pipeline.system import System


@dataclass(frozen=True)
class Wanted:
    """What the file's tensors do not tell.

    `tokenizer`: folder of the text tower's tokenizer, None where the file's own folder has it. `text_heads`, `vision_heads`: attention heads;
    0: one for each 64 dimensions. `new`: parts that start from scratch where the file lacks them. `words`: vocabulary of a model that embeds whole
    words (`pipeline.words.read_vocabulary`).
    """

    tokenizer: Path | None = None
    text_heads: int = 0
    vision_heads: int = 0
    new: tuple[str, ...] = ()
    words: Path | None = None


@dataclass(frozen=True)
class Imported:
    """A system with its weights, the recipe it stands for, and what became of the file: foreign names left out -> reason, parts that are new."""

    system: System
    recipe: Recipe
    left_out: Mapping[str, str]
    new: tuple[str, ...] = ()


Importer = Callable[[Path, Wanted], Imported]


def importers() -> dict[str, Importer]:
    """Name of a foreign format -> what imports it; every recipe offers its own as IMPORTERS."""
    found: dict[str, Importer] = {}
    for info in pkgutil.iter_modules(pipeline.recipes.__path__):
        found |= getattr(importlib.import_module(f"pipeline.recipes.{info.name}"), "IMPORTERS", {})
    return found


def import_checkpoint(kind: str, source: str | Path, out: str | Path, wanted: Wanted) -> Path:
    """Import `source` into the new run folder `out` and return its checkpoint.

    Raises:
        ValueError: names what does not fit; or `out` holds a run already.
    """
    source, out = Path(source), Path(out)
    folder = CheckpointFolder(out)
    if folder.latest() is not None:
        raise ValueError(f"--out {out} holds a run already ({folder.latest()}); give another folder")
    imported = importers()[kind](source, wanted)
    target = folder.write(imported.system, imported.recipe, State(), None, keep=1, is_best=False)
    taken = sum(value.numel() for value in imported.system.state_dict().values())
    write_json(
        out / "import.json",
        {
            "format": kind,
            "source": source.name,
            "checksum": checksum(source) if source.is_file() else None,
            "left_out": dict(imported.left_out),
            "new": list(imported.new),
        },
    )
    say(f"{source.name} -> {target}: {taken / 1e6:.1f} M numbers")
    for reason, count in Counter(imported.left_out.values()).items():
        say(f"left out: {count} tensors: {reason}")
    if imported.new:
        say(f"new, not from the file: {', '.join(imported.new)}")
    return target


def main(argv: list[str] | None = None) -> None:
    parser = CommandParser("python -m pipeline.import_checkpoint", __doc__)
    parser.add_argument("--from", dest="kind", required=True, choices=sorted(importers()), help="whose format the weights are in")
    parser.add_argument("source", metavar="PATH", help="the file, or the model folder")
    parser.add_argument("--out", required=True, metavar="RUN", help="run folder to be made")
    parser.add_argument("--tokenizer", metavar="FOLDER", help="folder with the text tower's tokenizer (vocab.txt), where PATH is a file")
    parser.add_argument("--text_heads", type=int, default=0, help="attention heads of the text tower (default 0: one for each 64 dimensions)")
    parser.add_argument("--vision_heads", type=int, default=0, help="attention heads of the vision tower (default 0: as Chinese-CLIP has them)")
    parser.add_argument(
        "--new", nargs="+", default=[], metavar="PART", help="parts that start from scratch where the file lacks them: fusion, frame_integration"
    )
    parser.add_argument("--words", metavar="FILE", help="vocabulary of a model that embeds whole words: a word a line, or JSON with word2idx")
    given = parser.parse_args(argv)
    tokenizer, words = (Path(name) if name else None for name in (given.tokenizer, given.words))
    import_checkpoint(given.kind, given.source, given.out, Wanted(tokenizer, given.text_heads, given.vision_heads, tuple(given.new), words))


if __name__ == "__main__":
    run_command(main)
