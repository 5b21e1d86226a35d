"""Metrics and settings in the words of a page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

METRIC_LABELS = {"mrr": "MRR", "map": "mAP", "ndcg@5": "nDCG@5", "ndcg@10": "nDCG@10", "median_rank": "median rank"}


def metric_labels(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(name in metrics.json, what a person calls it) of every metric there, the median rank last."""
    names = [name for name in metrics if name.startswith(("recall@", "hit@")) or name in METRIC_LABELS]
    return [(name, METRIC_LABELS.get(name, name)) for name in sorted(names, key=lambda name: name == "median_rank")]


def rank_text(value: float, signed: bool = False) -> str:
    """A median rank, an end of its interval or a difference of two: one digit after the point at most."""
    rounded = round(value, 1) + 0.0  # which makes 0 of -0
    return f"{rounded:{'+' if signed else ''},.1f}".removesuffix(".0")


def number_text(metrics: Mapping[str, Any], name: str) -> str:
    """The metric `name` as a page shows it."""
    if name == "median_rank":
        return f"{'≥ ' if metrics['median_rank_is_lower_bound'] else ''}{rank_text(metrics[name])}"
    return f"{metrics[name]:.4f}"


def interval_text(metrics: Mapping[str, Any], name: str) -> str:
    """Its interval: two ends with as many digits as a page shows."""
    low, high = metrics["intervals"][name]
    return f"{rank_text(low)} – {rank_text(high)}" if name == "median_rank" else f"{low:.3f} – {high:.3f}"


def left_out(metrics: Mapping[str, Any]) -> list[tuple[int, str]]:
    """(how many, of what) for everything that was left out or is missing, empty where nothing is."""
    pairs = "relevant pairs (query, document) point to documents that were not searched: "
    reasons = (
        ("queries_without_relevant", "queries without a relevant document: left out of every mean"),
        ("queries_not_searched", "queries of the ground truth that were not searched with: left out of every mean"),
        ("queries_failed", "queries that could not be embedded"),
        ("docs_failed", "documents that could not be embedded: no query can find them"),
        ("relevant_not_in_docs", pairs + ("left out" if metrics.get("searched_only") else "they count as not found")),
    )
    return [(metrics[name], reason) for name, reason in reasons if metrics[name]]


def how_searched(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(what, how) of the search, for a page's head: the engine; whatever else metrics.json has under a name that begins with `search_` (of an
    approximate search `search_recall@k`, the share of the exact best k that it was measured to find); depth, filters and folding, where
    there were any."""
    rows = [("Search", str(metrics["search"]))]
    for name, value in metrics.items():
        if not name.startswith("search_"):
            continue
        what, _, k = name.removeprefix("search_").partition("@")
        if what == "recall" and k:
            rows.append(("Against exact search", f"{value:.4f} of its best {k}"))
        else:
            rows.append((what.replace("_", " ").capitalize(), f"{value:.4g}" if isinstance(value, float) else str(value)))
    rows.append(("Kept", f"best {metrics['top_k']:,} of each query"))
    told = (("only", "Documents", "{} alone"), ("queries_only", "Queries", "{} alone"), ("dedup", "Near-identical", "as one above cosine {}"))
    return rows + [(what, text.format(metrics[name])) for name, what, text in told if metrics.get(name)]
