"""Queries that the model writes itself: sampled from Z(passage), kept if they find it again.

Source of the idea: Wang et al. 2022, GPL, arXiv:2112.07577, with two differences: the writer is the
decoder of stage 1, which has read nothing but the vector, and instead of pseudo labels a round trip
decides (Alberti et al. 2019, arXiv:1906.05416).
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lbr_search.encoder.batching import collate
from lbr_search.encoder.lbr import encode_token_ids
from lbr_search.encoder.model import LbrModel
from lbr_search.errors import ConfigError
from lbr_search.train.data import PairSource, TrainingData
from lbr_search.train.stage_config import Stage2Config
from lbr_search.train.tokens import TokenTable, load_tables, save_tables

NAME = "generated"
POOL = 100
"""Passages among which a query has to find its own first; chance keeps one in a hundred."""
TEMPERATURE, TOP_TOKENS = 0.8, 20
_BATCH = 32


def generated_pairs(
    model: LbrModel, data: TrainingData, limits: Stage2Config, *, n: int, seed: int, file: Path
) -> tuple[PairSource, dict[str, int]]:
    """Pairs of passages of the texts and queries written for them.

    Args:
        model: after stage 1, in evaluation mode.
        data: its texts give the passages, its pairs the lengths of queries.
        limits: of tokens of queries and passages.
        n: queries to write.
        seed: of passages, lengths and tokens.
        file: where the pairs are kept; read instead of written anew if it is there.

    Returns:
        A source of the mean weight of the others, and counts: written, and kept.

    Raises:
        ConfigError: there are no texts.
    """
    if not data.text:
        raise ConfigError(
            "there are no texts to write queries for.", "give --text, or --generate 0"
        )
    if not file.is_file():
        passages = _passages(data, limits, n, np.random.default_rng([seed, 4]))
        queries = _queries(model, data, limits, passages, seed)
        is_found = round_trip(
            model,
            [data.query_prompt + ids for ids in queries],
            [data.passage_prompt + ids for ids in passages],
        )
        kept = np.flatnonzero(is_found)
        save_tables(_tables([queries[i] for i in kept], [passages[i] for i in kept]), file)
    tables = load_tables(file)
    keys = np.asarray(tables["keys"], dtype=np.int64)
    source = PairSource(
        # what is mined for a source is cached by its name
        f"{NAME}-{hashlib.blake2b(keys.tobytes(), digest_size=6).hexdigest()}",
        float(np.mean([pair.weight for pair in data.pairs])),
        _token_table(tables, "query"),
        _token_table(tables, "passage"),
        keys,
        np.arange(len(keys)),
        np.arange(0),
    )
    return source, {"written": n, "found_again": len(keys)}


@torch.inference_mode()
def sample_tokens(model: LbrModel, compressed: Tensor, n_tokens: int, *, seed: int) -> Tensor:
    """Tokens that the decoder writes when it has read nothing but Z.

    Args:
        model: in evaluation mode.
        compressed: Z (B, k, D).
        n_tokens: how many; targets of stage 1 have no end mark, so their length is given.
        seed: of the draws.

    Returns:
        (B, n_tokens) int64.
    """
    generator = torch.Generator(compressed.device).manual_seed(seed)
    inputs = model.bridge(compressed)  # (B, k, D), then one place longer at every token
    written: list[Tensor] = []
    for _ in range(n_tokens):
        last = model.backbone.states(inputs)[:, -1]
        logits, tokens = model.backbone.logits(last).float().topk(TOP_TOKENS, dim=-1)
        drawn = torch.multinomial((logits / TEMPERATURE).softmax(-1), 1, generator=generator)
        token = tokens.gather(1, drawn)  # (B, 1)
        written.append(token)
        inputs = torch.cat([inputs, model.backbone.embedding(token)], dim=1)
    return torch.cat(written, dim=1)


def round_trip(
    model: LbrModel, queries: list[list[int]], passages: list[list[int]]
) -> NDArray[np.bool_]:
    """Which queries score their own passage above all others of a pool of `POOL`.

    Args:
        model: in evaluation mode.
        queries: N token lists with their prompts.
        passages: N, the own passage of each query.

    Returns:
        (N,) bool.
    """
    device = model.compression.device
    query_emb = encode_token_ids(model, queries, device=device)
    passage_emb = encode_token_ids(model, passages, device=device)
    is_found = np.zeros(len(queries), dtype=bool)
    for start in range(0, len(queries), POOL):
        rows = slice(start, start + POOL)
        scores = query_emb[rows] @ passage_emb[rows].T  # (POOL, POOL)
        own = np.diagonal(scores).copy()
        np.fill_diagonal(scores, -np.inf)
        is_found[rows] = own > scores.max(axis=1)
    return is_found


def _passages(
    data: TrainingData, limits: Stage2Config, n: int, rng: np.random.Generator
) -> list[list[int]]:
    """Beginnings of documents, sources by their weights; documents may come again."""
    weights = np.array([source.weight for source in data.text])
    chosen = rng.choice(len(weights), size=n, p=weights / weights.sum())
    return [
        data.text[i].texts.row(
            int(rng.integers(len(data.text[i].texts))), limit=limits.passage_tokens
        )
        for i in chosen
    ]


def _queries(
    model: LbrModel,
    data: TrainingData,
    limits: Stage2Config,
    passages: list[list[int]],
    seed: int,
) -> list[list[int]]:
    """One query a passage, as long as some query of the pairs is."""
    known = np.concatenate([pair.queries.lengths[pair.train] for pair in data.pairs])
    lengths = np.random.default_rng([seed, 5]).choice(known, size=len(passages))
    lengths = lengths.clip(1, limits.query_tokens)
    queries: list[list[int]] = []
    for start in range(0, len(passages), _BATCH):
        texts = [data.passage_prompt + ids for ids in passages[start : start + _BATCH]]
        batch = collate(texts, n_compression_tokens=model.n_compression_tokens)
        with torch.inference_mode():
            compressed, _ = model.compress(batch.to(model.compression.device))
        own = lengths[start : start + _BATCH]
        tokens = sample_tokens(model, compressed, int(own.max()), seed=seed + start).tolist()
        queries.extend(row[:length] for row, length in zip(tokens, own, strict=True))
    return queries


def _tables(queries: list[list[int]], passages: list[list[int]]) -> dict[str, NDArray[np.generic]]:
    keys = [
        [_key(passage), _key(query), _key(passage)]
        for query, passage in zip(queries, passages, strict=True)
    ]
    tables: dict[str, NDArray[np.generic]] = {"keys": np.array(keys, dtype=np.int64).reshape(-1, 3)}
    for name, rows in (("query", queries), ("passage", passages)):
        lengths = [len(row) for row in rows]
        tables[f"{name}_ids"] = np.array([i for row in rows for i in row], dtype=np.int32)
        tables[f"{name}_offsets"] = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    return tables


def _token_table(tables: dict[str, NDArray[np.generic]], name: str) -> TokenTable:
    ids, offsets = tables[f"{name}_ids"], tables[f"{name}_offsets"]
    return TokenTable(np.asarray(ids, dtype=np.int32), np.asarray(offsets, dtype=np.int64))


def _key(ids: list[int]) -> int:
    digest = hashlib.blake2b(np.array(ids, dtype=np.int32).tobytes(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)
