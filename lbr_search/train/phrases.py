"""Domain phrases: runs of tokens that are frequent and cohesive, mined from the training text.

Their tokens weigh more in the generative losses as training goes on, so that the model spends
itself on names (chemicals, diseases, identifiers) once it has the language around them. Source of
the idea: Zhang et al. 2020, arXiv:2009.02835, adaptive hybrid masking, where a phrase pool decides
what is masked; the pool's formula, the weights and their schedule are ours.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lbr_search.config import fingerprint
from lbr_search.train.data import TrainingData
from lbr_search.train.tokens import TokenTable, load_tables, save_tables

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MIN_TOKENS, MAX_TOKENS = 2, 6
"""Length of a phrase."""
MIN_COUNT = 5
MIN_COHESION = 0.5
"""Normalised pointwise mutual information, -1 to 1: 0 = chance, 1 = never apart."""
COMMON_SHARE = 0.001
"""A token that is more than this share of all is common, such as " the", "." or " is"."""
MINED_TOKENS = 8_000_000
"""Tokens read, the same number of every source: some 100 bytes of memory each."""
_FACTOR = np.uint64(0x9E3779B97F4A7C15)
"""Odd and irregular: two n-grams share a number with a chance of about one in 10^19."""


@dataclass(frozen=True, slots=True)
class PhrasePool:
    """P phrases, best first.

    Attributes:
        ids: (P, 6) int32, the tokens, -1 behind them.
        counts: (P,) int64, how often each was seen.
        cohesion: (P,) float32, its normalised pointwise mutual information.
    """

    ids: NDArray[np.int32]
    counts: NDArray[np.int64]
    cohesion: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.ids)

    def inside(self, ids: NDArray[np.int64], is_text: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which tokens stand inside a phrase. Two (B, S) arrays, ids and text -> (B, S)."""
        found = np.zeros(ids.shape, dtype=bool)
        lengths = (self.ids >= 0).sum(axis=1)
        for n in range(MIN_TOKENS, min(MAX_TOKENS, ids.shape[1]) + 1):
            known = _numbers(self.ids[lengths == n, :n].astype(np.int64), n)
            is_phrase = np.isin(_numbers(ids, n), known)  # (B, S - n + 1), by first token
            n_starts = is_phrase.shape[1]
            for offset in range(n):
                is_phrase &= is_text[:, offset : offset + n_starts]
            for offset in range(n):
                found[:, offset : offset + n_starts] |= is_phrase
        return found


def phrase_pool(
    data: TrainingData, tokenizer: Tokenizer, *, max_phrases: int, cache: Path
) -> PhrasePool:
    """Mine the phrases of the training text, or read them from `cache`.

    Args:
        data: its texts, and the passages of its training pairs.
        tokenizer: of the model; says which tokens are written with letters.
        max_phrases: the best so many are kept.
        cache: folder of the token tables.
    """
    tables = _training_tables(data)
    identity = {
        "tables": [_digest(table) for table in tables],
        "tokenizer": fingerprint({"tokenizer": tokenizer.to_str()}),
        "limits": [
            MIN_TOKENS,
            MAX_TOKENS,
            MIN_COUNT,
            MIN_COHESION,
            COMMON_SHARE,
            MINED_TOKENS,
            max_phrases,
        ],
    }
    path = cache / f"phrases-{fingerprint(identity)[:16]}.safetensors"
    if not path.is_file():
        letters = _letters(tokenizer)
        pool = mine_phrases(tables, letters, max_phrases=max_phrases, common_share=COMMON_SHARE)
        arrays: dict[str, NDArray[Any]] = {
            "ids": pool.ids,
            "counts": pool.counts,
            "cohesion": pool.cohesion,
        }
        save_tables(arrays, path)
    kept: dict[str, Any] = dict(load_tables(path))
    return PhrasePool(kept["ids"], kept["counts"], kept["cohesion"])


def mine_phrases(
    tables: list[TokenTable],
    is_letters: NDArray[np.bool_],
    *,
    max_phrases: int,
    common_share: float,
) -> PhrasePool:
    """Runs of 2 to 6 tokens, of which no split into two explains how often they are seen.

    With N tokens, count c of the run and counts l, r of the two sides of a split, the split
    expects e = l * r / N; cohesion is log(c / e) / log(N / c) at the split with the largest e
    (Bouma 2009, normalised PMI). Runs are ranked by their t-score, (c - e) / sqrt(c).

    Args:
        tables: token sequences; no phrase crosses from one to the next.
        is_letters: (V,) whether a token holds a letter; a phrase holds at least one such.
        max_phrases: kept at most; equal ones by their tokens.
        common_share: a phrase neither begins nor ends with a token above this share of all:
            without that, the pool is led by " has a", ". It is" and the like.
    """
    share = MINED_TOKENS // max(1, len(tables))
    parts = [table.ids[:share].astype(np.int64) for table in tables if len(table.ids)]
    ids = np.concatenate([np.zeros(0, np.int64), *parts])
    ends = _ends([table for table in tables if len(table.ids)], share)
    n_letters = np.concatenate([[0], np.cumsum(is_letters[ids])])
    counts = {1: _counted(ids[None], ends, 1)[0]}
    is_common = counts[1] > common_share * len(ids)  # of the token at each place
    rows, seen, cohesion, rank = [], [], [], []
    for n in range(MIN_TOKENS, MAX_TOKENS + 1):
        counts[n], first = _counted(ids[None], ends, n)
        first = first[counts[n][first] >= MIN_COUNT]
        first = first[~is_common[first] & ~is_common[first + n - 1]]
        first = first[n_letters[first + n] > n_letters[first]]
        count = counts[n][first].astype(np.float64)
        sides = [
            counts[s][first] * counts[n - s][first + s].astype(np.float64) for s in range(1, n)
        ]
        expected = np.max(sides, axis=0) / len(ids)
        strength = np.log(count / expected) / np.log(len(ids) / count)
        kept = strength >= MIN_COHESION
        tokens = np.full((int(kept.sum()), MAX_TOKENS), -1, dtype=np.int32)
        tokens[:, :n] = ids[first[kept, None] + np.arange(n)]
        rows.append(tokens)
        seen.append(count[kept])
        cohesion.append(strength[kept])
        rank.append(((count - expected) / np.sqrt(count))[kept])
    tokens = np.concatenate(rows)
    keys = (*tokens.T[::-1], -np.concatenate(rank))  # lexsort: the last key decides first
    order = np.lexsort(keys)[:max_phrases]
    return PhrasePool(
        tokens[order],
        np.concatenate(seen)[order].astype(np.int64),
        np.concatenate(cohesion)[order].astype(np.float32),
    )


def _counted(
    ids: NDArray[np.int64], ends: NDArray[np.int64], n: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How often the n-gram that starts at each place is seen, and where each is seen first.

    Places whose n-gram would cross the end of its text have count 0.
    """
    numbers = _numbers(ids, n)[0]
    starts = np.arange(len(numbers))
    valid = starts[starts + n <= ends[: len(numbers)]]
    _, first, which, count = np.unique(
        numbers[valid], return_index=True, return_inverse=True, return_counts=True
    )
    counts = np.zeros(ids.shape[1], dtype=np.int64)
    counts[valid] = count[which]
    return counts, np.sort(valid[first])


def _numbers(ids: NDArray[np.int64], n: int) -> NDArray[np.uint64]:
    """One number for each run of n tokens in a row. (B, S) -> (B, S - n + 1), none if shorter."""
    n_starts = max(0, ids.shape[1] - n + 1)
    numbers = np.zeros((len(ids), n_starts), dtype=np.uint64)
    for offset in range(n):
        token = ids[:, offset : offset + n_starts].astype(np.uint64) + np.uint64(1)
        numbers = (numbers ^ token) * _FACTOR  # wraps around at 2^64
        numbers ^= numbers >> np.uint64(29)
    return numbers


def _ends(tables: list[TokenTable], limit: int) -> NDArray[np.int64]:
    """For each token of the joined tables, cut at `limit`, the place where its text ends."""
    parts, before = [np.zeros(0, np.int64)], 0
    for table in tables:
        size = min(limit, len(table.ids))
        stops = np.minimum(np.repeat(table.offsets[1:], table.lengths), size)[:size]
        parts.append(stops + before)
        before += size
    return np.concatenate(parts)


def _training_tables(data: TrainingData) -> list[TokenTable]:
    passages = []
    for source in data.pairs:  # what is held out for evaluation is not read
        lengths = source.passages.lengths
        is_train = np.zeros(len(lengths), dtype=bool)
        is_train[source.train] = True
        ids = source.passages.ids[np.repeat(is_train, lengths)]
        offsets = np.concatenate([[0], np.cumsum(lengths[is_train])])
        passages.append(TokenTable(ids, offsets))
    return [*(source.texts for source in data.text), *passages]


def _digest(table: TokenTable) -> str:
    digest = hashlib.blake2b(np.ascontiguousarray(table.ids).tobytes(), digest_size=16)
    digest.update(np.ascontiguousarray(table.offsets).tobytes())
    return digest.hexdigest()


def _letters(tokenizer: Tokenizer) -> NDArray[np.bool_]:
    """(V,) whether the text of a token holds a letter."""
    size = tokenizer.get_vocab_size()
    texts = tokenizer.decode_batch([[token] for token in range(size)])
    return np.array([any(char.isalpha() for char in text) for text in texts], dtype=bool)
