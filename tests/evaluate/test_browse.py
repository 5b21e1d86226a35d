"""The page that searches by hand, over real HTTP, with a program in the encoder's place that has no model."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np
import pytest

from evaluate.browse import main
from evaluate.browsing.collection import Collection
from evaluate.browsing.encoder import Encoder, TooLate
from evaluate.browsing.finder import Finder
from evaluate.browsing.uploads import kind_of
from evaluate.dump import Dump
from tests.evaluate.dumps import write_dump
from tests.evaluate.served import BOUNDARY, error, found, get, post, serving, stub_finder

HEAD = f"POST /search HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary={BOUNDARY}\r\nContent-Length: {{length}}\r\n\r\n"
JPEG, PNG = b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def finder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Finder]:
    made = stub_finder(tmp_path_factory.mktemp("browse"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def port(finder: Finder) -> Iterator[int]:
    with serving(finder) as number:
        yield number


def test_the_first_page_says_what_is_searched_and_offers_items_to_begin_with(port):
    answer = get(port, "/")

    assert answer.status == 200 and "10 goods, 4 video, embedded by <b>stub</b>" in answer.text
    assert 'data-doc-id="g0"' in answer.text and "Title of g0 &lt;i&gt;" in answer.text and "data:image/jpeg" in answer.text
    assert "/search?id=g0&amp;of=goods&amp;among=video&amp;k=20" in answer.text


def test_words_a_picture_and_both_find_what_is_nearest_with_scores(port):
    words = get(port, "/search?words=x&among=goods&k=3")
    picture = post(port, {"among": "video", "k": "2"}, ("photo.jpg", JPEG + b"......"))
    both = post(port, {"among": "goods", "words": "red <b>", "k": "1"}, ("photo.png", PNG + b"."))

    # One letter: the second unit vector. g5 = (e1 + e2) / 2, g4 = (e0 + e1) / 2; of equal scores the lower row.
    assert found(words) == ["g1", "g9", "g4"] and '<span class="score">1.000</span>' in words.text and "Nearest to “x”" in words.text
    assert found(picture) == ["v2", "v0"] and "data:image/jpeg" in picture.text
    assert found(both) == ["g1"] and "a picture and “red &lt;b&gt;”" in both.text


def test_an_item_finds_others_like_itself_in_its_own_domain_and_in_the_other(port):
    goods, video = get(port, "/search?id=g1&k=10"), get(port, "/search?id=g1&of=goods&among=video")

    assert len(found(goods)) == 9 and "g1" not in found(goods) and found(goods)[0] == "g9" and goods.text.count("<img") == 5 + 9
    assert found(video)[0] == "v1" and len(found(video)) == 4


@pytest.mark.parametrize(
    ("address", "status", "said"),
    [
        ("/search?id=nobody", 404, "no item &#39;nobody&#39; of goods is in the dump"),
        ("/search?id=%00", 404, "no item"),
        ("/search?id=g1&of=../../etc", 404, "no item"),
        ("/search?words=x&among=cars", 400, "no dump holds &#39;cars&#39;; there is goods and video"),
        ("/search?words=x&k=1000", 400, "a number of results from 1 to 100"),
        ("/search?words=x&k=-1", 400, "a number of results"),
        (f"/search?words={'x' * 2001}", 413, "2,001 characters of words"),
        ("/../../etc/passwd", 404, "no such page"),
        ("/page.css/../../base.html.j2", 404, "no such page"),
    ],
)
def test_a_wrong_address_is_said_in_a_line(port, address, status, said):
    answer = get(port, address)

    assert answer.status == status and said in error(answer)


@pytest.mark.parametrize(
    ("name", "content", "status", "said"),
    [
        ("notes.jpg", b"dear diary, today", 415, "notes.jpg: a text, whatever its name says; give a JPEG"),
        ("drawing.png", b"<?xml version='1.0'?><svg onload='alert(1)'/>", 415, "drawing.png: an SVG drawing"),
        ("list.mp4", b"#EXTM3U\nfile:///etc/passwd", 415, "list.mp4: a text"),
        ("a.gif", b"GIF89a\x01\x00", 415, "a.gif: a GIF"),
        ("empty.jpg", b"", 415, "empty.jpg: an empty file"),
        ("../../x<i>.mp4", b"\0\0\0\0\xff", 415, "x&lt;i&gt;.mp4: of a kind that is not read here"),
        ("cut.jpg", JPEG + b"b....", 422, "cut.jpg: it is damaged"),
        ("long.mp4", b"\0\0\0\0ftypl....", 504, "long.mp4: it is damaged"),
        ("large.jpg", JPEG + bytes(300_000), 413, "the upload is larger than 0.1 MB (--upload_mb)"),
    ],
)
def test_a_wrong_file_is_said_in_a_line(port, name, content, status, said):
    answer = post(port, {}, (name, content))

    assert answer.status == status and said in error(answer)
    assert found(get(port, "/search?words=x&k=1")) == ["g1"]


def test_ten_gigabytes_are_refused_before_they_are_sent(port):
    with socket.create_connection(("127.0.0.1", port), timeout=20) as sending:
        head = (
            f"POST /search HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary={BOUNDARY}\r\nContent-Length: {10**10}\r\n\r\n"
        )
        sending.sendall(head.encode())
        answer = http.client.HTTPResponse(sending, method="POST")
        answer.begin()

        assert answer.status == 413 and "larger than 0.1 MB" in answer.read().decode()


def test_a_body_that_never_ends_is_cut_off_at_the_limit_without_a_length(port):
    def chunks() -> Iterator[bytes]:
        yield f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n'.encode() + JPEG
        while True:
            yield bytes(50_000)

    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    sent = 0
    try:
        connection.putrequest("POST", "/search")
        connection.putheader("Content-Type", f"multipart/form-data; boundary={BOUNDARY}")
        connection.putheader("Transfer-Encoding", "chunked")
        connection.endheaders()
        for chunk in chunks():
            connection.send(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
            sent += len(chunk)
            if sent > 400_000:
                break
        answer = connection.getresponse()

        assert answer.status == 413
    finally:
        connection.close()


def test_an_upload_that_does_not_arrive_in_time_is_refused(finder):
    with serving(finder, time_s=0.3) as port, socket.create_connection(("127.0.0.1", port), timeout=20) as sending:
        sending.sendall(HEAD.format(length=1000).encode() + b"--")
        answer = http.client.HTTPResponse(sending, method="POST")
        answer.begin()

        assert answer.status == 408 and "did not arrive within 0.3 s" in answer.read().decode()


def test_a_form_that_is_none_is_refused(port):
    answer = post(port, {}, headers={"Content-Type": "multipart/form-data"})

    assert answer.status == 400 and "not the form of this page" in error(answer)


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


def test_a_first_page_whose_items_cannot_be_shown_in_time_says_so(tmp_path):
    finder = stub_finder(tmp_path)
    try:
        with serving(finder) as port, finder._encoder._lock:
            finder._limit_s = 0.1
            answer = get(port, "/")
    finally:
        finder.close()

    assert answer.status == 504 and "busy with other searches" in error(answer)


def test_other_names_and_other_sites_are_refused(port):
    rebound = get(port, "/", {"Host": "evil.example:8765"})
    foreign = post(port, {"words": "x"}, headers={"Sec-Fetch-Site": "cross-site"})
    own = post(port, {"words": "x"}, headers={"Sec-Fetch-Site": "same-origin", "Host": f"[::1]:{port}"})

    assert rebound.status == 400 and "g0" not in rebound.text
    assert foreign.status == 403 and "another site" in error(foreign)
    assert own.status == 200


@pytest.mark.parametrize("address", ["/", "/search?words=x", "/search?id=nobody", "/nowhere", "/browse.js", "/page.css", "/browse.css"])
def test_every_answer_forbids_what_is_not_ours(port, address):
    headers = get(port, address).headers

    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["form-action"] == "'self'"
    assert headers["x-content-type-options"] == "nosniff" and headers["cache-control"] == "no-store"


def test_a_page_holds_nothing_that_its_own_policy_forbids(port):
    text = get(port, "/search?words=x").text

    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?! src=\"/browse.js\"></script>)", text)
    assert "Title of g1 &lt;i&gt;" in text and "<i>" not in text


def test_a_system_of_features_says_so_in_a_line_and_is_searched_by_items(tmp_path):
    finder = stub_finder(tmp_path, "refusing")
    try:
        with serving(finder) as port:
            page, picture = get(port, "/"), post(port, {}, ("a.jpg", JPEG + b"...."))
            words, item = get(port, "/search?words=x"), get(port, "/search?id=g1&k=1")
    finally:
        finder.close()

    assert "stub takes no pictures and no clips: it has features." in page.text and 'type="file"' not in page.text
    assert picture.status == words.status == 422 and "stub takes no words" in error(words)
    assert found(item) == ["g9"]


def test_a_dump_of_another_checkpoint_is_refused(tmp_path):
    dump = Dump(write_dump(tmp_path / "other", [("goods", np.eye(4), list("abcd"))], checkpoint="decaf"))
    same = Dump(write_dump(tmp_path / "same", [("goods", np.eye(4), list("abcd"))]))
    encoder = Encoder([sys.executable, "-m", "tests.evaluate.stub_encoder"], 60)

    with pytest.raises(ValueError, match=r"other was made by checkpoint decaf, --run is checkpoint c0ffee \(stub\); give the run that made it"):
        Finder(encoder, [dump], 1)
    with pytest.raises(ValueError, match="both hold goods; give one dump a domain"):
        Finder(encoder, [same, same], 1)
    encoder.close()


def test_an_encoder_that_cannot_start_says_why():
    with pytest.raises(ValueError, match="no such run"):
        Encoder([sys.executable, "-c", """print('{"error": "no such run"}')"""], 60)
    with pytest.raises(ValueError, match=r"did not start \(exit code 3\); see why with: .*python"):
        Encoder([sys.executable, "-c", "raise SystemExit(3)"], 60)


def test_an_encoder_that_ended_while_nobody_asked_is_started_again_and_one_that_is_busy_says_so():
    encoder = Encoder([sys.executable, "-m", "tests.evaluate.stub_encoder"], 60)
    process = encoder._process
    assert process is not None
    os.kill(process.pid, 9)
    process.wait()

    answer = encoder.ask({"do": "cards", "items": [["goods-000000", "g0"]], "frames": 1}, 30)

    assert answer["cards"][0]["title"] == "Title of g0 <i>"
    with encoder._lock, pytest.raises(TooLate, match=r"busy with other searches for 0.1 s"):
        encoder.ask({"do": "cards", "items": [], "frames": 1}, 0.1)
    encoder.close()


def test_nothing_is_left_of_an_upload(port, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    post(port, {}, ("a.jpg", JPEG + b"b....")), post(port, {}, ("a.jpg", JPEG + b"....."))
    deadline = time.monotonic() + 5
    while list(tmp_path.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.01)

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (JPEG, ("picture", ".jpg")),
        (PNG, ("picture", ".png")),
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
    program = "import evaluate.browse as browse; browse.ENCODER = 'tests.evaluate.stub_encoder'; browse.run_command(browse.main)"
    command = [sys.executable, "-c", program, "--run", "x", "--dump", str(tmp_path / "dump")]

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


def test_limits_that_make_no_sense_are_refused(tmp_path):
    with pytest.raises(ValueError, match="--upload_mb 0 --time_limit 30 --port 8765: above 0"):
        main(["--run", "x", "--dump", "y", "--upload_mb", "0"])
    with pytest.raises(ValueError, match="nowhere: no such folder"):
        main(["--run", "x", "--dump", str(tmp_path / "nowhere")])
