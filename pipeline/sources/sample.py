"""A procedural corpus in the Real20M layout, to see the whole pipeline work without any data of one's own.

    python -m pipeline.sources.sample --out Dataset/sample

Products are told apart by silhouette, pattern and emblem; colours and the words of clips say little. Its clips are H.264 mp4 files in which one
product, seldom two, moves among clutter in changing light. Tested are new clips: of products that the training files know, and of products that
they do not. Clips have a popularity by a law that is known (`pipeline.sources.procedural.popularity`).
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from launch.command import CommandParser, run_command
from launch.files import read_json, whole_folder, write_json
from launch.logs import progress, say
from launch.seeds import generator
from pipeline.sources.procedural.clips import clip_frames, write_clip
from pipeline.sources.procedural.drawing import catalogue_image, product_sprite
from pipeline.sources.procedural.goods import Product, catalogue
from pipeline.sources.procedural.popularity import popularity
from pipeline.sources.procedural.words import Cluster, clip_lines, goods_lines, product_queries, shared_queries

NEW_SHARE = 0.15
"""Share of the products that occur in no training file."""

TEST_SHARE = 0.25
"""Share of a known product's clips that are for testing; a new product has as many test clips as a known one, and no others."""

PAIR_SHARE = 1 / 12
"""Share of the clips that show a second product."""

MOST_GOODS, MOST_CLIPS = 12, 24
"""How many documents of each domain a training query lists at most: the first page of a search."""

ONE_SIDED_SHARE = 0.25
"""Share of the products' third queries that found goods alone or clips alone."""

FIRST_GOOD, FIRST_TRAINING_CLIP, FIRST_TEST_CLIP = 1_000_000, 2_000_000, 3_000_000
FOLDERS = 50_000
"""Items lie in folders by id modulo this, as released."""

SETTINGS = "sample.json"


@dataclass(frozen=True)
class Clip:
    """One micro-video: its id, its number among its first product's clips, and the products that it shows."""

    item: int
    number: int
    products: tuple[Product, ...]


def write_sample(out: str | Path, products: int = 120, clips_per_product: int = 12, seed: int = 0, workers: int = 2) -> Path:
    """Write the corpus to the folder `out`, which appears when it is whole, and return its path; a corpus of the same settings there is kept.

    Args:
        clips_per_product: clips of a product that training knows; a quarter of them, at least one, are for testing.
        workers: processes that draw. The bytes do not depend on it.

    Raises ValueError where a number is out of range or `out` holds anything else.
    """
    out = Path(out)
    if clips_per_product < 2:
        raise ValueError(f"--clips_per_product {clips_per_product}: at least 2 are needed, one to train on and one to test with")
    if workers < 1:
        raise ValueError(f"--workers {workers}: at least 1 process is needed")
    goods = catalogue(products, seed, NEW_SHARE)
    settings = {"format_version": 1, "products": products, "clips_per_product": clips_per_product, "seed": seed}
    if _stands(out, settings):
        say(f"{out}: this sample corpus is already there")
        return out
    training, testing = _clips(goods, clips_per_product, seed)
    with whole_folder(out) as root:
        _draw(root, goods, training + testing, seed, workers)
        _write_training_files(root, goods, training, seed)
        _write_test_files(root, goods, testing)
        _write_popularity(root, training + testing, seed)
        write_json(root / SETTINGS, settings)
    new = sum(product.new for product in goods)
    say(f"{out}: {products} goods ({new} of them new to training), {len(training)} clips to train on, {len(testing)} to test with")
    return out


def _stands(out: Path, settings: dict[str, int]) -> bool:
    """True where `out` holds the corpus of `settings`, False where nothing is there."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    if not (out / SETTINGS).is_file():
        raise ValueError(f"{out}: holds something else than a sample corpus; give --out a new folder")
    found = read_json(out / SETTINGS)
    if found != settings:
        raise ValueError(f"{out}: holds a sample corpus of other settings ({found} instead of {settings}); remove it or give --out a new folder")
    return True


def _clips(goods: Sequence[Product], clips_per_product: int, seed: int) -> tuple[list[Clip], list[Clip]]:
    """All clips: those to train on and those to test with."""
    tested = max(1, round(TEST_SHARE * clips_per_product))
    training: list[Clip] = []
    testing: list[Clip] = []
    for product in goods:
        for number in range(clips_per_product):
            shown = _shown(product, number, goods, seed)
            if number < tested:
                testing.append(Clip(FIRST_TEST_CLIP + len(testing), number, shown))
            elif not product.new:
                training.append(Clip(FIRST_TRAINING_CLIP + len(training), number, shown))
    return training, testing


def _shown(product: Product, number: int, goods: Sequence[Product], seed: int) -> tuple[Product, ...]:
    """The products in a clip: one, or a second one of another category that is as new or as known as the first."""
    rng = generator(seed, "shown", product.number, number)
    if rng.random() >= PAIR_SHARE:
        return (product,)
    other = goods[int(rng.integers(len(goods)))]
    return (product, other) if other.category != product.category and other.new == product.new else (product,)


def _draw(root: Path, goods: Sequence[Product], clips: Iterable[Clip], seed: int, workers: int) -> None:
    """Write every good's and every clip's own files, product by product, in `workers` processes."""
    clips_of: dict[int, list[Clip]] = {product.number: [] for product in goods}
    for clip in clips:
        clips_of[clip.products[0].number].append(clip)
    with progress(total=len(goods), what="sample", unit="product") as bar:
        if workers == 1:
            for product in goods:
                _draw_product(root, product, clips_of[product.number], seed)
                bar.update()
            return
        with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
            waiting = [pool.submit(_draw_product, root, product, clips_of[product.number], seed) for product in goods]
            try:
                for done in as_completed(waiting):
                    done.result()
                    bar.update()
            except BrokenProcessPool as error:
                raise OSError(f"{root}: a drawing process was killed; run again, with fewer --workers where memory is short") from error
            finally:
                pool.shutdown(cancel_futures=True)


def _draw_product(root: Path, product: Product, clips: Sequence[Clip], seed: int) -> None:
    item = FIRST_GOOD + product.number
    image = root / "goods/images" / _place(item, "jpg")
    image.parent.mkdir(parents=True, exist_ok=True)
    catalogue_image(product, seed).save(image, quality=88)
    _write_lines(root / "goods/text" / _place(item, "txt"), goods_lines(product, str(item), seed))
    sprite = product_sprite(product, seed)
    for clip in clips:
        sprites = [sprite, *(product_sprite(other, seed) for other in clip.products[1:])]
        write_clip(root / "video/images" / _place(clip.item, "mp4"), clip_frames(sprites, generator(seed, "clip", product.number, clip.number)))
        _write_lines(root / "video/frameid" / _place(clip.item, "txt"), [_place(clip.item, "mp4")])
        _write_lines(root / "video/text" / _place(clip.item, "txt"), clip_lines(product, clip.number, seed))


def _write_training_files(root: Path, goods: Sequence[Product], training: Sequence[Clip], seed: int) -> None:
    """train.txt and cluster.txt: each query with the goods and the clips that it finds, and its clusters."""
    clips_of: dict[int, list[int]] = {}
    for clip in training:
        for product in clip.products:
            clips_of.setdefault(product.number, []).append(clip.item)
    found_goods: dict[str, set[int]] = {}
    found_clips: dict[str, set[int]] = {}
    clusters: dict[str, Cluster] = {}
    for product in goods:
        if product.new:
            continue
        for words, cluster in (*product_queries(product), *shared_queries(product)):
            clusters[words] = cluster
            found_goods.setdefault(words, set()).add(FIRST_GOOD + product.number)
            found_clips.setdefault(words, set()).update(clips_of[product.number])
    for product in goods:
        rng = generator(seed, "one side", product.number)
        if not product.new and rng.random() < ONE_SIDED_SHARE:
            *_, (third, _) = product_queries(product)
            (found_goods if rng.random() < 0.5 else found_clips)[third] = set()
    pages, rows = [], []
    numbers: list[dict[str, int]] = [{}, {}, {}]
    for words in sorted(clusters):
        rng = generator(seed, "page", words)
        pages.append("\t".join((words, _page(found_goods[words], MOST_GOODS, rng), _page(found_clips[words], MOST_CLIPS, rng))))
        levels = (str(known.setdefault(name, len(known))) for known, name in zip(numbers, clusters[words]))
        rows.append("\t".join((words, *levels)))
    _write_lines(root / "train_file/train.txt", pages)
    _write_lines(root / "train_file/cluster.txt", rows)


def _page(found: set[int], most: int, rng: np.random.Generator) -> str:
    """One side of a training line: at most `most` of the ids found, `None` where there is none."""
    kept = sorted(rng.choice(sorted(found), most, replace=False).tolist()) if len(found) > most else sorted(found)
    return ",".join(map(str, kept)) or "None"


def _write_test_files(root: Path, goods: Sequence[Product], testing: Sequence[Clip]) -> None:
    """The four lists, and the ground truth of both tasks in the released spelling. A clip's query is that of the first product it shows."""
    goods_rows = []
    for product in goods:
        item = FIRST_GOOD + product.number
        words, _ = next(product_queries(product))
        goods_rows.append(f"{item}\tgoods\t{words}\t{_place(item, 'jpg')}\t{_place(item, 'txt')}")
    clip_rows = []
    for clip in testing:
        words, _ = next(product_queries(clip.products[0]))
        clip_rows.append(f"{clip.item}\tphoto\t{words}\t{_place(clip.item, 'mp4')}\t{_place(clip.item, 'txt')}")
    for name, rows in (("all_goods", goods_rows), ("goods_query", goods_rows), ("all_videos", clip_rows), ("photo_query", clip_rows)):
        _write_lines(root / f"test_file/{name}.txt", rows)
    clips_of: dict[int, list[int]] = {}
    video2goods = []
    for clip in testing:
        relevant = [FIRST_GOOD + product.number for product in clip.products]
        video2goods.append(f"{clip.item}_0\t" + ",".join(f"{good}.jpg" for good in relevant))
        for good in relevant:
            clips_of.setdefault(good, []).append(clip.item)
    goods2video = [f"{good}\t" + ",".join(f"{clip}.jpg" for clip in clips) for good, clips in sorted(clips_of.items())]
    _write_lines(root / "test_file/eval_gt_video2goods.txt", video2goods)
    _write_lines(root / "test_file/eval_gt_good2video.txt", goods2video)


def _write_popularity(root: Path, clips: Iterable[Clip], seed: int) -> None:
    """video/popularity.txt: each clip with the logarithm of its number of comments."""
    rows = []
    for clip in clips:
        lines = sum(line != "null" for line in clip_lines(clip.products[0], clip.number, seed))
        rows.append(f"{clip.item}\t{popularity(clip.products[0], clip.number, lines, seed):g}")
    _write_lines(root / "video/popularity.txt", rows)


def _place(item: int, suffix: str) -> str:
    """Where an item's file lies below its folder, e.g. "12/2000012.mp4"."""
    return f"{item % FOLDERS}/{item}.{suffix}"


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and write the corpus."""
    what = "Write a procedural corpus in the Real20M layout."
    parser = CommandParser("python -m pipeline.sources.sample", what)
    parser.add_argument("--out", required=True, metavar="CORPUS", help="folder to write; it appears when it is whole")
    parser.add_argument("--products", type=int, default=120, help="number of goods (default: %(default)s)")
    parser.add_argument("--clips_per_product", type=int, default=12, help="clips of a known product, a quarter to test with (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same bytes (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="processes that draw (default: %(default)s)")
    chosen = parser.parse_args(argv)
    write_sample(chosen.out, chosen.products, chosen.clips_per_product, chosen.seed, chosen.workers)


if __name__ == "__main__":
    run_command(main)
