"""Kill a stage at random moments, start it again, and see whether it ends with what it would have ended with.

    python benchmarks/faults.py --kills 100 --seed 0 [--stage pack|train|embed|search] [--folder FOLDER]

Each stage runs once undisturbed, as its own command on the procedural sample corpus. Then, as often as asked, the stages by turns: the same
command into a new folder, SIGKILL to it and to all its processes, and the same command again. The moment is drawn uniformly between the first
file and the end of the undisturbed run, so none is wasted on the start of Python. Compared are bytes of shards, weights and losses (in log.jsonl
and in TensorBoard's files, read as TensorBoard reads them), numbers, ids and attributes of dumps and lists; not times of day. The last line is
`identical: X of N`; the exit code is 1 where X is less than N.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if not __package__:  # started as a file: the rooms are beside its folder
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import h5py
import numpy as np
import torch
from tensorboard.backend.event_processing.event_accumulator import SCALARS, EventAccumulator

from launch.command import CommandParser, run_command
from launch.logs import progress, say

ROOT = Path(__file__).resolve().parent.parent
STAGES = ("pack", "train", "embed", "search")
TRAINED = [
    *("--recipe", "qcd:smoke", "--trainer.max_steps", "16", "--trainer.checkpoint_every", "3", "--trainer.validate_every", "8"),
    *("--trainer.log_every", "2", "--trainer.threads", "1", "--trainer.ema_decay", "0.9", "--stream.batch_size", "16", "--stream.workers", "1"),
    *("--system.image_text", "momentum", "--system.image_text_queue", "64", "--system.memory_batches", "2", "--system.dropout", "0.1"),
    *("--system.image_size", "32", "--system.dim", "32", "--system.decoder_width", "32", "--packing.shard_samples", "20"),
]
TIMES = ("samples_per_s",)
"""Fields of a log that tell of the clock."""


@dataclass(frozen=True)
class Stage:
    """One stage as a command that writes below a folder, and what of it must be the same."""

    name: str
    command: Callable[[Path], list[str]]
    """of the folder; without the interpreter"""
    inputs: str
    """what it reads, for people"""


def stages_of(folder: Path) -> dict[str, Stage]:
    """The four stages; each reads what the ones before it wrote undisturbed, below FOLDER/undisturbed."""
    corpus, whole = folder / "corpus", folder / "undisturbed"
    dumps = whole / "embed"

    def embed(out: Path) -> list[str]:
        flags = ["--checkpoint", whole / "train", "--shards", whole / "pack/test", "--domain", "video", "--batch_size", "16"]
        return ["-m", "pipeline.embed", *map(str, flags), "--out", str(out)]

    def search(out: Path) -> list[str]:
        flags = ["--queries", dumps, "--docs", dumps, "--task", "video2video", "--top_k", "50", "--block_rows", "7"]
        return ["-m", "evaluate.search", *map(str, flags), "--out", str(out)]

    packing = ["--shard_samples", "20", "--vocab_size", "300", "--holdout_videos", "12"]
    return {
        "pack": Stage("pack", lambda out: ["-m", "pipeline.pack", "--data", str(corpus), "--out", str(out), *packing], "the corpus"),
        "train": Stage("train", lambda out: ["-m", "pipeline.train", "--data", str(whole / "pack"), "--out", str(out), *TRAINED], "packed shards"),
        "embed": Stage("embed", embed, "the checkpoint and the test split"),
        "search": Stage("search", search, "the dump of clips"),
    }


def content(folder: Path) -> dict[str, str]:
    """A digest of everything below `folder` that a user can rely on, by file; times of day and what is hidden are left out.

    TensorBoard's files count as one, folder by folder: how many there are says how often a run was started.
    """
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.name.startswith((".", "events.out")) or "/." in name or (path.is_dir() and not any(path.glob("events.out*"))):
            continue
        digest = hashlib.sha256()
        for piece in _pieces(path):
            digest.update(piece)
        found[name] = digest.hexdigest()
    return found


def _pieces(path: Path) -> Iterator[bytes]:
    if path.is_dir():
        yield from _scalars(path)
    elif path.suffix == ".h5":
        with h5py.File(path) as file:
            yield from _numbers(file)
    elif path.suffix == ".pt":
        yield from _tensors(torch.load(path, map_location="cpu", weights_only=True))
    elif path.name == "log.jsonl":
        for line in path.read_text().splitlines():
            yield json.dumps({key: value for key, value in json.loads(line).items() if key not in TIMES}).encode()
    else:
        yield path.read_bytes()


def _numbers(group: h5py.Group) -> Iterator[bytes]:
    """Names, attributes and numbers of everything in an HDF5 file, in the order of names."""
    yield json.dumps({name: str(value) for name, value in sorted(group.attrs.items())}).encode()
    for name in sorted(group):
        yield name.encode()
        if isinstance(group[name], h5py.Group):
            yield from _numbers(group[name])
        else:
            values = group[name][()]
            yield json.dumps([str(one) for one in values.ravel()]).encode() if values.dtype == object else values.tobytes()
            yield json.dumps({key: str(value) for key, value in sorted(group[name].attrs.items())}).encode()


def _scalars(folder: Path) -> Iterator[bytes]:
    """Names, steps and values of what TensorBoard shows of a folder."""
    logging.getLogger("tensorboard").setLevel(logging.ERROR)  # it warns of every run that was started again
    shown = EventAccumulator(str(folder), size_guidance={SCALARS: 0}).Reload()
    for name in sorted(set(shown.Tags()[SCALARS]) - set(TIMES)):
        yield json.dumps([name, *((event.step, event.value) for event in shown.Scalars(name))]).encode()


def _tensors(value: Any) -> Iterator[bytes]:
    """Names and numbers of everything in a checkpoint's file."""
    if isinstance(value, torch.Tensor):
        yield str((value.dtype, list(value.shape))).encode() + value.contiguous().flatten().view(torch.uint8).numpy().tobytes()
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield repr(key).encode()
            yield from _tensors(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _tensors(inner)
    else:
        yield repr(value).encode()


def undisturbed(stage: Stage, out: Path) -> float:
    """Run the stage to its end; returns the seconds from its first file on."""
    process = _start(stage, out)
    begun = _first_file(process, out)
    _check(process, stage, out)
    return time.monotonic() - begun


def disturbed(stage: Stage, out: Path, moment: float) -> str:
    """Kill the stage `moment` seconds after its first file and run it again to its end; returns how it was found: "killed" or "ended"."""
    process = _start(stage, out)
    _first_file(process, out)
    try:
        process.wait(moment)
        state = "ended"
    except subprocess.TimeoutExpired:
        state = "killed"
    if state == "killed":
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    _check(_start(stage, out), stage, out)
    return state


def _start(stage: Stage, out: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, *stage.command(out)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def _first_file(process: subprocess.Popen[str], out: Path) -> float:
    while process.poll() is None and not (out.is_dir() and any(out.iterdir())):
        time.sleep(0.002)
    return time.monotonic()


def _check(process: subprocess.Popen[str], stage: Stage, out: Path) -> None:
    said, _ = process.communicate()
    if process.returncode:
        raise ValueError(f"{stage.name} into {out} ended with {process.returncode}:\n{said[-2000:]}")


def faults(folder: Path, names: tuple[str, ...], kills: int, seed: int) -> dict[str, dict[str, float]]:
    """By stage: seconds undisturbed, kills, how many of them came before its end, how many ended identical."""
    folder.mkdir(parents=True, exist_ok=True)
    made = ["-m", "pipeline.sources.sample", "--out", str(folder / "corpus"), "--products", "24", "--clips_per_product", "6"]
    subprocess.run([sys.executable, *made], cwd=ROOT, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    stages, expected = stages_of(folder), {}
    table: dict[str, dict[str, float]] = {}
    for name in STAGES[: max(map(STAGES.index, names)) + 1]:
        seconds = undisturbed(stages[name], folder / "undisturbed" / name)
        expected[name] = content(folder / "undisturbed" / name)
        say(f"{name}: {len(expected[name])} files from {stages[name].inputs}, {seconds:.1f} s from the first file to the end")
        table[name] = {"seconds": seconds, "kills": 0, "before_the_end": 0, "identical": 0}
    rng = np.random.default_rng(seed)
    with progress(total=kills, what="kills", unit="kill") as bar:
        for number in range(kills):
            name = names[number % len(names)]
            row, out = table[name], folder / f"{name}-{number}"
            moment = float(rng.uniform(0, row["seconds"]))
            state = disturbed(stages[name], out, moment)
            found = content(out)
            same = found == expected[name]
            row["kills"] += 1
            row["before_the_end"] += state == "killed"
            row["identical"] += same
            if same:
                shutil.rmtree(out)
            else:
                differing = sorted(file for file in found.keys() | expected[name].keys() if found.get(file) != expected[name].get(file))
                say(f"{name} killed after {moment:.2f} s differs in {', '.join(differing[:5])}{' ...' if len(differing) > 5 else ''}: kept in {out}")
            bar.update()
    return {name: table[name] for name in names}


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and kill."""
    parser = CommandParser("python benchmarks/faults.py", __doc__)
    parser.add_argument("--kills", type=int, default=100, help="how often a stage is killed, the stages by turns (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="draws the moments (default: %(default)s)")
    parser.add_argument("--stage", choices=STAGES, help="kill this one alone (default: all by turns)")
    parser.add_argument("--folder", type=Path, help="where everything goes; a new one (default: a temporary one, removed where all is identical)")
    given = parser.parse_args(argv)
    if given.kills < 1:
        raise ValueError(f"--kills {given.kills}: at least 1")
    if given.folder and given.folder.exists():
        raise ValueError(f"--folder {given.folder} exists; name a new one")
    folder = given.folder or Path(tempfile.mkdtemp(prefix="faults-"))
    table = faults(folder, (given.stage,) if given.stage else STAGES, given.kills, given.seed)
    identical = int(sum(row["identical"] for row in table.values()))
    if identical == given.kills and not given.folder:
        shutil.rmtree(folder)
    print(json.dumps({"seed": given.seed, "stages": table}))
    print(f"identical: {identical} of {given.kills}")
    sys.exit(identical < given.kills)


if __name__ == "__main__":
    run_command(main)
