"""The report on predictions as one HTML page, every picture inside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evaluate.pages.cards import Cards
from evaluate.pages.drawing import inside_page
from evaluate.pages.prediction_plots import scatter_svg, tenths_svg
from evaluate.pages.template import page_template
from evaluate.predictions import Predicted

ITEM = "item"
"""The domain under which cards.json has the items of this page."""
METRICS = {"nmse": "nMSE", "mae": "MAE", "spearman": "Spearman"}
NEIGHBOURS_SHOWN = 10


@dataclass(frozen=True)
class Neighbour:
    """A neighbour of a shown item: its id, its true value, its similarity."""

    id: str
    label: float
    similarity: float


@dataclass(frozen=True)
class Shown:
    """An item that the page shows, best neighbour first."""

    id: str
    true: float
    predicted: float
    neighbours: tuple[Neighbour, ...]

    @property
    def error(self) -> float:
        """Prediction minus true value."""
        return self.predicted - self.true

    @property
    def mean_label(self) -> float | None:
        """Mean true value of the neighbours, None without any."""
        return sum(one.label for one in self.neighbours) / len(self.neighbours) if self.neighbours else None


def render(predicted: Predicted, metrics: Mapping[str, Any], places: Sequence[int], cards: Cards, seed: int) -> str:
    """The page's HTML. All text is escaped; nothing in it is fetched from anywhere.

    Args:
        metrics: what metrics.json holds.
        places: of the items to show.
        cards: how items look.
        seed: which seed drew `places`.
    """
    known = predicted.known
    scatter = scatter_svg(predicted.predicted[known], predicted.true[known])
    said = f"{metrics['items_evaluated']} items, predicted against true {metrics['task']}"
    return page_template("predictions.html.j2").render(
        metrics=metrics,
        names=METRICS,
        rows={"the model": metrics, **metrics["baselines"]},
        number=lambda value: "–" if value is None else f"{value:.4f}",
        scatter=inside_page(scatter, "scatter", said),
        tenths=inside_page(tenths_svg(metrics["by_tenth"]), "tenths", f"{metrics['task']} and its error by tenth"),
        shown=[_shown(predicted, place) for place in places],
        card=lambda item: cards.of(ITEM, item),
        seed=seed,
    )


def _shown(predicted: Predicted, place: int) -> Shown:
    near = predicted.neighbours
    neighbours: tuple[Neighbour, ...] = ()
    if near is not None:
        listed = zip(near.ids[place], near.labels[place].tolist(), near.similarities[place].tolist())
        neighbours = tuple(Neighbour(id, label, similarity) for id, label, similarity in listed if id)[:NEIGHBOURS_SHOWN]
    return Shown(predicted.ids[place], float(predicted.true[place]), float(predicted.predicted[place]), neighbours)
