"""A little retrieval result with pictures, for the tests of the report."""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image

from evaluate.judging.ground_truth import GroundTruth
from evaluate.ranked import Ranked
from tests.evaluate.dumps import write_lists

DOCS = [f"g{number}" for number in range(15)]
ODD_TITLE = 'Tea <script>alert("x")</script> & "cakes" 抹茶'
TRUTH = {"v1": ["g2", "g0"], "v2": ["g14", "gone"], "v3": ["g12"], "v4": ["g5"]}


def little_result(folder: Path) -> tuple[Ranked, GroundTruth]:
    """Lists of twelve among fifteen goods. v1 and v4 are hits; v2 (one good not listed, one not searched) and v3 (the last of twelve,
    g12 listed eleventh by itself) are misses; v5 has no ground truth."""
    order = {"v1": DOCS[:12], "v2": DOCS[:12][::-1], "v3": [*DOCS[:10], "g12", "g13"], "v4": DOCS[3:15], "v5": DOCS[:12]}
    return write_lists(folder / "ranked.h5", order, DOCS), GroundTruth.of_pairs(TRUTH.items())


def write_cards(folder: Path) -> Path:
    """Cards for all goods but g7 and all videos but v4: a picture for each good, three frames and words for each video; g2 has an odd title."""
    cards: dict = {"goods": {}, "video": {}}
    (folder / "pictures").mkdir(parents=True)
    for domain, ids, images in (("goods", DOCS, 1), ("video", ["v1", "v2", "v3", "v5"], 3)):
        for number, item in enumerate(ids):
            names = [f"pictures/{item}.{frame}.jpg" for frame in range(images)]
            for frame, name in enumerate(names):
                Image.new("RGB", (48, 36), (16 * number, 80 * frame, 120)).save(folder / name)
            title = ODD_TITLE if item == "g2" else f"Title of {item}"
            words = {"title": title} if domain == "goods" else {"caption": f"Caption of {item}", "recognised_text": "50 % off"}
            cards[domain][item] = {"title": title if domain == "goods" else "", "words": words, "images": names}
    del cards["goods"]["g7"]
    (folder / "cards.json").write_text(json.dumps(cards), encoding="utf-8")
    return folder
