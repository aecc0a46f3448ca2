"""Hard negatives: passages of the same source that BM25 puts high and that are not the answer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lbr_search.config import fingerprint
from lbr_search.train.data import PairSource
from lbr_search.train.tokens import load_tables, save_tables

if TYPE_CHECKING:
    from tokenizers import Tokenizer

CANDIDATES = 32


def mine_hard_negatives(
    sources: Sequence[PairSource],
    tokenizer: Tokenizer,
    *,
    n: int,
    cache: Path,
) -> dict[str, NDArray[np.int64]]:
    """BM25 over the encoder's own tokens, per source, among training rows only.

    Args:
        sources: pairs; rows that share a key with the query are never taken.
        tokenizer: only its vocabulary size matters, for the cache's identity.
        n: negatives wanted per pair.
        cache: folder of the token tables.

    Returns:
        Source name -> (N, n) row numbers, -1 where there were too few.
    """
    mined = {}
    for source in sources:
        identity = {
            "name": source.name,
            "rows": len(source.keys),
            "n": n,
            "v": tokenizer.get_vocab_size(),
        }
        path = cache / f"negatives-{fingerprint(identity)[:16]}.safetensors"
        if not path.is_file():
            save_tables({"rows": _mine(source, n)}, path)
        mined[source.name] = np.asarray(load_tables(path)["rows"], dtype=np.int64)
    return mined


def _mine(source: PairSource, n: int) -> NDArray[np.int64]:
    import bm25s

    rows = source.train
    passages = [source.passages.row(int(row), limit=512) for row in rows]
    queries = [source.queries.row(int(row), limit=64) for row in rows]
    retriever = bm25s.BM25(k1=1.2, b=0.75)
    retriever.index([_words(ids) for ids in passages], show_progress=False)
    found, _ = retriever.retrieve(
        [_words(ids) for ids in queries], k=min(CANDIDATES, len(rows)), show_progress=False
    )
    mined = np.full((len(source.keys), n), -1, dtype=np.int64)
    for row, candidates in zip(rows, found, strict=True):
        others = rows[candidates]
        is_own = (source.keys[others] == source.keys[row]).any(axis=1)
        kept = others[~is_own][:n]
        mined[row, : len(kept)] = kept
    return mined


def _words(ids: list[int]) -> list[str]:
    return [str(token) for token in ids]
