"""Hard negatives: passages of the same source that BM25 or the model itself puts high."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lbr_search.config import fingerprint
from lbr_search.encoder.lbr import encode_token_ids
from lbr_search.encoder.model import LbrModel
from lbr_search.train.batches import pair_rows
from lbr_search.train.data import PairSource, TrainingData
from lbr_search.train.recipe import Recipe
from lbr_search.train.tokens import load_tables, save_tables

if TYPE_CHECKING:
    from tokenizers import Tokenizer

CANDIDATES = 32
BLOCK_QUERIES = 512
"""Queries whose scores with all passages are held at once."""

Rows = NDArray[np.int64]
logger = logging.getLogger(__name__)


class HardNegatives:
    """What stands beside each query of stage 2: BM25's passages, then those the model puts high.

    The model mines every `mine_every` batches, for the queries of those batches, and what it found
    is kept in `folder`: a run that goes on from an earlier checkpoint reads it again, so that a
    batch stays a function of data, settings, seed and step.

    Args:
        model: the one in training.
        data: sources.
        recipe: of the run.
        by_terms: as `mine_hard_negatives` gives them; None = none wanted.
        folder: of the stage; made if absent.
    """

    def __init__(
        self,
        model: LbrModel,
        data: TrainingData,
        recipe: Recipe,
        *,
        by_terms: Mapping[str, Rows] | None,
        folder: Path,
    ) -> None:
        self._model = model
        self._data = data
        self._recipe = recipe
        self._by_terms = by_terms
        self._folder = folder
        self._period = 0
        self._rows = by_terms

    def needs_model(self, step: int) -> bool:
        """Whether `at` may mine with the model, which must then have made exactly `step` steps."""
        config = self._recipe.stage2
        return config.model_negatives > 0 and step % config.mine_every == 0

    def at(self, step: int) -> Mapping[str, Rows] | None:
        """Source name -> (N, n) rows beside each pair at a step, -1 = none; None where n is 0.

        Mines where a new period begins that no file tells of; the model must then have made
        exactly `step` steps.
        """
        config = self._recipe.stage2
        period = step // config.mine_every if config.model_negatives else 0
        if period != self._period:
            self._period = period
            self._rows = self._joined(self._by_model(period)) if period else self._by_terms
        return self._rows

    def _joined(self, by_model: dict[str, Rows]) -> dict[str, Rows]:
        if self._by_terms is None:
            return by_model
        joined = {}
        for name, mined in by_model.items():
            known = self._by_terms[name]
            is_known = (mined[:, :, None] == known[:, None, :]).any(axis=2)
            joined[name] = np.concatenate([known, np.where(is_known, -1, mined)], axis=1)
        return joined

    def _by_model(self, period: int) -> dict[str, Rows]:
        pairs = self._data.pairs
        identity = fingerprint({"keys": [_digest(source) for source in pairs]})[:8]
        first = period * self._recipe.stage2.mine_every
        path = self._folder / f"mined-{first:06d}-{identity}.safetensors"
        if not path.is_file():
            self._folder.mkdir(parents=True, exist_ok=True)
            save_tables(self._mine(period), path)
            logger.info("step %d: hard negatives mined by the model into %s", first, path)
        tables = load_tables(path)
        mined = {}
        for number, source in enumerate(pairs):
            n = self._recipe.stage2.model_negatives
            mined[source.name] = np.full((len(source.keys), n), -1, dtype=np.int64)
            mined[source.name][tables[f"{number}/rows"]] = tables[f"{number}/negatives"]
        return mined

    def _mine(self, period: int) -> dict[str, NDArray[np.generic]]:
        """The rows that the period's batches take of each source, and what was found for them."""
        config, seed = self._recipe.stage2, self._recipe.data.seed
        steps = range(period * config.mine_every, (period + 1) * config.mine_every)
        drawn = [pair_rows(self._data, config, seed=seed, step=step) for step in steps]
        sources = np.concatenate([part.sources for part in drawn])
        rows = np.concatenate([part.rows for part in drawn])
        tables: dict[str, NDArray[np.generic]] = {}
        was_training = self._model.training
        self._model.eval()
        for number in range(len(self._data.pairs)):
            rng = np.random.default_rng([seed, 4, period, number])
            asked = np.unique(rows[sources == number])
            tables[f"{number}/rows"] = asked
            tables[f"{number}/negatives"] = self._mine_source(number, asked, rng)
        self._model.train(was_training)
        return tables

    def _mine_source(self, number: int, asked: Rows, rng: np.random.Generator) -> Rows:
        config, data = self._recipe.stage2, self._data
        source = data.pairs[number]
        if len(asked) == 0:
            return np.empty((0, config.model_negatives), dtype=np.int64)
        size = min(config.mining_passages, len(source.train))
        others = rng.choice(source.train, size=size, replace=False)
        pool = np.union1d(others, asked)
        _, first = np.unique(source.keys[pool, 2], return_index=True)
        pool = pool[np.sort(first)]  # each text once
        queries = [
            data.query_prompt + source.queries.row(int(row), limit=config.query_tokens)
            for row in asked
        ]
        passages = [
            data.passage_prompt + source.passages.row(int(row), limit=config.passage_tokens)
            for row in pool
        ]
        device = self._model.compression.device
        found = nearest_others(
            encode_token_ids(self._model, queries, device=device),
            encode_token_ids(self._model, passages, device=device),
            keys=(source.keys[asked], source.keys[pool]),
            n=config.model_negatives,
            margin=config.false_negative_margin,
        )
        return np.where(found < 0, -1, pool[found])


def nearest_others(
    queries: NDArray[np.float32],
    passages: NDArray[np.float32],
    *,
    keys: tuple[Rows, Rows],
    n: int,
    margin: float,
) -> Rows:
    """The passages that score highest with each query, without its own and likely relevant ones.

    Exact search in blocks. A passage above `margin` times the score of the query's own is likely
    relevant (Moreira et al. 2024, arXiv:2407.15831), where that score is above 0.

    Args:
        queries: (Q, D), rows of length 1.
        passages: (P, D), among them the own passage of each query.
        keys: (Q, 3) of the queries' pairs and (P, 3) of the passages': group, query, passage.
        n: wanted for each query.
        margin: above 0, at most 1.

    Returns:
        (Q, n) places in `passages`, best first, equal ones by place; -1 where there were too few.
    """
    found = np.full((len(queries), n), -1, dtype=np.int64)
    n = min(n, len(passages))
    order = np.argsort(keys[1][:, 2])
    own = order[np.searchsorted(keys[1][:, 2], keys[0][:, 2], sorter=order)]
    for start in range(0, len(queries), BLOCK_QUERIES):
        block = slice(start, start + BLOCK_QUERIES)
        scores = queries[block] @ passages.T
        positive = np.take_along_axis(scores, own[block, None], axis=1)
        is_left_out = (scores > margin * positive) & (positive > 0)
        for column in range(keys[0].shape[1]):
            is_left_out |= keys[0][block, None, column] == keys[1][None, :, column]
        scores[is_left_out] = -np.inf
        best = np.sort(np.argpartition(-scores, n - 1, axis=1)[:, :n], axis=1)
        values = np.take_along_axis(scores, best, axis=1)
        ranked = np.argsort(-values, axis=1, kind="stable")
        places = np.where(np.isneginf(values), -1, best)
        found[block, :n] = np.take_along_axis(places, ranked, axis=1)
    return found


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
            "keys": _digest(source),
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


def _digest(source: PairSource) -> str:
    """Identity of a source's pairs and of their split."""
    digest = hashlib.blake2b(np.ascontiguousarray(source.keys).tobytes(), digest_size=16)
    digest.update(np.ascontiguousarray(source.train).tobytes())
    return digest.hexdigest()


def _words(ids: list[int]) -> list[str]:
    return [str(token) for token in ids]
