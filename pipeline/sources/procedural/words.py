"""Words of the sample corpus in Chinese and English: titles and descriptions of goods, search queries, and the chatter that goes with clips.

Titles and queries are made of the same terms, so that what is learnt of "striped" or "星星" on one product serves the others. The words of clips are
chatter: some name the kind of thing, hardly any the product.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import numpy as np

from launch.seeds import generator
from pipeline.sources.procedural.goods import EMBLEMS, PATTERNS, Product, Term

Choice = TypeVar("Choice")

Cluster = tuple[str, str, str]
"""The names of a query's clusters from coarse to fine."""

CHATTER = (
    "look what I found today",
    "unboxing time",
    "link below, do not miss it",
    "my favourite find this week",
    "a little present for myself",
    "would you buy this?",
    "今天的好物分享",
    "开箱啦 大家看看",
    "点击下方链接",
    "本周最爱 没有之一",
    "送给自己的小礼物",
    "你们喜欢吗",
)
CHATTER_ON_A_KIND = ("my new {english} is here", "which {english} would you take?", "新入手的{chinese}", "{chinese}怎么选", "{chinese} haul")
ON_SCREEN = ("NEW", "sale -30%", "only 9.90", "free shipping", "限时优惠", "全场包邮", "买一送一", "上新", "day 12", "第3期")

PRAISE = (
    "A {name} for every day, {pattern}, with a {emblem} on the front.",
    "Designed for daily use. The {emblem} sign makes this {name} easy to tell from the rest.",
)
PRAISE_IN_CHINESE = ("{pattern}图案，正面有{emblem}标志，日常使用的{name}。", "适合送礼的{name}，{emblem}设计，耐用好看。")


def goods_lines(product: Product, item: str, seed: int) -> list[str]:
    """The six lines of a goods text: id, category path, brand, entity, title, description; `null` where there is none."""
    rng = generator(seed, "goods words", product.number)
    language = _pick(rng, ("english", "chinese", "mixed"), (0.4, 0.4, 0.2))
    brand = getattr(product.brand, "chinese" if language == "chinese" else "english")
    entity = getattr(product.category.name, "english" if language == "english" else "chinese")
    pattern, emblem = PATTERNS[product.pattern], EMBLEMS[product.emblem]
    if language == "english":
        description = _pick(rng, PRAISE).format(name=entity, pattern=pattern.english, emblem=emblem.english)
    else:
        description = _pick(rng, PRAISE_IN_CHINESE).format(name=entity, pattern=pattern.chinese, emblem=emblem.chinese)
    branded, described = rng.random() < 0.7, rng.random() < 0.6
    title = _title(product, language, rng)
    return [item, product.category.path, brand if branded else "null", entity, title, description if described else "null"]


def _title(product: Product, language: str, rng: np.random.Generator) -> str:
    """A shop's title. Each of build, pattern and emblem is left out now and then, as shops do."""
    build, pattern, emblem = (rng.random() < share for share in (0.7, 0.85, 0.85))
    terms: list[Term] = [product.build_name] * build + [PATTERNS[product.pattern]] * pattern
    sign, name = EMBLEMS[product.emblem], product.category.name
    if language == "english":
        words = [product.brand.english, *(term.english for term in terms), name.english]
        return " ".join(words) + (f" with {sign.english}" if emblem else "")
    chinese = "".join(term.chinese for term in (*terms, *([sign] if emblem else []), name))
    if language == "chinese":
        return f"{product.brand.chinese} {chinese} {_pick(rng, ('新款', '包邮', '正品', '礼物'))}"
    return f"{product.brand.english} {chinese} {name.english}"


def product_queries(product: Product) -> Iterator[tuple[str, Cluster]]:
    """The queries that look for this very product, each with its cluster."""
    name, build, pattern, emblem = product.category.name, product.build_name, PATTERNS[product.pattern], EMBLEMS[product.emblem]
    cluster = _cluster(product, pattern.english)
    yield f"{build.english} {pattern.english} {name.english} with {emblem.english}", cluster
    yield f"{build.chinese}{pattern.chinese}{emblem.chinese}{name.chinese}", cluster
    yield f"{name.chinese} {emblem.chinese} {pattern.english} {build.english}", cluster


def shared_queries(product: Product) -> Iterator[tuple[str, Cluster]]:
    """The queries that find this product among others: by its kind, by one attribute of it, by both."""
    category = product.category
    name, build, pattern, emblem = category.name, product.build_name, PATTERNS[product.pattern], EMBLEMS[product.emblem]
    any_kind = _cluster(product, "any")
    yield name.english, any_kind
    yield name.chinese, any_kind
    yield f"{category.department.english.lower()} {category.shelf.english.lower()}", any_kind
    yield f"{build.english} {name.english}", any_kind
    yield f"{build.chinese}{name.chinese}", any_kind
    yield f"{pattern.english} {name.english}", _cluster(product, pattern.english)
    yield f"{pattern.chinese}{name.chinese}", _cluster(product, pattern.english)
    yield f"{name.english} with {emblem.english}", any_kind
    yield f"{emblem.chinese}{name.chinese}", any_kind
    yield f"{pattern.chinese}好物", ("Gifts", "Pattern", pattern.english)
    yield f"{emblem.english} gifts", ("Gifts", "Emblem", emblem.english)


def _cluster(product: Product, finest: str) -> Cluster:
    return product.category.department.english, product.category.name.english, f"{product.category.name.english} {finest}"


def clip_lines(product: Product, clip: int, seed: int) -> list[str]:
    """The three lines of a clip's text: caption, title, recognised text. Four in ten lines are `null`."""
    rng = generator(seed, "clip words", product.number, clip)
    caption, title = (_chatter(product, rng) for _ in range(2))
    on_screen = _pick(rng, ON_SCREEN)
    if rng.random() < 0.15:
        on_screen = f"{on_screen} {_pick(rng, (product.brand.english, product.brand.chinese, PATTERNS[product.pattern].english))}"
    return [line if rng.random() < 0.6 else "null" for line in (caption, title, on_screen)]


def _chatter(product: Product, rng: np.random.Generator) -> str:
    if rng.random() < 0.25:
        term = _pick(rng, (product.category.name, product.category.shelf))
        return _pick(rng, CHATTER_ON_A_KIND).format(english=term.english.lower(), chinese=term.chinese)
    return _pick(rng, CHATTER)


def _pick(rng: np.random.Generator, choices: tuple[Choice, ...], shares: tuple[float, ...] | None = None) -> Choice:
    return choices[int(rng.choice(len(choices), p=shares))]
