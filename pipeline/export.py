"""Write a trained system for other programs: its towers as transformers model folders, and ONNX files.

    python -m pipeline.export --checkpoint RUN --out FOLDER
    python -m pipeline.export --checkpoint RUN --out FOLDER --format transformers --weights ema

    FOLDER/vision/, FOLDER/text/    --format transformers: weights and config, loaded by transformers alone; the tokenizer in text/, pixel mean, std
                                    and size in vision/, the projection of each in projection.safetensors. train.sh takes both folders as
                                    --encoders.vision and --encoders.text
    FOLDER/*.onnx                   --format onnx: vision.onnx, text.onnx and document.onnx (what the system offers), batches and texts of any length
    FOLDER/README.md, recipe.json   how to use them, names and shapes of everything; the settings of the run

Everything is compared with the system on random batches first: FOLDER appears when the numbers agree, and not at all otherwise.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from launch.command import CommandParser, run_command
from launch.files import whole_folder, write_json
from launch.logs import say
from pipeline.checkpoint import load_checkpoint
from pipeline.exporting.card import card
from pipeline.exporting.graphs import OLDEST_OPSET, require_onnx, write_graph
from pipeline.exporting.towers import write_text, write_vision

FORMATS = ("transformers", "onnx")


def export(checkpoint: str, out: Path, formats: Collection[str] = FORMATS, *, weights: str = "live", opset: int = OLDEST_OPSET) -> dict[str, float]:
    """Write `out` and return the greatest difference of each of its forms from the system: `vision/`, `text/`, `document.onnx`, …

    Args:
        weights: "live", or "ema", their slow average.
        opset: operator set of the ONNX files.

    Raises:
        ValueError: `out` holds something, a package is missing, the system has no form for export, or a form gives other numbers; then
            nothing is written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"--out {out} exists and is not empty; remove it, or give a new folder")
    if "onnx" in formats:
        require_onnx(opset)
    loaded = load_checkpoint(checkpoint, weights)
    exports = loaded.system.exports()
    differences: dict[str, float] = {}

    def compared(name: str, difference: float) -> None:
        differences[name] = difference
        say(f"{name}: greatest difference from the system {difference:.1e}")

    with whole_folder(out) as folder:
        if "transformers" in formats:
            compared("vision/", write_vision(exports, folder / "vision"))
            compared("text/", write_text(exports, folder / "text"))
        for name, graph in exports.graphs.items() if "onnx" in formats else ():
            compared(f"{name}.onnx", write_graph(graph, folder / f"{name}.onnx", opset))
        which = "the slow average of its weights" if weights == "ema" else "its live weights"
        origin = f"{loaded.recipe.name}, step {loaded.state.step}, {which} (checksum {loaded.checksum[:12]})"
        (folder / "README.md").write_text(card(origin, exports, differences), encoding="utf-8")
        write_json(folder / "recipe.json", loaded.recipe.to_dict())
    say(f"done: {out}/README.md says how to use it")
    return differences


def main(argv: list[str] | None = None) -> None:
    parser = CommandParser("python -m pipeline.export", __doc__)
    parser.add_argument("--checkpoint", required=True, help="run folder (its best checkpoint, else the latest) or one checkpoint folder")
    parser.add_argument("--out", required=True, metavar="FOLDER", help="new folder, made when all is written and compared")
    parser.add_argument("--format", nargs="+", choices=FORMATS, default=list(FORMATS), help="what to write (default: both)")
    parser.add_argument("--weights", choices=["live", "ema"], default="live", help="ema: the slow average (--trainer.ema_decay); default live")
    parser.add_argument("--opset", type=int, default=OLDEST_OPSET, help=f"ONNX operator set (default {OLDEST_OPSET}, the oldest)")
    given = parser.parse_args(argv)
    export(given.checkpoint, Path(given.out), given.format, weights=given.weights, opset=given.opset)


if __name__ == "__main__":
    run_command(main)
