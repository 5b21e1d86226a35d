"""Files and folders appear whole or not at all."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys

import pytest

from launch.files import checksum, read_json, whole_file, whole_folder, whole_path, write_json


def test_a_file_appears_when_the_block_ends_and_not_before(tmp_path):
    path = tmp_path / "deep" / "words.txt"

    with whole_file(path) as file:
        file.write("茶 tea")
        file.flush()
        assert not path.exists()

    assert path.read_text(encoding="utf-8") == "茶 tea"
    assert list(path.parent.iterdir()) == [path]


def test_a_block_that_raises_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "numbers.bin"
    path.write_bytes(b"old")

    with pytest.raises(RuntimeError, match="stop"), whole_file(path, "wb") as file:
        file.write(b"half of the new")
        raise RuntimeError("stop")

    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_path_given_to_a_library_is_renamed_when_the_block_ends(tmp_path):
    with whole_path(tmp_path / "a.npz") as temporary:
        assert temporary.parent == tmp_path
        temporary.write_bytes(b"data")

    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


@pytest.mark.parametrize("what", ["whole_file", "whole_folder"])
def test_a_process_killed_inside_the_block_leaves_the_old_content(tmp_path, what):
    old = tmp_path / "result"
    if what == "whole_folder":
        old.mkdir()
        (old / "part").write_text("old")
    else:
        old.write_text("old")
    write = "thing.write('half'); thing.flush()" if what == "whole_file" else "(thing / 'part').write_text('half')"
    program = f"import os, sys\nfrom launch.files import {what}\nwith {what}(sys.argv[1]) as thing:\n    {write}\n    os.kill(os.getpid(), 9)\n"

    killed = subprocess.run([sys.executable, "-c", program, str(old)])

    assert killed.returncode == -9
    assert (old / "part" if what == "whole_folder" else old).read_text() == "old"


@pytest.mark.parametrize("path", ["there/new.txt", "there/below/new.txt"])
def test_a_file_in_the_way_of_a_folder_is_named(tmp_path, path):
    (tmp_path / "there").write_text("a person's")

    with pytest.raises(ValueError, match="there is a file, not a folder; give another place"), whole_file(tmp_path / path) as file:
        file.write("new")

    assert (tmp_path / "there").read_text() == "a person's"


def test_a_folder_replaces_an_older_one_as_a_whole(tmp_path):
    folder = tmp_path / "step-10"
    folder.mkdir()
    (folder / "gone").write_text("of the first")

    with whole_folder(folder) as temporary:
        (temporary / "weights").mkdir()
        (temporary / "weights" / "kept").write_text("of the second")
        assert (folder / "gone").exists()

    assert [path.name for path in tmp_path.iterdir()] == ["step-10"]
    assert sorted(path.name for path in folder.rglob("*")) == ["kept", "weights"]


def test_a_folder_whose_block_raises_never_appears(tmp_path):
    with pytest.raises(RuntimeError, match="stop"), whole_folder(tmp_path / "step-20") as temporary:
        (temporary / "weights").write_text("half")
        raise RuntimeError("stop")

    assert list(tmp_path.iterdir()) == []


def test_json_comes_back_as_it_went_in(tmp_path):
    value = {"名": ["茶", 1, 2.5, None]}

    write_json(tmp_path / "a.json", value)

    assert read_json(tmp_path / "a.json") == value
    assert "茶" in (tmp_path / "a.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("content", [b'{"cut": ', b'"\xff\xfe"'])
def test_what_is_no_json_is_named(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)

    with pytest.raises(ValueError, match=r"a\.json: not UTF-8 JSON"):
        read_json(tmp_path / "a.json")


def test_a_value_that_json_cannot_hold_leaves_no_file(tmp_path):
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"a": json})

    assert list(tmp_path.iterdir()) == []


def test_a_checksum_is_that_of_the_bytes(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")

    assert checksum(tmp_path / "a") == hashlib.sha256(b"abc").hexdigest()
    assert checksum(tmp_path / "a").startswith("ba7816bf")
