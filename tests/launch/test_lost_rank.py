from __future__ import annotations

import os

import pytest

from launch.lost_rank import ending_when_lost

GONE = "[/src/gloo/gloo/transport/tcp/pair.cc:538] Connection closed by peer [10.0.0.2]:4217"
SILENT = "[/src/gloo/gloo/transport/tcp/unbound_buffer.cc:78] Timed out waiting 8000ms for recv operation to complete"


class Left(BaseException):
    """In place of the end of this process."""


@pytest.mark.parametrize(("error", "happened"), [(GONE, "broke off the connection"), (SILENT, "did not answer in time")])
def test_a_rank_that_is_lost_is_one_line_and_the_end(error, happened, monkeypatch, capsys):
    def leave(code: int) -> None:
        raise Left(code)

    monkeypatch.setattr(os, "_exit", leave)

    with pytest.raises(Left, match="2"), ending_when_lost("during the search", "it begins anew"):
        raise RuntimeError(error)

    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: rank 0 of 1: another rank {happened} during the search; see what that rank's log says")
    assert line.endswith(f"start the same command on every node: it begins anew ({error.rpartition('] ')[2]})")


def test_other_errors_stay_what_they_are():
    with pytest.raises(RuntimeError, match="mat1 and mat2"), ending_when_lost("", ""):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")
