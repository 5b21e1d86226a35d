"""One torchrun job a rank count for all tests of many ranks: starting its processes takes longer than what they do."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pipeline.commands_on_ranks import run_on_ranks


@pytest.fixture(scope="session")
def ran(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """By module of the tests that are run: the folder in which its commands ran with 1, 2 and 3 ranks.

    Such a module has `commands_for(folder)`, which prepares what the commands read and gives them by the number of ranks.
    """
    modules = dict.fromkeys(item.module for item in request.session.items if hasattr(item, "module") and hasattr(item.module, "commands_for"))
    folders = {module.__name__: tmp_path_factory.mktemp(module.__name__.rpartition(".")[2]) for module in modules}
    prepared = [module.commands_for(folders[module.__name__]) for module in modules]
    for ranks in (1, 2, 3):
        run_on_ranks(ranks, *(command for commands in prepared for command in commands[ranks]))
    return folders


@pytest.fixture
def runs(request: pytest.FixtureRequest, ran: dict[str, Path]) -> dict[int, Path]:
    """Of the asking module: the folder of what ran with 1, 2 and 3 ranks (FOLDER/<ranks>); at 0 the shards that they read (FOLDER/shards)."""
    folder = ran[request.module.__name__]
    return {0: folder / "shards"} | {ranks: folder / str(ranks) for ranks in (1, 2, 3)}
