"""A procedural corpus in KDD Cup's layout, to see words find photos without any data of one's own.

    python -m pipeline.sources.kddcup_sample --out Dataset/kddcup_sample

Its photos are those of the sample corpus' products (`pipeline.sources.procedural`), each with a few smaller things about, as boxes with features. A
training row has a photo and words that people might have found it by: the kind of thing with its build, pattern or emblem. Validation queries are
about other photos, of products new to training among them; each has candidates of which those are relevant that are all that the query says.
"""

from __future__ import annotations

import base64
import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from launch.command import CommandParser, run_command
from launch.files import read_json, whole_folder, write_json
from launch.logs import progress, say
from launch.seeds import generator
from pipeline.sources.kddcup_rows import HEAD
from pipeline.sources.procedural.drawing import product_sprite
from pipeline.sources.procedural.goods import EMBLEMS, PATTERNS, Product, catalogue
from pipeline.sources.procedural.photos import SIDE, Photo, photo_of

PRODUCTS, NEW_SHARE = 360, 0.2
MOST_OTHERS = 2
"""Smaller products on a photo, at most."""
CANDIDATES, MOST_RELEVANT = 30, 8
FIRST_TRAINING_PHOTO, FIRST_GALLERY_PHOTO = 1_000_000, 2_000_000
SETTINGS = "sample.json"
FORMS = ("{build} {name}", "{pattern} {name}", "{name} with {emblem}", "{pattern} {name} with {emblem}", "{build} {pattern} {name}")


@dataclass(frozen=True)
class Asked:
    """A query: its words, and what a product that fits it has."""

    words: str
    needs: frozenset[tuple[str, str]]

    def fits(self, product: Product) -> bool:
        """True where the product is all that the words say."""
        return self.needs <= set(_attributes(product).items())


def write_kddcup_sample(out: str | Path, photos: int = 2000, queries: int = 120, gallery: int = 400, seed: int = 0) -> Path:
    """Write the corpus to the folder `out`, which appears when it is whole, and return its path; a corpus of the same settings there is kept.

    Args:
        photos: training rows.
        queries: validation queries.
        gallery: photos that they have their candidates from.

    Raises ValueError where a number is too small or `out` holds anything else.
    """
    out = Path(out)
    if photos < 1 or queries < 1 or gallery < 2 * CANDIDATES:
        raise ValueError(f"--photos {photos} --queries {queries} --gallery {gallery}: at least 1 row, 1 query and {2 * CANDIDATES} photos")
    settings = {"format_version": 1, "photos": photos, "queries": queries, "gallery": gallery, "seed": seed}
    if out.exists() and any(out.iterdir()):
        if (out / SETTINGS).is_file() and read_json(out / SETTINGS) == settings:
            say(f"{out}: this sample corpus is already there")
            return out
        raise ValueError(f"{out}: holds something else than a sample corpus of these settings; give --out a new folder")
    goods = catalogue(PRODUCTS, seed, NEW_SHARE)
    known = [product for product in goods if not product.new]
    sprite = functools.lru_cache(maxsize=None)(lambda product: product_sprite(product, seed))

    def drawn(product: Product, item: int) -> Photo:
        rng = generator(seed, "photo", item)
        others = [goods[int(place)] for place in rng.integers(len(goods), size=rng.integers(MOST_OTHERS + 1))]
        return photo_of(product, others, sprite, rng)

    def training() -> Iterator[str]:
        for number in progress(range(photos), what="train.tsv", unit="photo"):
            item = FIRST_TRAINING_PHOTO + number
            rng = generator(seed, "row", item)
            product = known[int(rng.integers(len(known)))]
            yield _row(item, drawn(product, item), _asked(product, rng).words, number)

    shown = {FIRST_GALLERY_PHOTO + number: goods[number % len(goods)] for number in range(gallery)}
    with whole_folder(out) as root:
        _write(root / "train.tsv", training())
        found = {item: drawn(product, item) for item, product in progress(shown.items(), what="valid.tsv", unit="photo")}
        asked = dict(enumerate(_questions(shown, queries, seed)))
        pools = {number: _pool(one, shown, generator(seed, "pool", number)) for number, one in asked.items()}
        _write(root / "valid.tsv", (_row(item, found[item], asked[number].words, number) for number, pool in pools.items() for item in pool))
        answers = {str(number): [item for item in pool if asked[number].fits(shown[item])] for number, pool in pools.items()}
        write_json(root / "valid_answer.json", answers)
        write_json(root / SETTINGS, settings)
    relevant = sum(map(len, answers.values())) / queries
    say(f"{out}: {photos} training rows, {queries} queries with {CANDIDATES} candidates each, {relevant:.1f} of them relevant on average")
    return out


def _attributes(product: Product) -> dict[str, str]:
    pattern, emblem = PATTERNS[product.pattern].english, EMBLEMS[product.emblem].english
    return {"name": product.category.name.english, "build": product.build_name.english, "pattern": pattern, "emblem": emblem}


def _asked(product: Product, rng: np.random.Generator) -> Asked:
    """Something that the product is found by."""
    form, attributes = FORMS[int(rng.integers(len(FORMS)))], _attributes(product)
    return Asked(form.format(**attributes), frozenset((key, value) for key, value in attributes.items() if f"{{{key}}}" in form))


def _questions(gallery: dict[int, Product], number: int, seed: int) -> Iterator[Asked]:
    """Different queries, each about a photo of the gallery, and not about too many."""
    rng, items = generator(seed, "questions"), list(gallery)
    seen: set[Asked] = set()
    for _ in range(100 * number):
        if len(seen) == number:
            return
        one = _asked(gallery[items[int(rng.integers(len(items)))]], rng)
        if one not in seen and sum(map(one.fits, gallery.values())) <= MOST_RELEVANT:
            seen.add(one)
            yield one
    raise ValueError(f"--queries {number}: only {len(seen)} different ones were found; ask for fewer")


def _pool(asked: Asked, gallery: dict[int, Product], rng: np.random.Generator) -> list[int]:
    """What fits, and others: half of them near misses, which are some of what the query says."""
    fitting = [item for item, product in gallery.items() if asked.fits(product)]
    other = rng.permutation([item for item in gallery if item not in fitting]).tolist()
    near = sorted(other, key=lambda item: -len(asked.needs & set(_attributes(gallery[item]).items())))
    close = near[: (CANDIDATES - len(fitting)) // 2]
    rest = [item for item in other if item not in close][: CANDIDATES - len(fitting) - len(close)]
    return rng.permutation([*fitting, *close, *rest]).tolist()


def _row(item: int, photo: Photo, words: str, query: int) -> str:
    arrays = (photo.boxes.astype("<f4"), photo.features.astype("<f4"), photo.classes.astype("<i8"))
    encoded = (base64.b64encode(array.tobytes()).decode() for array in arrays)
    return "\t".join(map(str, (item, SIDE, SIDE, len(photo.boxes), *encoded, words, query)))


def _write(path: Path, rows: Iterable[str]) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"{HEAD.decode()}\n")
        file.writelines(f"{row}\n" for row in rows)


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and write the corpus."""
    parser = CommandParser("python -m pipeline.sources.kddcup_sample", "Write a procedural corpus in the layout of KDD Cup 2020's multimodal recall.")
    parser.add_argument("--out", required=True, metavar="CORPUS", help="folder to write; it appears when it is whole")
    parser.add_argument("--photos", type=int, default=2000, help="training rows (default: %(default)s)")
    parser.add_argument("--queries", type=int, default=120, help="validation queries (default: %(default)s)")
    parser.add_argument("--gallery", type=int, default=400, help="photos that those have their candidates from (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same bytes (default: %(default)s)")
    chosen = parser.parse_args(argv)
    write_kddcup_sample(chosen.out, chosen.photos, chosen.queries, chosen.gallery, chosen.seed)


if __name__ == "__main__":
    run_command(main)
