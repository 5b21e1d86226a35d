"""The tiled contrast beside two calls of InfoNCE: the same numbers from less memory."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from losses.contrastive import InfoNCE
from losses.tiled_contrast import TiledContrast
from tests.losses.tiled_contrast_on_ranks import ROWS, TEMPERATURE, batch, tiled_share

ROOT = Path(__file__).parents[2]
TILES = (1, 3, 11, 50)  # of 11 candidates


@pytest.fixture
def infonce_in_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    """InfoNCE makes everything float32; here it makes everything float64, so that the two are compared to the last digits."""
    monkeypatch.setattr(Tensor, "float", Tensor.double)


def leaves(dtype: torch.dtype = torch.float64, queries: int = 6, candidates: int = 11, dim: int = 5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    query, others = (torch.randn(rows, dim, dtype=torch.float64, generator=generator) for rows in (queries, candidates))
    return query.to(dtype).requires_grad_(), others.to(dtype).requires_grad_()


def own_and_masked() -> tuple[Tensor, Tensor]:
    """Own candidates of 6 queries among 11, the other five nobody's; and a mask that holds own pairs, too."""
    masked = torch.rand(6, 11, generator=torch.Generator().manual_seed(5)) < 0.4
    return torch.tensor([9, 0, 4, 10, 2, 3]), masked


def with_gradients(loss: Tensor, *inputs: Tensor) -> list[Tensor]:
    return [loss.detach(), *torch.autograd.grad(loss, inputs)]


@pytest.mark.parametrize("tile", TILES)
@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_value_and_gradients_are_those_of_two_calls_of_infonce(request, tile: int, normalise: bool, dtype: torch.dtype) -> None:
    if dtype == torch.float64:
        request.getfixturevalue("infonce_in_float64")
    query, candidates = leaves(dtype)
    own, masked = own_and_masked()
    weight, back = torch.tensor([0.5, 0.25, 0.0, 1.5, 0.25, 0.5]), torch.tensor([0.25, 0.5, 0.75, 0.0, 1.0, 0.5])
    tiled, plain = TiledContrast(0.5, normalise=normalise, tile=tile), InfoNCE(0.5, normalise=normalise)

    found = tiled(
        query,
        candidates,
        own,
        excluded=lambda columns: masked[:, columns],
        weight=weight,
        candidate_weight=torch.zeros(11).index_copy(0, own, back),
    )

    forth = plain(query, candidates, own, excluded=masked, weight=weight)
    to_query = plain(candidates[own], query, torch.arange(6), excluded=masked[:, own].T, weight=back)
    # Tripled, so that what comes back to the loss counts as well.
    expected = with_gradients(1.5 * (forth + to_query), query, candidates)
    tolerance = {torch.float64: 1e-12, torch.float32: 1e-5}[dtype]
    torch.testing.assert_close(with_gradients(3 * found, query, candidates), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("tile", TILES)
def test_left_out_weights_are_the_mean_and_queries_may_share_their_own(infonce_in_float64: None, tile: int) -> None:
    query, candidates = leaves()
    own = torch.tensor([9, 0, 9, 10, 0, 9])

    found = TiledContrast(0.5, tile=tile)(query, candidates, own)

    plain = InfoNCE(0.5)
    expected = (plain(query, candidates, own) + plain(candidates[own], query, torch.arange(6))) / 2
    torch.testing.assert_close(with_gradients(found, query, candidates), with_gradients(expected, query, candidates), rtol=1e-12, atol=1e-12)


def one_process_of_infonce() -> list[Tensor]:
    """Loss and gradients of the whole batch by two calls of InfoNCE: documents without words are no candidates, but their queries are."""
    whole = batch()
    query, document = whole.query.requires_grad_(), whole.document.requires_grad_()
    own, plain = torch.arange(ROWS), InfoNCE(TEMPERATURE)
    candidates = torch.cat([document, whole.further])
    shared = (whole.query_ids[:, None, None] == whole.found_by).any(dim=-1)
    of_documents = torch.cat([shared | ~whole.present, torch.zeros(ROWS, len(whole.further), dtype=torch.bool)], dim=1)
    weight = whole.present / whole.present.sum()
    forth = plain(query, candidates, own, excluded=of_documents, weight=weight)
    back = plain(document, query, own, excluded=shared.T, weight=weight)
    return with_gradients((forth + back) / 2, query, document)


@pytest.mark.parametrize("tile", [1, 5, 16, 100])
def test_documents_that_lack_words_and_shared_queries_are_masked_as_by_infonce(infonce_in_float64: None, tile: int) -> None:
    found = tiled_share(batch(), slice(0, ROWS), tile)

    torch.testing.assert_close([found["loss"], found["query"], found["document"]], one_process_of_infonce(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks_together_have_loss_and_gradients_of_one_process(infonce_in_float64: None, tmp_path: Path, ranks: int) -> None:
    out = tmp_path / "ranks.pt"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(ranks)]
    command = [*torchrun, "-m", "tests.losses.tiled_contrast_on_ranks", str(out)]

    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=120)

    assert done.returncode == 0, done.stderr[-3000:]
    found = torch.load(out, weights_only=True)
    torch.testing.assert_close([found["loss"], found["query"], found["document"]], one_process_of_infonce(), rtol=1e-12, atol=1e-12)
    of_all = math.log(sum(range(1, ranks + 1)))
    torch.testing.assert_close(found["merged"], torch.tensor([-math.inf, 3.0, of_all]))


def test_the_gradient_is_the_slope_of_the_loss() -> None:
    query, candidates = leaves(queries=4, candidates=7, dim=3)
    masked = torch.rand(4, 7, generator=torch.Generator().manual_seed(1)) < 0.3
    tiled, own = TiledContrast(0.5, tile=3), torch.tensor([6, 1, 0, 3])

    def loss(query: Tensor, candidates: Tensor) -> Tensor:
        return tiled(query, candidates, own, excluded=lambda columns: masked[:, columns], weight=torch.tensor([0.1, 0.4, 0.3, 0.2]))

    assert torch.autograd.gradcheck(loss, (query, candidates))
    assert torch.autograd.gradcheck(lambda query: loss(query, candidates.detach()), (query,))
    assert torch.autograd.gradcheck(lambda candidates: loss(query.detach(), candidates), (candidates,))


@pytest.mark.parametrize("tile", [1, 2, 3, 50])
def test_the_own_pair_stays_in_where_everything_is_excluded(tile: int) -> None:
    query, candidates = leaves()
    own, _ = own_and_masked()

    def everything(columns: slice) -> Tensor:
        return torch.ones(6, columns.stop - columns.start, dtype=torch.bool)

    loss, *gradients = with_gradients(TiledContrast(tile=tile)(query, candidates, own, excluded=everything), query, candidates)

    assert loss == 0
    assert all(gradient.abs().max() == 0 for gradient in gradients)


def test_a_tile_that_is_excluded_whole_is_as_if_it_were_not_there() -> None:
    query, candidates = leaves()
    own, tiled = torch.tensor([3, 0, 4, 5, 2, 10]), TiledContrast(tile=3)
    masked = torch.zeros(6, 11, dtype=torch.bool)
    masked[:, 6:9] = True

    loss, of_query, of_candidates = with_gradients(tiled(query, candidates, own, excluded=lambda columns: masked[:, columns]), query, candidates)

    kept = torch.cat([candidates[:6], candidates[9:]])
    expected = with_gradients(tiled(query, kept, torch.tensor([3, 0, 4, 5, 2, 7])), query, candidates)
    torch.testing.assert_close([loss, of_query, of_candidates], expected, rtol=1e-12, atol=1e-12)
    assert of_candidates[6:9].abs().max() == 0


def test_the_mask_is_asked_for_tile_by_tile_and_left_as_it_is() -> None:
    query, candidates = leaves()
    own, masked = own_and_masked()
    before, asked = masked.clone(), []

    def excluded(columns: slice) -> Tensor:
        asked.append((columns.start, columns.stop))
        return masked[:, columns]

    TiledContrast(tile=4)(query, candidates, own, excluded=excluded).backward()

    assert asked == [(0, 4), (4, 8), (8, 11)] * 2
    assert torch.equal(masked, before)


def test_logits_hundreds_apart_lose_nothing() -> None:
    query, candidates = leaves(torch.float32)
    own, plain = torch.tensor([9, 0, 4, 10, 2, 3]), InfoNCE(0.005, normalise=False)

    found = with_gradients(TiledContrast(0.005, normalise=False, tile=3)(query, candidates, own), query, candidates)

    expected = (plain(query, candidates, own) + plain(candidates[own], query, torch.arange(6))) / 2
    assert (query @ candidates.T / 0.005).std() > 200
    torch.testing.assert_close(found, with_gradients(expected, query, candidates), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_arithmetic_is_float32_under_autocast_and_in_half_precision_on_both_ways(dtype: torch.dtype) -> None:
    query, candidates = (leaf.detach().to(dtype).requires_grad_() for leaf in leaves())
    own, tiled = torch.tensor([9, 0, 4, 10, 2, 3]), TiledContrast(0.01, normalise=False, tile=4)
    in_float32 = query.detach().float().requires_grad_(), candidates.detach().float().requires_grad_()
    loss, *gradients = with_gradients(tiled(*in_float32, own), *in_float32)

    with torch.autocast("cpu", dtype=dtype):
        found = with_gradients(tiled(query, candidates, own), query, candidates)

    assert found[0].dtype == torch.float32
    torch.testing.assert_close(found, [loss, *(gradient.to(dtype) for gradient in gradients)])


PEAK = """
import sys
from pathlib import Path
import torch
from losses.contrastive import InfoNCE
from losses.tiled_contrast import TiledContrast

def kib(name):
    return int(next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name)).split()[1])

def run(rows):
    query, candidates = torch.randn(2, rows, 64).unbind()
    query.requires_grad_(), candidates.requires_grad_()
    own, plain = torch.arange(rows), InfoNCE()
    if sys.argv[1] == "tiled":
        loss = TiledContrast(tile=256)(query, candidates, own, excluded=lambda columns: own[:, None] == own[columns] + 1)
    else:
        loss = (plain(query, candidates, own) + plain(candidates, query, own)) / 2
    loss.backward()

run(64)
before = kib("VmRSS")
run(8192)
print((kib("VmHWM") - before) / 1024)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc, which this system lacks")
def test_memory_is_a_few_tiles_where_infonce_holds_all_pairs() -> None:
    def peak_mib(way: str) -> float:
        # ru_maxrss would begin at this process's own peak, which a child inherits.
        done = subprocess.run([sys.executable, "-c", PEAK, way], cwd=ROOT, check=True, capture_output=True, text=True, timeout=300)
        return float(done.stdout)

    tiled, plain = peak_mib("tiled"), peak_mib("plain")

    all_pairs = 8192 * 8192 * 4 / 2**20  # 256
    assert tiled < all_pairs / 4, f"two tiles of 8 MiB, a mask of 2, embeddings, their gradients and parts of these of 2 each took {tiled:.0f} MiB"
    assert plain > all_pairs, f"{plain:.0f} MiB: all pairs must show, or this test measures nothing"


def test_a_temperature_or_tile_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="temperature 0"):
        TiledContrast(0)
    with pytest.raises(ValueError, match="tile 0: it counts the candidates"):
        TiledContrast(tile=0)
