"""The goods of the sample corpus: which products there are, and what tells them apart.

A product is a category (its silhouette) in one of two builds, with a pattern and an emblem on it. Within a category no two products share both
pattern and emblem before every pair is taken, so neither feature alone names a product. Colours come from a handful of palettes that are dealt out
without regard to the rest: they say next to nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from launch.seeds import generator


@dataclass(frozen=True)
class Term:
    """A word of the sample's world in both of its languages."""

    english: str
    chinese: str


@dataclass(frozen=True)
class Category:
    """A kind of product: the upper two levels of its category path, its name, and the names of its two builds."""

    department: Term
    shelf: Term
    name: Term
    builds: tuple[Term, Term]

    @property
    def path(self) -> str:
        """The three levels as a goods text has them, e.g. "Kitchen/Cups/Mug"."""
        return "/".join((self.department.english, self.shelf.english, self.name.english.capitalize()))


KITCHEN, HOME, CLOTHING, TRAVEL = Term("Kitchen", "厨房"), Term("Home", "家居"), Term("Clothing", "服饰"), Term("Travel", "出行")

CATEGORIES: tuple[Category, ...] = (
    Category(KITCHEN, Term("Cups", "杯具"), Term("mug", "马克杯"), (Term("one-handled", "单耳"), Term("two-handled", "双耳"))),
    Category(KITCHEN, Term("Bottles", "水具"), Term("water bottle", "水瓶"), (Term("screw-cap", "旋盖"), Term("straw", "吸管"))),
    Category(KITCHEN, Term("Pots", "壶具"), Term("teapot", "茶壶"), (Term("round", "圆形"), Term("tall", "高款"))),
    Category(HOME, Term("Vases", "花器"), Term("vase", "花瓶"), (Term("long-necked", "长颈"), Term("flared", "敞口"))),
    Category(HOME, Term("Lighting", "灯具"), Term("table lamp", "台灯"), (Term("cone", "锥形"), Term("dome", "圆顶"))),
    Category(HOME, Term("Textiles", "布艺"), Term("cushion", "抱枕"), (Term("square", "方形"), Term("round", "圆形"))),
    Category(CLOTHING, Term("Tops", "上装"), Term("t-shirt", "T恤"), (Term("short-sleeved", "短袖"), Term("long-sleeved", "长袖"))),
    Category(CLOTHING, Term("Dresses", "裙装"), Term("dress", "连衣裙"), (Term("short", "短款"), Term("long", "长款"))),
    Category(CLOTHING, Term("Hats", "帽子"), Term("hat", "礼帽"), (Term("wide-brimmed", "宽檐"), Term("bobble", "毛球"))),
    Category(TRAVEL, Term("Handbags", "手提包"), Term("handbag", "手提包"), (Term("short-strap", "短带"), Term("long-strap", "长带"))),
    Category(TRAVEL, Term("Backpacks", "背包"), Term("backpack", "双肩包"), (Term("one-pocket", "单袋"), Term("two-pocket", "双袋"))),
    Category(TRAVEL, Term("Rain", "雨具"), Term("umbrella", "雨伞"), (Term("hooked", "弯柄"), Term("straight", "直柄"))),
)

PATTERNS: dict[str, Term] = {
    "stripes": Term("striped", "横条纹"),
    "pinstripes": Term("pinstripe", "竖条纹"),
    "diagonal": Term("diagonal", "斜纹"),
    "dots": Term("polka-dot", "波点"),
    "checks": Term("checked", "格子"),
    "zigzag": Term("zigzag", "锯齿"),
    "rings": Term("ringed", "圆环"),
    "blots": Term("camouflage", "迷彩"),
    "halves": Term("colour-block", "拼色"),
    "triangles": Term("triangle", "三角"),
}

EMBLEMS: dict[str, Term] = {
    "star": Term("star", "星星"),
    "heart": Term("heart", "爱心"),
    "moon": Term("moon", "月亮"),
    "cross": Term("cross", "十字"),
    "bolt": Term("bolt", "闪电"),
    "ring": Term("ring", "圆圈"),
}

BRANDS: tuple[Term, ...] = (
    Term("Lumio", "流明"),
    Term("Haven", "海湾"),
    Term("Oakley Row", "橡树里"),
    Term("Mori", "森里"),
    Term("Pinto", "品途"),
    Term("Sunday Co", "周日"),
    Term("Verda", "薇达"),
    Term("Kite & Key", "风筝屋"),
)

Colour = tuple[int, int, int]

PALETTES: tuple[tuple[Colour, Colour, Colour], ...] = (
    ((214, 66, 58), (246, 226, 196), (96, 40, 44)),
    ((52, 102, 178), (232, 238, 246), (34, 50, 92)),
    ((62, 142, 92), (244, 232, 150), (36, 74, 58)),
    ((236, 164, 58), (120, 66, 44), (92, 54, 36)),
    ((154, 92, 170), (246, 212, 222), (78, 46, 98)),
    ((76, 168, 176), (250, 244, 232), (44, 78, 92)),
)
"""Ground, figure and trim colour of a product; each palette serves every category and pattern."""


@dataclass(frozen=True)
class Product:
    """One product, by its number in the catalogue. `new` products have no clip and no good in the training files."""

    number: int
    category: Category
    build: int
    pattern: str
    emblem: str
    palette: int
    brand: Term
    new: bool

    @property
    def build_name(self) -> Term:
        """What its build is called."""
        return self.category.builds[self.build]


def most_products() -> int:
    """How many different products there can be."""
    return len(CATEGORIES) * 2 * len(PATTERNS) * len(EMBLEMS)


def catalogue(count: int, seed: int, share_new: float) -> list[Product]:
    """`count` different products, the categories in turn; about `share_new` of them (unitless, 0 to 1) are new.

    Raises ValueError where `count` is not from 1 to `most_products()`.
    """
    if not 1 <= count <= most_products():
        raise ValueError(f"--products {count}: there can be 1 to {most_products()} different products")
    looks = [_looks(seed, kind) for kind in range(len(CATEGORIES))]
    products = []
    for number in range(count):
        kind = number % len(CATEGORIES)
        build, pattern, emblem = looks[kind][number // len(CATEGORIES)]
        rng = generator(seed, "product", number)
        new = int((number + 1) * share_new) > int(number * share_new)
        palette = int(rng.integers(len(PALETTES)))
        products.append(Product(number, CATEGORIES[kind], build, pattern, emblem, palette, BRANDS[int(rng.integers(len(BRANDS)))], new))
    return products


def _looks(seed: int, kind: int) -> list[tuple[int, str, str]]:
    """Every (build, pattern, emblem) of a category: first each pair of pattern and emblem in one of the builds, then each in the other."""
    rng = generator(seed, "looks", kind)
    pairs = [(pattern, emblem) for pattern in PATTERNS for emblem in EMBLEMS]
    order = [pairs[i] for i in rng.permutation(len(pairs))]
    builds = [int(b) for b in rng.integers(2, size=len(pairs))]
    first = [(build, *pair) for build, pair in zip(builds, order)]
    return first + [(1 - build, pattern, emblem) for build, pattern, emblem in first]
