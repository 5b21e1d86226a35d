"""Queries and the documents drawn for them, over all ranks: whose row is whose, who is no negative of whom, and contrasts between the two.

Legend: B pairs of this rank, N of all ranks, K queries that a document carries, M rows of a memory, D dimensions.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from launch.distributed import gather_rows, logsumexp_over_ranks, rank, sum_over_ranks, world_size
from losses.contrastive import InfoNCE
from losses.margin_ranking import MarginRanking
from losses.tiled_contrast import TiledContrast
from models.momentum.feature_queue import share_an_id


class Remembered(NamedTuple):
    """Pairs of earlier batches as further candidates of both directions: vectors [M, D], and which of them may not be a negative of whom.

    `not_documents` [B, M]: rows of `documents` that answer one of this rank's queries, or are empty. `not_queries` [B, M]: rows of `queries`
    that one of this rank's documents answers, or are empty.
    """

    queries: Tensor
    documents: Tensor
    not_documents: Tensor
    not_queries: Tensor


class Pairs:
    """Row i of every rank: a query and a document that was found by it.

    Args:
        query: [B] number of each query.
        document_queries: [B, K] the numbers of all queries that each document was found by, padded with -1.
        mask_shared: a document that was also found by another query of the batch is not its negative; False: it is, as QCD was released.
        read: [B] bool, pairs that could be read; the query of any other is nobody's negative (its document is none either where a contrast is
            told that it is not present). None: all.
    """

    def __init__(self, query: Tensor, document_queries: Tensor, mask_shared: bool = True, read: Tensor | None = None) -> None:
        self.size = len(query)
        self.own = torch.arange(self.size, device=query.device) + self.size * rank()
        self._read = read
        self._all_read = None if read is None else gather_rows(read)
        self._all = None
        if mask_shared:
            queries, documents = gather_rows(query), gather_rows(document_queries)
            longest = int((documents >= 0).any(dim=0).sum())  # most lists are short: comparisons are as many as columns
            self._query, self._document_queries = query, document_queries[:, :longest]
            self._all = queries, documents[:, :longest]

    def documents_of_queries(self, columns: slice = slice(None)) -> Tensor | None:
        """bool [B, n]: which of all documents (or of `columns` of them) were found by this rank's queries; None where nothing is masked."""
        return None if self._all is None else share_an_id(self._query, self._all[1][columns])

    def queries_of_documents(self) -> Tensor | None:
        """bool [B, N]: by which of all queries this rank's documents were found, and which were not read; None where nothing is masked."""
        shared = None if self._all is None else share_an_id(self._document_queries, self._all[0][:, None])
        if self._all_read is None:
            return shared
        unread = ~self._all_read[None].expand(self.size, -1)
        return unread if shared is None else shared | unread

    def unread_queries(self) -> Tensor | None:
        """bool [B, 1]: this rank's queries that were not read; None where all were."""
        return None if self._read is None else ~self._read[:, None]


class PairContrast(nn.Module):
    """A contrast of queries and documents in both directions, the mean of the two, over the pairs of all ranks.

    Each rank returns its own pairs' share, scaled so that the mean over ranks is the mean over all pairs that have the modality. A document
    that lacks it is nobody's negative.

    Args:
        loss: of one direction.
        tile: 0: `loss` on whole matrices [B, N]. Above 0 (InfoNCE only): `TiledContrast`, the same number from as many candidates at a time.

    Raises:
        ValueError: tiles of a loss that has none.
    """

    def __init__(self, loss: InfoNCE | MarginRanking, tile: int = 0) -> None:
        super().__init__()
        self.loss = loss
        self.tiled = None
        if tile:
            if not isinstance(loss, InfoNCE):
                raise ValueError(f"--system.contrast_tile {tile}: {type(loss).__name__} is not computed in tiles; give 0")
            self.tiled = TiledContrast(loss.temperature, normalise=loss.normalise, tile=tile)

    def forward(self, query: Tensor, document: Tensor, pairs: Pairs, present: Tensor, memory: Remembered | None = None) -> Tensor:
        """The loss, a float32 scalar.

        Args:
            query, document: [B, D].
            present: [B] bool, documents that have the modality; rows of others are not looked at.
            memory: further candidates; not with tiles.
        """
        weight = row_weights(present)
        everyone, documents = gather_rows(present), gather_rows(document)
        if self.tiled is not None:
            assert memory is None, "tiles take no memory"

            def excluded(columns: slice) -> Tensor:
                absent = ~everyone[None, columns].expand(pairs.size, -1)
                if (unread := pairs.unread_queries()) is not None:
                    absent = absent | unread
                shared = pairs.documents_of_queries(columns)
                return absent if shared is None else absent | shared

            return self.tiled(
                query,
                documents,
                pairs.own,
                excluded=excluded,
                weight=weight,
                candidate_weight=gather_rows(weight),
                merge=logsumexp_over_ranks,
            )
        absent = ~everyone[None].expand(pairs.size, -1)
        shared = pairs.documents_of_queries()
        not_documents = absent if shared is None else absent | shared
        queries, not_queries = gather_rows(query), pairs.queries_of_documents()
        if memory is not None:
            documents, not_documents = torch.cat([documents, memory.documents]), torch.cat([not_documents, memory.not_documents], dim=1)
            unmasked = torch.zeros_like(absent) if not_queries is None else not_queries
            queries, not_queries = torch.cat([queries, memory.queries]), torch.cat([unmasked, memory.not_queries], dim=1)
        to_document = self.loss(query, documents, pairs.own, excluded=not_documents, weight=weight)
        to_query = self.loss(document, queries, pairs.own, excluded=not_queries, weight=weight)
        return (to_document + to_query) / 2


def row_weights(present: Tensor) -> Tensor:
    """[B] weights of rows, so that the mean over ranks of the weighted sums is the mean over all present rows of all ranks."""
    count = sum_over_ranks(present.sum())
    return present.float() * world_size() / count.clamp(min=1)
