"""A batch that does not fit the memory -> parts that do."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor

from lbr_search.encoder.batching import TokenBatch
from lbr_search.train.batches import Stage1Batch, Stage2Batch


def split_stage1(batch: Stage1Batch, n: int) -> list[tuple[Stage1Batch, float]]:
    """Cut by rows into `n` parts, each with its share of the rows; fewer where rows run out.

    The mean over tokens becomes one over parts of the mean over their tokens.
    """
    n_rows = len(batch.text.input_ids)
    parts = []
    for rows in _slices(n_rows, n, least=1):
        part = replace(
            batch,
            text=_rows_of(batch.text, rows),
            target=_rows_of(batch.target, rows),
            taught=tuple(vectors[rows] for vectors in batch.taught),
            text_phrases=_cut(batch.text_phrases, rows),
            target_phrases=_cut(batch.target_phrases, rows),
        )
        parts.append((part, (rows.stop - rows.start) / n_rows))
    return parts


def split_stage2(batch: Stage2Batch, n: int) -> list[tuple[Stage2Batch, float]]:
    """The same by queries, at least two a part. Passages of other parts are no negatives then."""
    n_queries = len(batch.queries.input_ids)
    per_query = len(batch.passages.input_ids) // n_queries  # G
    parts = []
    for rows in _slices(n_queries, n, least=2):
        passages = slice(rows.start * per_query, rows.stop * per_query)
        behind = slice(n_queries + passages.start, n_queries + passages.stop)
        part = replace(
            batch,
            queries=_rows_of(batch.queries, rows),
            passages=_rows_of(batch.passages, passages),
            excluded=batch.excluded[rows, passages],
            target=_rows_of(batch.target, rows),
            taught=tuple(_both(vectors, rows, behind) for vectors in batch.taught),
            judged=tuple(scores[rows] for scores in batch.judged),
        )
        parts.append((part, (rows.stop - rows.start) / n_queries))
    return parts


def _slices(n_rows: int, n: int, *, least: int) -> list[slice]:
    """`n` runs of nearly equal length, or as many as have `least` rows.

    >>> _slices(7, 3, least=1)
    [slice(0, 2, None), slice(2, 4, None), slice(4, 7, None)]
    >>> _slices(5, 4, least=2)
    [slice(0, 2, None), slice(2, 5, None)]
    """
    n = max(1, min(n, n_rows // least))
    bounds = [n_rows * i // n for i in range(n + 1)]
    return [slice(start, stop) for start, stop in pairwise(bounds)]


def _rows_of(batch: TokenBatch, rows: slice) -> TokenBatch:
    return TokenBatch(
        batch.input_ids[rows],
        batch.text_mask[rows],
        batch.compression_positions[rows],
        _cut(batch.attention_mask, rows),
        _cut(batch.position_ids, rows),
    )


def _cut(tensor: Tensor | None, rows: slice) -> Tensor | None:
    return None if tensor is None else tensor[rows]


def _both(vectors: Tensor, queries: slice, passages: slice) -> Tensor:
    """The rows of some queries and of their passages: (B + B * G, D') -> fewer rows."""
    return torch.cat([vectors[queries], vectors[passages]])
