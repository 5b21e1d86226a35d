"""Balanced assignments and centroids that follow."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import normalize

from models.momentum.online_clusters import OnlineClusters, balanced_assignment


def test_a_greedy_cluster_has_to_share() -> None:
    scores = torch.tensor([[5.0, 4.0], [5.0, 1.0], [5.0, 0.0], [5.0, 3.0]])

    shares = balanced_assignment(scores, rounds=50)

    assert shares.sum(dim=1).tolist() == pytest.approx([1] * 4)
    assert shares.sum(dim=0).tolist() == pytest.approx([2, 2], abs=1e-3)
    assert shares.argmax(dim=1).tolist() == [1, 0, 0, 1]  # those that lose least by going to the second


def test_the_assignment_is_that_of_the_slow_way() -> None:
    scores = 3 * torch.randn(7, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    slow = scores.exp()
    for row in slow:
        row /= row.sum()
    for _ in range(3):
        for cluster in range(4):
            slow[:, cluster] /= slow[:, cluster].sum()
        for row in slow:
            row /= row.sum()

    torch.testing.assert_close(balanced_assignment(scores, 3).double(), slow, rtol=1e-5, atol=1e-7)


def test_groups_in_a_narrow_cone_become_clusters_of_their_own() -> None:
    torch.manual_seed(0)
    clusters = OnlineClusters(4, 16)
    centres = normalize(torch.randn(4, 16), dim=-1)
    cone = 5 * normalize(torch.randn(16), dim=-1)

    for step in range(60):
        group = torch.arange(32) % 4
        rows = normalize(cone + centres[group] + 0.02 * torch.randn(32, 16), dim=-1)
        shares = clusters(rows[:12], rows[12:])
        if step == 0:
            before = clusters.centroids.clone()
            assert torch.equal(before, clusters.centroids)  # they move when the step is done, not before
        clusters.follow()

    assert shares.shape == (12, 4) and shares.max(dim=1).values.min() > 0.95
    assert sorted(shares[:4].argmax(dim=1).tolist()) == [0, 1, 2, 3] and torch.equal(shares[:4].argmax(dim=1), shares[8:].argmax(dim=1))
    assert not torch.equal(before, clusters.centroids) and clusters.centroids.norm(dim=1).tolist() == pytest.approx([1] * 4)


def test_one_cluster_is_refused() -> None:
    with pytest.raises(ValueError, match=r"--system.clusters 1: at least 2"):
        OnlineClusters(1, 4)
