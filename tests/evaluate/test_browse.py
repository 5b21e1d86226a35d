"""The page that searches by hand, over real HTTP, with a program in the encoder's place that has no model."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import struct
import threading
import time
import zlib
from collections.abc import Iterator

import pytest

from evaluate.browsing.finder import Finder
from evaluate.browsing.names import Names
from tests.evaluate.served import BOUNDARY, JPEG, MP4, PNG, error, found, get, post, serving, stub_finder

HEAD = f"POST /search HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary={BOUNDARY}\r\nContent-Length: {{length}}\r\n\r\n"
JPEG_HEAD, PNG_HEAD = b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n"


def png_of(width: int, height: int) -> bytes:
    """A PNG that says how large it is and ends before its first row."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    return PNG_HEAD + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


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
        ("long.mp4", MP4 + b"l....", 504, "long.mp4: it is damaged"),
        ("named.jpg", JPEG + b"n....", 422, "named.jpg: the picture cannot be decoded"),
        ("bomb.png", png_of(13_000, 13_000), 413, "bomb.png: the picture has 13,000 x 13,000 = 169.0 megapixels; at most 50: make it smaller"),
        ("vast.png", png_of(30_000, 30_000), 413, "vast.png: the picture has 30,000 x 30,000 = 900.0 megapixels"),
        ("bare.jpg", JPEG_HEAD + b"....", 422, "bare.jpg: the picture cannot be opened, its file is truncated or damaged"),
        ("bare.mp4", b"\0\0\0\x18ftypisom....", 422, "bare.mp4: the clip cannot be opened (Invalid data found when processing input), its file is"),
        ("large.jpg", JPEG + bytes(300_000), 413, "the upload is larger than 0.1 MB (--upload_mb)"),
    ],
)
def test_a_wrong_file_is_said_in_a_line(port, name, content, status, said):
    answer = post(port, {}, (name, content))

    assert answer.status == status and said in error(answer)
    assert found(get(port, "/search?words=x&k=1")) == ["g1"]


@pytest.mark.parametrize("file_first", [True, False])
@pytest.mark.parametrize(("name", "content", "status"), [("notes.mp4", b"dear diary", 415), ("bomb.png", png_of(9_000, 9_000), 413)])
def test_a_refused_file_leaves_the_words_the_domain_and_the_number_as_they_were_given(port, name, content, status, file_first):
    answer = post(port, {"words": "red <b>", "among": "video", "k": "50"}, (name, content), file_first=file_first)

    assert answer.status == status and 'name="words" type="text" maxlength="2000" value="red &lt;b&gt;"' in answer.text
    assert re.findall(r"<option selected>(.*?)</option>", answer.text) == ["video", "50"]


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


def test_who_looks_or_types_does_not_wait_for_another_s_file(tmp_path):
    finder = stub_finder(tmp_path)
    hanging = finder._uploads
    answers = []
    try:
        with serving(finder) as port:
            uploading = threading.Thread(target=lambda: answers.append(post(port, {}, ("slow.jpg", JPEG + b"h...."))))
            uploading.start()
            deadline = time.monotonic() + 30
            while not hanging._lock.locked() and time.monotonic() < deadline:
                time.sleep(0.01)
            first, words = get(port, "/"), get(port, "/search?words=x&k=1")
            was_hanging = hanging._lock.locked()
            assert hanging._process is not None
            os.kill(hanging._process.pid, signal.SIGKILL)
            uploading.join()
    finally:
        finder.close()

    assert was_hanging and first.status == 200 and 'data-doc-id="g0"' in first.text and found(words) == ["g1"]
    assert answers[0].status == 422


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
    by_address, nonsense = get(port, "/", {"Host": "192.0.2.1:8765"}), get(port, "/", {"Host": "<b>"})
    foreign = post(port, {"words": "x"}, headers={"Sec-Fetch-Site": "cross-site"})
    own = post(port, {"words": "x"}, headers={"Sec-Fetch-Site": "same-origin", "Host": f"[::1]:{port}"})

    assert rebound.status == by_address.status == nonsense.status == 400 and nonsense.headers["content-type"].startswith("text/plain")
    assert rebound.text == (
        "Host 'evil.example:8765' is not served: this page answers to 127.0.0.1, localhost, ::1; "
        "to have it answer to evil.example, start it with --names evil.example\n"
    )
    assert foreign.status == 403 and "another site" in error(foreign)
    assert own.status == 200


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://localhost:8765", 200),
        ("https://LOCALHOST:8765", 200),
        ("http://localhost:9999", 403),
        ("http://localhost", 403),
        ("https://evil.example", 403),
        ("http://evil.example/localhost:8765", 403),
        ("null", 403),
        (None, 200),
    ],
)
def test_a_form_whose_origin_is_not_this_page_is_refused_where_a_browser_says_no_more(port, origin, status):
    headers = {"Host": "localhost:8765", **({} if origin is None else {"Origin": origin})}

    answer = post(port, {"words": "x", "k": "1"}, headers=headers)

    assert answer.status == status
    if status == 403:
        assert error(answer) == f"this form came from another site ({origin}); here is localhost:8765"


@pytest.mark.parametrize(
    ("host", "names", "is_served"),
    [
        ("192.0.2.1:8765", Names(any_address=True), True),
        ("[2001:db8::1]:8765", Names(any_address=True), True),
        ("192.0.2.1", Names(), False),
        ("192.0.2.1.evil.example", Names(any_address=True), False),
        ("192.0.2.1@evil.example", Names(any_address=True), False),
        ("box.example:8765", Names(any_address=True), False),
        ("Box.Example:8765", Names(["box.example"]), True),
        ("box.example.evil.example", Names(["box.example"]), False),
        ("[::1]", Names(), True),
        ("", Names(any_address=True), False),
    ],
)
def test_a_page_for_others_answers_to_addresses_in_digits_and_to_names_it_was_given(host, names, is_served):
    assert (host in names) is is_served


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
            second = finder._uploads._process
    finally:
        finder.close()

    assert second is None  # there is nothing for it to do
    assert "stub takes no pictures and no clips: it has features." in page.text and 'type="file"' not in page.text
    assert picture.status == words.status == 422 and "stub takes no words" in error(words)
    assert found(item) == ["g9"]


def test_nothing_is_left_of_an_upload(port, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    post(port, {}, ("a.jpg", JPEG + b"b....")), post(port, {}, ("a.jpg", JPEG + b"....."))
    deadline = time.monotonic() + 5
    while list(tmp_path.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.01)

    assert list(tmp_path.iterdir()) == []
