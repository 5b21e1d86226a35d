"""What a popularity model has to beat: the mean, the mean of its neighbours' labels, ridge regression and a support vector machine on its features.

Legend: N training clips, M clips to predict, k neighbours, F features.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from evaluate.predictions import NeighbourTable
from launch.logs import say
from launch.seeds import generator
from pipeline.feature_member import read_feature
from pipeline.popularity import popularity_of
from pipeline.shards import Sample, ShardSet

REGRESSORS = ("mean", "neighbours", "ridge", "svr")
MOST_SVR = 20_000
"""Training clips of the support vector machine at most, drawn at random of more: its time grows with their square."""


class ClipFeatures:
    """The features of a split's clips as rows: frames averaged, words behind them, zeros for what a clip lacks.

    Args:
        widths: of each feature ("vision", "words"); one of width 0 is left out.
    """

    def __init__(self, shards: ShardSet, domain: str, widths: dict[str, int]) -> None:
        self.ids: list[str] = []
        rows, labels = [], []
        for number in shards.of_domain(domain):
            shard = shards.shard(number)
            for place in range(len(shard)):
                sample = shard.sample(place)
                rows.append(np.concatenate([_mean(sample, name, width) for name, width in widths.items() if width]))
                known = popularity_of(sample.record["labels"], sample.name)
                labels.append(np.nan if known is None else known)
                self.ids.append(sample.id)
        self.rows, self.labels = np.stack(rows), np.array(labels)

    def of(self, ids: list[str]) -> np.ndarray:
        """[M, F] of the clips `ids`, in their order."""
        places = {id: place for place, id in enumerate(self.ids)}
        return self.rows[[places[id] for id in ids]]


def _mean(sample: Sample, name: str, width: int) -> np.ndarray:
    found = read_feature(sample, name)
    return np.zeros(width, np.float32) if found is None else np.atleast_2d(found).mean(axis=0)


def neighbour_means(neighbours: NeighbourTable, otherwise: float) -> np.ndarray:
    """float64 [M]: the plain mean of each clip's k neighbours' labels; `otherwise` where it has none."""
    labels = neighbours.labels.astype(np.float64)
    there = np.isfinite(labels)
    return np.where(there.any(axis=1), np.where(there, labels, 0).sum(axis=1) / np.maximum(there.sum(axis=1), 1), otherwise)


def regress(names: tuple[str, ...], train: ClipFeatures, wanted: np.ndarray, neighbours: NeighbourTable | None, seed: int) -> dict[str, np.ndarray]:
    """Name of each method of `names` -> what it predicts, float64 [M].

    mean: of the train split. neighbours: plain mean of the neighbours' labels. ridge: linear, standardised features, the penalty chosen among seven
    by leaving one out. svr: epsilon 0.1, C 1, Gaussian kernel, standardised features (scikit-learn's defaults).

    Args:
        wanted: [M, F].
        neighbours: those of the M clips; None: that method is left out.
        seed: draws the support vector machine's clips where there are more than MOST_SVR.

    Raises:
        ValueError: a method that is not known, or scikit-learn is not installed.
    """
    if unknown := [name for name in names if name not in REGRESSORS]:
        raise ValueError(f"--baselines {' '.join(unknown)}: there is no such method; choose of {', '.join(REGRESSORS)}, or none")
    mean = float(train.labels.mean())
    found: dict[str, np.ndarray] = {}
    for name in names:
        if name == "mean":
            found[name] = np.full(len(wanted), mean)
        elif name == "neighbours" and neighbours is not None:
            found["mean of neighbours"] = neighbour_means(neighbours, mean)
        elif name in ("ridge", "svr"):
            found[name] = _fitted(name, train, seed).predict(wanted).astype(np.float64)
    return found


def _fitted(name: str, train: ClipFeatures, seed: int) -> Any:
    try:
        from sklearn.linear_model import RidgeCV
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
        from sklearn.svm import SVR
    except ImportError as error:
        raise ValueError(f"--baselines {name} needs scikit-learn, which is not installed: pip install scikit-learn, or leave it out") from error
    rows, labels = train.rows, train.labels
    if name == "ridge":
        return make_pipeline(StandardScaler(), RidgeCV(np.logspace(-1, 5, 7))).fit(rows, labels)
    if len(rows) > MOST_SVR:
        say(f"svr: {MOST_SVR:,} of {len(rows):,} training clips, drawn at random")
        chosen = np.sort(generator(seed, "svr").permutation(len(rows))[:MOST_SVR])
        rows, labels = rows[chosen], labels[chosen]
    return make_pipeline(StandardScaler(), SVR()).fit(rows, labels)
