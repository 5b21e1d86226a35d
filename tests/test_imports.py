"""The rules that keep the rooms apart, held by reading every module's syntax tree; nothing is imported."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
ROOMS = ("launch", "losses", "models", "evaluate", "pipeline")
FORBIDDEN_NAMES = ("utils.py", "common.py", "helpers.py")
LONGEST_FILE = 400

MAY_IMPORT = {
    "launch": {"launch"},
    "losses": {"launch", "losses"},
    "models": {"launch", "models"},
    "evaluate": {"launch", "evaluate"},
    "pipeline": {"launch", "losses", "models", "evaluate", "pipeline"},
    "pipeline.recipes": {"launch", "losses", "models", "evaluate", "pipeline", "pipeline.recipes"},
}


def floor_of(module: str) -> str | None:
    """The room that `module` (dotted) belongs to; None where it is not ours."""
    if module == "pipeline.recipes" or module.startswith("pipeline.recipes."):
        return "pipeline.recipes"
    top = module.partition(".")[0]
    return top if top in ROOMS else None


def imported_modules(tree: ast.Module, module: str, is_package: bool) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of everything that `module` imports, relative imports resolved; `from a import b` gives a.b, which may be a module."""
    package = module if is_package else module.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            base = ".".join(parts[: len(parts) - node.level + 1]) if node.level else ""
            source = ".".join(filter(None, (base, node.module)))
            yield from ((node.lineno, f"{source}.{alias.name}") for alias in node.names)


def broken_rules(source: str, module: str, is_package: bool = False) -> list[str]:
    """What `source`, the text of `module`, breaks: one line each, with its line number."""
    tree = ast.parse(source)
    found = []
    floor = floor_of(module)
    for line, name in imported_modules(tree, module, is_package):
        target = floor_of(name)
        # The recipes' package itself, without a module of it, is what recipes are found by name in.
        if floor and target and target not in MAY_IMPORT[floor] and name != "pipeline.recipes":
            found.append(f"{line}: {module} imports {name}; {floor} may import {', '.join(sorted(MAY_IMPORT[floor]))}")
        if name.partition(".")[0] == "pickle" and not module.startswith("tests."):  # tests see what a spawned process would
            found.append(f"{line}: imports pickle, which runs whatever a file says; use safetensors, .npy, HDF5 or JSON")
        if floor and name.startswith("transformers."):
            found.append(f"{line}: imports {name} at once, seconds for every command; `import transformers` loads a name where it is used")
    for node in ast.walk(tree):
        if isinstance(node, ast.Import) and any(alias.name == "evaluate" for alias in node.names):
            found.append(f"{node.lineno}: bare `import evaluate`, which Hugging Face's package is called too; import from evaluate.MODULE")
        if isinstance(node, ast.Call):
            keywords = {word.arg: ast.unparse(word.value) for word in node.keywords}
            if ast.unparse(node.func) == "torch.load" and keywords.get("weights_only") != "True":
                found.append(f"{node.lineno}: torch.load without weights_only=True runs whatever the file says")
            if keywords.get("allow_pickle") == "True":
                found.append(f"{node.lineno}: allow_pickle=True runs whatever the file says")
    return found


def modules_of(room: str) -> list[Path]:
    return sorted((CHECKOUT / room).rglob("*.py"))


def dotted(path: Path) -> tuple[str, bool]:
    """The module's dotted name, and whether it is a package."""
    parts = list(path.relative_to(CHECKOUT).with_suffix("").parts)
    return (".".join(parts[:-1]), True) if parts[-1] == "__init__" else (".".join(parts), False)


@pytest.mark.parametrize("room", ROOMS)
def test_imports_of_a_room_point_down_and_nothing_is_unpickled(room):
    paths = modules_of(room)

    broken = [f"{path.relative_to(CHECKOUT)}:{rule}" for path in paths for rule in broken_rules(path.read_text(encoding="utf-8"), *dotted(path))]

    assert paths
    assert broken == []


def test_benchmarks_and_tests_read_no_file_that_runs_what_it_says():
    paths = [*modules_of("benchmarks"), *modules_of("tests")]

    broken = [f"{path.relative_to(CHECKOUT)}:{rule}" for path in paths for rule in broken_rules(path.read_text(encoding="utf-8"), *dotted(path))]

    assert broken == []


def test_names_say_what_a_file_is_for_and_files_are_read_in_one_sitting():
    paths = [path for room in (*ROOMS, "benchmarks", "tests") for path in modules_of(room)]

    vague = [path.relative_to(CHECKOUT) for path in paths if path.name in FORBIDDEN_NAMES]
    lengths = {path.relative_to(CHECKOUT): len(path.read_text(encoding="utf-8").splitlines()) for room in ROOMS for path in modules_of(room)}
    long = {path: lines for path, lines in lengths.items() if lines > LONGEST_FILE}

    assert vague == []
    assert long == {}


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("launch.files", "from pipeline.item import Item"),
        ("launch.files", "import losses.contrast"),
        ("losses.contrast", "from models import towers"),
        ("losses.contrast", "import evaluate.search"),
        ("models.towers", "import pipeline"),
        ("evaluate.search", "def late():\n    from pipeline.item import Item"),
        ("evaluate.search", "from ..pipeline import item"),
        ("pipeline.train", "from pipeline.recipes import qcd"),
        ("pipeline.train", "from pipeline.recipes.qcd.system import QCD"),
        ("pipeline.train", "from .recipes import qcd"),
        ("pipeline.train", "import evaluate"),
        ("pipeline.train", "import evaluate as scores"),
        ("pipeline.train", "import pickle"),
        ("pipeline.train", "from pickle import loads"),
        ("models.towers", "import transformers\nfrom transformers import BertModel"),
        ("pipeline.train", "import torch\ntorch.load('weights.pt')"),
        ("pipeline.train", "import torch\ntorch.load('weights.pt', weights_only=False)"),
        ("pipeline.train", "import numpy as np\nnp.load('a.npy', allow_pickle=True)"),
    ],
)
def test_the_checker_names_the_line_that_breaks_a_rule(module, source):
    line = len(source.splitlines())

    broken = broken_rules(source, module)

    assert len(broken) == 1
    assert broken[0].startswith(f"{line}: ")


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("launch.files", "import json\nfrom launch.logs import say"),
        ("losses.contrast", "import torch\nfrom losses.softmax import softmax_loss\nfrom .softmax import softmax_loss"),
        ("evaluate.search", "import faiss\nfrom launch import files"),
        ("pipeline.train", "from evaluate.search import search\nimport pipeline.recipes\nfrom . import item"),
        ("pipeline.train", "import torch\ntorch.load('weights.pt', map_location='cpu', weights_only=True)"),
        ("models.towers", "import transformers\nBERT = transformers.BertModel"),
        ("pipeline.recipes.qcd", "from pipeline.recipes import mqmc\nfrom models.towers import TextTower"),
        ("tests.pipeline.test_train", "import pickle\nfrom pipeline.recipes.qcd.system import QCD"),
    ],
)
def test_the_checker_lets_pass_what_is_allowed(module, source):
    assert broken_rules(source, module) == []
