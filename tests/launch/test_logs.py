"""What a person sees when something is wrong."""

from __future__ import annotations

import pytest

from launch.command import run_command
from launch.logs import progress, say


def raising(error: BaseException):
    def main(argv: list[str] | None) -> None:
        raise error

    return main


@pytest.mark.parametrize("error", [ValueError("ranked.h5 has 500 results"), OSError("corpus: no such folder")])
def test_an_error_of_use_is_one_line_and_exit_code_2(capsys, monkeypatch, error):
    monkeypatch.delenv("REELGOODS_TRACEBACK", raising=False)

    with pytest.raises(SystemExit) as left:
        run_command(raising(error))

    assert left.value.code == 2
    assert capsys.readouterr().err == f"error: {error}\n"


def test_a_defect_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        run_command(raising(ZeroDivisionError()))


def test_a_traceback_is_shown_where_it_is_asked_for(monkeypatch):
    monkeypatch.setenv("REELGOODS_TRACEBACK", "1")

    with pytest.raises(ValueError, match="wrong"):
        run_command(raising(ValueError("wrong")))


def test_an_interrupted_command_exits_as_the_shell_expects():
    with pytest.raises(SystemExit) as left:
        run_command(raising(KeyboardInterrupt()))

    assert left.value.code == 130


@pytest.mark.parametrize(("rank", "seen"), [("0", "packed 3 shards\n"), ("1", "")])
def test_only_the_first_rank_speaks(capsys, monkeypatch, rank, seen):
    monkeypatch.setenv("RANK", rank)

    say("packed 3 shards")
    steps = list(progress(range(3), what="embed"))

    output = capsys.readouterr()
    assert output.out == seen
    assert ("embed" in output.err) == (rank == "0")
    assert steps == [0, 1, 2]
