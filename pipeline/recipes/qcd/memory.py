"""Cross-batch memory: the queries and fused documents of the last batches stay candidates of the contrast.

Legend: B pairs of this rank, M rows, D dimensions.
"""

from __future__ import annotations

from torch import Tensor, nn

from launch.distributed import gather_rows
from models.momentum.feature_queue import FeatureQueue
from pipeline.documents import MOST_QUERIES
from pipeline.pairs import Remembered
from pipeline.system import Batch


class PairMemory(nn.Module):
    """The last M pairs of all ranks, the same on every rank, in buffers.

    True positives are kept: a remembered document that one of the batch's queries found is not its negative, and a remembered query that
    found one of the batch's documents is not that document's. As released, targets are right only because the newest batch comes first.

    Source: Wang et al. 2020 (cross-batch memory); QCD's release has it as an option, with 10 batches.

    Args:
        rows: M.
        dim: D.
    """

    def __init__(self, rows: int, dim: int) -> None:
        super().__init__()
        self.documents = FeatureQueue(rows, dim, MOST_QUERIES)
        self.queries = FeatureQueue(rows, dim, 1)
        self._fresh: list[tuple[Tensor, ...]] = []

    def remembered(self, batch: Batch) -> Remembered:
        """The memory as further candidates of this batch."""
        return Remembered(
            self.queries.features,
            self.documents.features,
            self.documents.shared(batch["query"]) | ~self.documents.valid,
            self.queries.shared(batch["document_queries"]) | ~self.queries.valid,
        )

    def keep(self, query: Tensor, fusion: Tensor, batch: Batch, read: Tensor) -> None:
        """Hold this batch's pairs back until `after_step`; query, fusion [B, D], read [B] bool: pairs that could be read, the others are not kept."""
        everyone = gather_rows(read)
        rows = (query.detach(), batch["query"][:, None], fusion.detach(), batch["document_queries"])
        self._fresh.append(tuple(gather_rows(one)[everyone] for one in rows))

    def after_step(self) -> None:
        """Put what was held back into the memory; the oldest rows go."""
        for query, number, fusion, found_by in self._fresh:
            self.queries.enqueue(query, number)
            self.documents.enqueue(fusion, found_by)
        self._fresh = []
