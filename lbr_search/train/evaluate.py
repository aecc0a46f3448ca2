"""Dev evaluation on held-out pairs, and the health of a checkpoint (lbr-method of ARCHITECTURE)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lbr_search.encoder.batching import collate
from lbr_search.encoder.lbr import encode_token_ids
from lbr_search.encoder.model import LbrModel
from lbr_search.train.data import PairSource, TrainingData
from lbr_search.train.losses import effective_rank
from lbr_search.train.recipe import DataConfig
from lbr_search.train.stage_config import Stage2Config

MAX_NLL_PAIRS = 64


@dataclass(frozen=True, slots=True)
class DevSet:
    """Held-out queries of one source and the passages they are searched among.

    Attributes:
        is_relevant: (Q, P) bool: the query's own passage.
        is_ignored: (Q, P) bool: shares a key with the query, so neither right nor wrong.
    """

    name: str
    domain: str
    queries: list[list[int]]
    passages: list[list[int]]
    is_relevant: NDArray[np.bool_]
    is_ignored: NDArray[np.bool_]


def dev_sets(data: TrainingData, config: DataConfig, limits: Stage2Config) -> list[DevSet]:
    """One set a source that holds pairs out; the same for the same data and seed."""
    return [_dev_set(source, data, config, limits) for source in data.pairs if len(source.dev) > 0]


def evaluate(model: LbrModel, sets: Sequence[DevSet], *, by: str) -> dict[str, float]:
    """Measures of a checkpoint.

    Args:
        model: in evaluation mode.
        sets: held-out pairs.
        by: measure that becomes "score", with a minus where less is better: ``dev_ndcg@10``,
            or ``-nll_y_z`` (stage 1).

    Returns:
        "dev_ndcg@10" (mean over domains of the mean over sources), one "dev_ndcg@10/DOMAIN" each,
        "nll_y_z", "nll_y", "nll_y_x" (nats per query token given Z, nothing, the whole text),
        "effective_rank", "random_cosine", "token_cosine" and "score".
    """
    device = model.compression.device
    by_domain: dict[str, list[float]] = {}
    vectors = []
    for dev in sets:
        queries = encode_token_ids(model, dev.queries, device=device)
        passages = encode_token_ids(model, dev.passages, device=device)
        vectors.append(passages)
        by_domain.setdefault(dev.domain, []).append(ndcg_at_10(queries @ passages.T, dev))
    domains = {name: float(np.mean(values)) for name, values in sorted(by_domain.items())}
    measures = {f"dev_ndcg@10/{name}": value for name, value in domains.items()}
    measures["dev_ndcg@10"] = float(np.mean(list(domains.values()))) if domains else 0.0
    measures |= _bottleneck(model, sets)
    measures |= _geometry(np.concatenate(vectors)) if vectors else {}
    measures["score"] = -measures[by[1:]] if by.startswith("-") else measures[by]
    return measures


def ndcg_at_10(scores: NDArray[np.float32], dev: DevSet) -> float:
    """Mean nDCG@10 with one relevant passage a query: 1 / log2(1 + its rank), 0 past ten."""
    ignored = dev.is_ignored & ~dev.is_relevant
    own = np.where(dev.is_relevant, scores, -np.inf).max(axis=1, keepdims=True)
    ranks = 1 + ((scores > own) & ~ignored).sum(axis=1)
    return float(np.where(ranks <= 10, 1 / np.log2(1 + ranks), 0.0).mean())


def _dev_set(
    source: PairSource, data: TrainingData, config: DataConfig, limits: Stage2Config
) -> DevSet:
    rng = np.random.default_rng([config.split_seed, 3])
    n_other = max(0, config.dev_passages - len(source.dev))
    other = rng.choice(source.train, size=min(n_other, len(source.train)), replace=False)
    rows = np.concatenate([source.dev, np.sort(other)])
    keys = source.keys
    return DevSet(
        source.name,
        source.domain,
        [data.query_prompt + source.queries.row(i, limit=limits.query_tokens) for i in source.dev],
        [data.passage_prompt + source.passages.row(i, limit=limits.passage_tokens) for i in rows],
        rows[None, :] == source.dev[:, None],
        (keys[source.dev][:, None, :] == keys[rows][None, :, :]).any(axis=2),
    )


def _bottleneck(model: LbrModel, sets: Sequence[DevSet]) -> dict[str, float]:
    """How much of the text passed the bottleneck, in nats per token of the held-out queries."""
    sums = {"nll_y_z": 0.0, "nll_y": 0.0, "nll_y_x": 0.0, "token_cosine": 0.0}
    n_sets = 0
    for dev in sets:
        own = dev.is_relevant.argmax(axis=1)[:MAX_NLL_PAIRS]
        texts = [dev.passages[place] for place in own]
        targets = [query[-max(1, len(query) - 1) :] for query in dev.queries[: len(texts)]]
        nll, cosine = _nll_given_vectors(model, texts, targets)
        sums["nll_y_z"] += nll
        sums["token_cosine"] += cosine
        sums["nll_y"] += _nll_given_text(model, [text[:1] for text in texts], targets)
        sums["nll_y_x"] += _nll_given_text(model, texts, targets)
        n_sets += 1
    return {name: total / n_sets if n_sets else math.inf for name, total in sums.items()}


@torch.inference_mode()
def _nll_given_vectors(
    model: LbrModel, texts: list[list[int]], targets: list[list[int]]
) -> tuple[float, float]:
    """NLL(y | Z), and the mean cosine between the k rows of Z (1 when k is 1)."""
    device = model.compression.device
    batch = collate(texts, n_compression_tokens=model.n_compression_tokens).to(device)
    compressed, _ = model.compress(batch)
    target = collate(targets, n_compression_tokens=0).to(device)
    losses, mask = model.token_nll(compressed, target)
    rows = torch.nn.functional.normalize(compressed.float(), dim=-1)
    k = rows.shape[1]
    cosines = rows @ rows.transpose(1, 2)  # (B, k, k)
    between = (cosines.sum() / len(rows) - k) / max(1, k * (k - 1)) if k > 1 else cosines.mean()
    return float((losses * mask).sum() / mask.sum()), float(between)


@torch.inference_mode()
def _nll_given_text(model: LbrModel, texts: list[list[int]], targets: list[list[int]]) -> float:
    """Plain language modelling of the targets behind their texts."""
    device = model.compression.device
    joined = [text + target for text, target in zip(texts, targets, strict=True)]
    batch = collate(joined, n_compression_tokens=0).to(device)
    states = model.backbone.states(model.backbone.embedding(batch.input_ids))
    total, n_tokens = 0.0, 0
    for row, (text, target) in enumerate(zip(texts, targets, strict=True)):
        start = len(text) - 1
        logits = model.backbone.logits(states[row, start : start + len(target)])
        wanted = batch.input_ids[row, len(text) : len(text) + len(target)]
        total += float(torch.nn.functional.cross_entropy(logits.float(), wanted, reduction="sum"))
        n_tokens += len(target)
    return total / n_tokens


def _geometry(vectors: NDArray[np.float32]) -> dict[str, float]:
    rng = np.random.default_rng(0)
    sample = vectors[rng.choice(len(vectors), size=min(2_000, len(vectors)), replace=False)]
    cosines = sample @ sample.T
    off_diagonal = cosines[~np.eye(len(sample), dtype=bool)]
    return {
        "effective_rank": effective_rank(torch.from_numpy(sample)),
        "random_cosine": float(off_diagonal.mean()) if len(off_diagonal) else 1.0,
    }
