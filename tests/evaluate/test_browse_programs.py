"""What stands behind the page that searches by hand: the command, the encoder, what reads headers, the vectors it holds."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys

import numpy as np
import pytest

from evaluate.browse import main, serve
from evaluate.browsing.collection import Collection
from evaluate.browsing.encoder import Encoder, TooLate
from evaluate.browsing.finder import Finder
from evaluate.browsing.names import Names
from evaluate.browsing.sizes import check_size
from evaluate.browsing.uploads import Kind, kind_of
from evaluate.dump import Dump
from tests.evaluate.dumps import write_dump
from tests.evaluate.served import JPEG, MP4, error, found, get, post, serving, stub_finder

PROGRAM = "import evaluate.browse as browse; browse.ENCODER = 'tests.evaluate.stub_encoder'; browse.run_command(browse.main)"
JPEG_HEAD, PNG_HEAD = b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n"


def test_a_clip_s_frames_are_counted_in_pixels_too(tmp_path, monkeypatch):
    (tmp_path / "a.mp4").write_bytes(MP4)
    kind = Kind("clip", ".mp4")

    monkeypatch.setattr("evaluate.browsing.sizes.PIXELS", 32 * 32)
    check_size(tmp_path / "a.mp4", kind, 30)
    monkeypatch.setattr("evaluate.browsing.sizes.PIXELS", 32 * 32 - 1)

    with pytest.raises(ValueError, match=r"^a frame has 32 x 32 = 0.0 megapixels; at most 0.001023: make it smaller$"):
        check_size(tmp_path / "a.mp4", kind, 30)


def test_a_header_that_takes_too_long_or_kills_what_reads_it_is_refused(tmp_path, monkeypatch):
    (tmp_path / "a.jpg").write_bytes(JPEG)
    kind = Kind("picture", ".jpg")

    with pytest.raises(TooLate, match=r"^its header could not be read within 0.001 s \(--time_limit\)$"):
        check_size(tmp_path / "a.jpg", kind, 0.001)
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(ValueError, match=r"^what reads its header died of it \(exit code 1\)"):
        check_size(tmp_path / "a.jpg", kind, 30)


def test_a_decoder_that_hangs_or_dies_is_replaced(tmp_path):
    finder = stub_finder(tmp_path, limit_s=3.0)
    try:
        with serving(finder) as port:
            hung = post(port, {}, ("slow.jpg", JPEG + b"h...."))
            after = get(port, "/search?words=x&k=1")
            died = post(port, {}, ("deadly.jpg", JPEG + b"d...."))
            at_last = get(port, "/search?words=x&k=1")
    finally:
        finder.close()

    assert hung.status == 504 and "slow.jpg: it could not be looked at within 3 s" in error(hung)
    assert died.status == 422 and "deadly.jpg: the decoder died of it (exit code -9)" in error(died)
    assert found(after) == found(at_last) == ["g1"]


@pytest.mark.parametrize("name", ["http://box", "box:8765", "*", "*.example", "a b", ""])
def test_names_that_are_none_are_refused(name):
    with pytest.raises(ValueError, match=rf"^--names {re.escape(name)}: a name such as box.example, without http://, a port or a \*$"):
        Names([name])


def test_a_dump_of_another_checkpoint_is_refused(tmp_path):
    dump = Dump(write_dump(tmp_path / "other", [("goods", np.eye(4), list("abcd"))], checkpoint="decaf"))
    same = Dump(write_dump(tmp_path / "same", [("goods", np.eye(4), list("abcd"))]))
    encoder = Encoder([sys.executable, "-m", "tests.evaluate.stub_encoder"], 60)

    with pytest.raises(ValueError, match=r"other was made by checkpoint decaf, --run is checkpoint c0ffee \(stub\); give the run that made it"):
        Finder(encoder, encoder, [dump], 1)
    with pytest.raises(ValueError, match="both hold goods; give one dump a domain"):
        Finder(encoder, encoder, [same, same], 1)
    encoder.close()


def test_an_encoder_that_cannot_start_says_why():
    refusing = Encoder([sys.executable, "-c", """print('{"error": "no such run"}')"""], 60)
    with pytest.raises(ValueError, match="no such run"):
        _ = refusing.about
    failing = Encoder([sys.executable, "-c", "raise SystemExit(3)"], 60)
    with pytest.raises(ValueError, match=r"did not start \(exit code 3\); see why with: .*python"):
        _ = failing.about
    refusing.close()


def test_an_encoder_that_ended_while_nobody_asked_is_started_again_and_one_that_is_busy_says_so():
    encoder = Encoder([sys.executable, "-m", "tests.evaluate.stub_encoder"], 60)
    process = encoder._process
    assert process is not None and encoder.about["recipe"] == "stub"
    os.kill(process.pid, 9)
    process.wait()

    answer = encoder.ask({"do": "cards", "items": [["goods-000000", "g0"]], "frames": 1}, 30)

    assert answer["cards"][0]["title"] == "Title of g0 <i>"
    with encoder._lock, pytest.raises(TooLate, match=r"busy with other searches for 0.1 s"):
        encoder.ask({"do": "cards", "items": [], "frames": 1}, 0.1)
    encoder.close()


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (JPEG_HEAD, ("picture", ".jpg")),
        (PNG_HEAD, ("picture", ".png")),
        (b"RIFF\0\0\0\0WEBPVP8 ", ("picture", ".webp")),
        (b"\0\0\0\x18ftypisom", ("clip", ".mp4")),
        (b"\0\0\0\x14ftypqt  ", ("clip", ".mov")),
        (b"\x1a\x45\xdf\xa3\x93\x42\x82\x84webm", ("clip", ".webm")),
        (b"\x1a\x45\xdf\xa3\xa3\x42\x82\x88matroska", ("clip", ".mkv")),
        (b"RIFF\0\0\0\0AVI LIST", ("clip", ".avi")),
    ],
)
def test_a_kind_is_told_by_the_first_bytes(head, kind):
    assert kind_of(head, "x.txt") == kind


def test_a_collection_finds_what_sorting_by_hand_finds_and_knows_its_shards(tmp_path, monkeypatch):
    monkeypatch.setattr("evaluate.browsing.collection.BLOCK_ROWS", 8)
    rows = np.random.default_rng(0).standard_normal((30, 6)).astype(np.float16)
    dump = Dump(write_dump(tmp_path, [("goods", rows, [f"g{row}" for row in range(30)])], shard_rows=7, dtype="float16"))
    own = Collection(dump, "goods")

    nearest = own.nearest(own.vector(17), 5)

    scores = rows.astype(np.float32) @ rows[17].astype(np.float32)
    assert [row for row, _ in nearest] == np.argsort(-scores)[:5].tolist()
    assert [score for _, score in nearest] == pytest.approx(np.sort(scores)[::-1][:5].tolist(), rel=1e-5)
    assert (own.id_of(17), own.row_of("g17"), own.row_of("x"), own.row_of("")) == ("g17", 17, None, None)
    assert [own.shard_of(row) for row in (0, 6, 7, 29)] == [f"goods-{number:06d}" for number in (0, 0, 1, 4)]
    assert own.some(4) == [0, 9, 19, 29] and own.some(100) == list(range(30))


def test_the_command_says_its_address_and_ends_what_it_started(tmp_path):
    write_dump(tmp_path / "dump", [("goods", np.eye(4), list("abcd"))])
    command = [sys.executable, "-c", PROGRAM, "--run", "x", "--dump", str(tmp_path / "dump")]

    with subprocess.Popen([*command, "--port", "0"], stdout=subprocess.PIPE, text=True) as served:
        assert served.stdout is not None
        said = [next(served.stdout), next(served.stdout)]
        port = int(said[1].split(":")[2].strip("/\n"))
        answer = get(port, "/search?words=x&k=1")
        taken = subprocess.run([*command, "--port", str(port)], capture_output=True, text=True)
        served.send_signal(signal.SIGINT)
        code = served.wait(timeout=30)

    assert said[0] == "stub, checkpoint c0ffee: 4 goods\n" and found(answer) == ["b"]
    assert taken.returncode == 2 and f"--port {port}: Address already in use; give another port, or 0" in taken.stderr
    assert code == 130


def test_a_page_for_more_than_this_machine_says_what_it_answers_to(tmp_path):
    write_dump(tmp_path / "dump", [("goods", np.eye(4), list("abcd"))])
    command = [sys.executable, "-c", PROGRAM, "--run", "x", "--dump", str(tmp_path / "dump"), "--host", "0.0.0.0", "--port", "0", "--names", "Box"]

    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as served:
        assert served.stdout is not None
        said = [next(served.stdout) for _ in range(4)]
        port = int(said[3].split(":")[2].strip("/\n"))
        statuses = [get(port, "/", {"Host": f"{host}:{port}"}).status for host in ("192.0.2.1", "box", "other")]
        served.send_signal(signal.SIGINT)

    assert said[1].startswith("0.0.0.0: everybody who reaches this address can search")
    assert said[2].startswith("it answers to 127.0.0.1, localhost, ::1, 0.0.0.0, box and every address in digits; --names adds others, e.g. --names ")
    assert statuses == [200, 200, 400]


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("no-such-host.invalid", "--host no-such-host.invalid: no address is known for this name; give an address of this machine"),
        ("192.0.2.1", "--host 192.0.2.1: Cannot assign requested address; give an address of this machine"),
    ],
)
def test_a_host_that_is_not_this_machine_is_not_said_to_be_a_matter_of_the_port(host, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        serve(None, host, 0, [], 1.0, 1.0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("flag", "value"),
    [(flag, value) for flag in ("--upload_mb", "--time_limit") for value in ("0", "-1", "inf", "-inf", "nan", "1e300", "x")]
    + [("--port", value) for value in ("-1", "65536", "nan", "8e3")],
)
def test_limits_that_make_no_sense_are_refused(flag, value):
    with pytest.raises(ValueError, match=f"^argument {flag}: {value}: a number [^\n]*$"):
        main(["--run", "x", "--dump", "y", f"{flag}={value}"])


def test_a_dump_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ValueError, match="nowhere: no such folder"):
        main(["--run", "x", "--dump", str(tmp_path / "nowhere")])
