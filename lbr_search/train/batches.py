"""Token tables -> batches.

A batch is a pure function of (data, settings, seed, step), so a resumed run sees what an
uninterrupted one would have seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lbr_search.encoder.batching import TokenBatch, collate
from lbr_search.train.data import PairSource, TextSource, TrainingData
from lbr_search.train.phrases import PhrasePool
from lbr_search.train.stage_config import Stage1Config, Stage2Config

Source = TypeVar("Source", TextSource, PairSource)


@dataclass(frozen=True, slots=True)
class Stage1Batch:
    """Texts x, with places for the compression tokens, and targets y.

    Attributes:
        n_prompt: tokens of the prompt, which stands before each x.
        taught: the teachers' vectors of x, (B, D') each; empty without teachers.
        text_phrases: (B, S) bool, which tokens of x stand inside a domain phrase; None without
            a pool.
        target_phrases: (B, Y) bool, the same of y.
    """

    text: TokenBatch
    target: TokenBatch
    n_prompt: int = 0
    taught: tuple[Tensor, ...] = ()
    text_phrases: Tensor | None = None
    target_phrases: Tensor | None = None

    def to(self, device: torch.device) -> Stage1Batch:
        """The same batch on another device."""
        return Stage1Batch(
            self.text.to(device),
            self.target.to(device),
            self.n_prompt,
            tuple(vectors.to(device) for vectors in self.taught),
            None if self.text_phrases is None else self.text_phrases.to(device),
            None if self.target_phrases is None else self.target_phrases.to(device),
        )


@dataclass(frozen=True, slots=True)
class Stage2Batch:
    """B queries, B * G passages (the positive first), and what must not be a negative.

    Attributes:
        excluded: (B, B * G) bool, true = shares a key with the query's own pair.
        target: the queries as targets of `NLL(q | Z(d))`, without prompt.
        taught: the teachers' vectors of queries and passages, (B + B * G, D') each.
        judged: the cross-encoders' scores of each query with its G passages, (B, G) each.
    """

    queries: TokenBatch
    passages: TokenBatch
    excluded: NDArray[np.bool_]
    target: TokenBatch
    taught: tuple[Tensor, ...] = ()
    judged: tuple[Tensor, ...] = ()

    def to(self, device: torch.device) -> Stage2Batch:
        """The same batch on another device."""
        return Stage2Batch(
            self.queries.to(device),
            self.passages.to(device),
            self.excluded,
            self.target.to(device),
            tuple(vectors.to(device) for vectors in self.taught),
            tuple(scores.to(device) for scores in self.judged),
        )


def stage1_batch(
    data: TrainingData,
    config: Stage1Config,
    *,
    seed: int,
    step: int,
    phrases: PhrasePool | None = None,
) -> Stage1Batch:
    """Texts x and what follows them (or themselves, or a query that they answer) as y.

    All x of a batch have nearly one length, so that little is spent on padding.

    Args:
        data: sources.
        config: sizes and shares.
        seed: of the run.
        step: number of the batch.
        phrases: whose tokens are marked in x and y; None = nothing is marked.
    """
    rng = np.random.default_rng([seed, 1, step])
    if not data.text or config.pair_share > rng.random():
        samples = _pair_samples(data, config, rng)
    else:
        samples = _text_samples(data, config, rng)
    texts = [data.passage_prompt + text for text, _ in samples]
    text = collate(texts, n_compression_tokens=data.n_compression_tokens)
    target = collate([target for _, target in samples], n_compression_tokens=0)
    n_prompt = len(data.passage_prompt)
    if phrases is None:
        return Stage1Batch(text, target, n_prompt)
    inside = [
        torch.from_numpy(phrases.inside(part.input_ids.numpy(), part.text_mask.numpy()))
        for part in (text, target)
    ]
    return Stage1Batch(text, target, n_prompt, text_phrases=inside[0], target_phrases=inside[1])


def stage2_batch(
    data: TrainingData,
    config: Stage2Config,
    *,
    seed: int,
    step: int,
    negatives: Mapping[str, NDArray[np.int64]] | None = None,
) -> Stage2Batch:
    """Pairs of similar length: each passage is a hard negative of the others.

    Args:
        data: sources.
        config: batch size, mixing and limits.
        seed: of the run.
        step: number of the batch.
        negatives: source name -> (N, n) mined rows of each pair, -1 = none.
    """
    rng = np.random.default_rng([seed, 2, step])
    drawn = _draw_pairs(data.pairs, config, rng)
    columns = drawn.rows[:, None]  # (B, G)
    if negatives is not None:
        columns = np.concatenate([columns, _mined(data.pairs, drawn, negatives, rng)], axis=1)
    asked = drawn.places()
    answers = PairRows(np.repeat(drawn.sources, columns.shape[1]), columns.reshape(-1)).places()
    keys, other = (
        np.stack([data.pairs[source].keys[row] for source, row in places])
        for places in (asked, answers)
    )
    excluded = (keys[:, None, :] == other[None, :, :]).any(axis=2)
    queries = [data.pairs[s].queries.row(row, limit=config.query_tokens) for s, row in asked]
    passages = [data.pairs[s].passages.row(row, limit=config.passage_tokens) for s, row in answers]
    k = data.n_compression_tokens
    return Stage2Batch(
        collate([data.query_prompt + ids for ids in queries], n_compression_tokens=k),
        collate([data.passage_prompt + ids for ids in passages], n_compression_tokens=k),
        excluded,
        collate(queries, n_compression_tokens=0),
    )


@dataclass(frozen=True, slots=True)
class PairRows:
    """B pairs: the number of each one's source, and its row there. Two (B,) arrays."""

    sources: NDArray[np.int64]
    rows: NDArray[np.int64]

    def places(self) -> list[tuple[int, int]]:
        """(source, row) of each pair."""
        return list(zip(self.sources.tolist(), self.rows.tolist(), strict=True))


def pair_rows(data: TrainingData, config: Stage2Config, *, seed: int, step: int) -> PairRows:
    """The pairs that `stage2_batch` takes at a step."""
    return _draw_pairs(data.pairs, config, np.random.default_rng([seed, 2, step]))


def _draw_pairs(
    pairs: list[PairSource], config: Stage2Config, rng: np.random.Generator
) -> PairRows:
    """Pairs of one source, of one domain or of all, by the shares of the settings."""
    # no draw where there is nothing to decide
    kind = rng.random() if config.same_source_share < 1 else 0.0
    first = _pick(pairs, rng)
    if kind < config.same_source_share:
        rows = _similar_length(first, rng, min(config.batch_size, len(first.train)))
        number = next(number for number, source in enumerate(pairs) if source is first)
        return PairRows(np.full(len(rows), number), rows)
    is_one_domain = kind < config.same_source_share + config.same_domain_share
    mixed = [
        number
        for number, source in enumerate(pairs)
        if not is_one_domain or source.domain == first.domain
    ]
    return _mix(pairs, mixed, config.batch_size, rng)


def _mix(
    pairs: list[PairSource], mixed: list[int], size: int, rng: np.random.Generator
) -> PairRows:
    """`size` pairs of several sources, by weight: of twice as many, those alike in length.

    Of more, a batch would be of the one source whose passages have that length.
    """
    weights = np.array([pairs[number].weight for number in mixed])
    shares = rng.multinomial(2 * size, weights / weights.sum())
    taken = [
        rng.choice(pairs[number].train, size=min(share, len(pairs[number].train)), replace=False)
        for number, share in zip(mixed, shares, strict=True)
    ]
    sources = np.repeat(mixed, [len(rows) for rows in taken])
    rows = np.concatenate(taken)
    lengths = np.concatenate(
        [pairs[n].passages.lengths[part] for n, part in zip(mixed, taken, strict=True)]
    )
    order = np.argsort(lengths, kind="stable")
    size = min(size, len(order))
    first = int(rng.integers(len(order) - size + 1))
    window = order[first : first + size]
    return PairRows(sources[window], rows[window])


def _mined(
    pairs: list[PairSource],
    drawn: PairRows,
    negatives: Mapping[str, NDArray[np.int64]],
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """(B, n) rows of mined passages, each in its pair's source."""
    mined = np.stack([negatives[pairs[source].name][row] for source, row in drawn.places()])
    for number in np.unique(drawn.sources):
        is_here = drawn.sources == number
        # a query with too few mined passages takes other pairs' passages in their place
        filler = rng.choice(pairs[number].train, size=mined[is_here].shape)
        mined[is_here] = np.where(mined[is_here] < 0, filler, mined[is_here])
    return mined


def _text_samples(
    data: TrainingData, config: Stage1Config, rng: np.random.Generator
) -> list[tuple[list[int], list[int]]]:
    length = int(rng.integers(config.min_text_tokens, config.max_text_tokens + 1))
    samples = []
    for _ in range(max(1, config.batch_tokens // (length + config.target_tokens))):
        table = _pick(data.text, rng).texts
        # documents in proportion to their tokens: a long one has more to teach
        place = int(rng.integers(len(table.ids)))
        row = int(np.searchsorted(table.offsets, place, side="right")) - 1
        start, stop = int(table.offsets[row]), int(table.offsets[row + 1])
        size = min(length, max(1, (stop - start) * 2 // 3))  # short documents leave a third for y
        start += int(rng.integers(0, max(1, stop - start - size - config.target_tokens + 1)))
        text = table.ids[start : start + size]
        follows = table.ids[start + size : min(stop, start + size + config.target_tokens)]
        if len(follows) == 0 or rng.random() < config.reconstruction_share:
            follows = text[: config.target_tokens]
        samples.append((text.tolist(), follows.tolist()))
    return samples


def _pair_samples(
    data: TrainingData, config: Stage1Config, rng: np.random.Generator
) -> list[tuple[list[int], list[int]]]:
    source = _pick(data.pairs, rng)
    candidates = rng.choice(source.train, size=min(256, len(source.train)), replace=False)
    lengths = np.minimum(source.passages.lengths[candidates], config.max_text_tokens)
    order = candidates[np.argsort(lengths, kind="stable")]
    first = int(rng.integers(len(order)))
    samples: list[tuple[list[int], list[int]]] = []
    width = 0
    for row in np.roll(order, -first):
        text = source.passages.row(int(row), limit=config.max_text_tokens)
        width = max(width, len(text) + config.target_tokens // 2)
        if samples and width * (len(samples) + 1) > config.batch_tokens:
            break
        samples.append((text, source.queries.row(int(row), limit=config.target_tokens)))
    return samples


def _similar_length(source: PairSource, rng: np.random.Generator, n: int) -> NDArray[np.int64]:
    """`n` training rows whose passages are of similar length, drawn from four times as many."""
    candidates = rng.choice(source.train, size=min(4 * n, len(source.train)), replace=False)
    order = candidates[np.argsort(source.passages.lengths[candidates], kind="stable")]
    first = int(rng.integers(len(order) - n + 1))
    return np.asarray(order[first : first + n], dtype=np.int64)


def _pick(sources: list[Source], rng: np.random.Generator) -> Source:
    weights = np.array([source.weight for source in sources])
    return sources[int(rng.choice(len(sources), p=weights / weights.sum()))]
