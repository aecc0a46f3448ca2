"""Sources -> token tables -> batches.

A batch is a pure function of (data, settings, seed, step), so a resumed run sees what an
uninterrupted one would have seen.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from lbr_search.config import fingerprint
from lbr_search.corpus.compressed import read_lines
from lbr_search.encoder.batching import TokenBatch, collate, prompt_token_ids
from lbr_search.errors import CorpusError
from lbr_search.train.recipe import DataConfig, Stage1Config, Stage2Config
from lbr_search.train.tokens import (
    TokenTable,
    load_tables,
    save_tables,
    take_chars,
    token_table,
)
from lbr_search.types import passage_text

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Source = TypeVar("Source", "TextSource", "PairSource")


@dataclass(frozen=True, slots=True)
class TextSource:
    """Documents to learn from."""

    name: str
    weight: float
    texts: TokenTable


@dataclass(frozen=True, slots=True)
class PairSource:
    """Query-passage pairs. Rows that share a key are never each other's negatives.

    Attributes:
        keys: (N, 3) int64: group, query text, passage text.
        train: rows that training may use.
        dev: rows held out, of groups that no training row has.
    """

    name: str
    weight: float
    queries: TokenTable
    passages: TokenTable
    keys: NDArray[np.int64]
    train: NDArray[np.int64]
    dev: NDArray[np.int64]

    @property
    def domain(self) -> str:
        """The folder that the source lies in, such as medical."""
        return Path(self.name).parent.name


@dataclass(frozen=True, slots=True)
class TrainingData:
    """All sources of a run, tokenised, with the prompts' ids."""

    text: list[TextSource]
    pairs: list[PairSource]
    query_prompt: list[int]
    passage_prompt: list[int]
    n_compression_tokens: int
    vocab_size: int
    counts: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Stage1Batch:
    """Texts x, with places for the compression tokens, and targets y."""

    text: TokenBatch
    target: TokenBatch


@dataclass(frozen=True, slots=True)
class Stage2Batch:
    """B queries, B * G passages (the positive first), and what must not be a negative.

    Attributes:
        excluded: (B, B * G) bool, true = shares a key with the query's own pair.
        target: the queries as targets of `NLL(q | Z(d))`, without prompt.
    """

    queries: TokenBatch
    passages: TokenBatch
    excluded: NDArray[np.bool_]
    target: TokenBatch


def read_text(path: Path) -> Iterator[str]:
    """Title and text of each line of a JSON-lines file."""
    for _, record in _records(path, ("text",)):
        yield passage_text(record.get("title", ""), record["text"])


def read_pairs(path: Path) -> Iterator[tuple[str, str, str]]:
    """(query, passage, group) of each line; a title that repeats the query is left out.

    Without that, name -> "name definition" would teach nothing but copying.
    """
    for _, record in _records(path, ("query", "positive")):
        title = record.get("title", "")
        is_copy = title.strip().lower() == record["query"].strip().lower()
        passage = passage_text("" if is_copy else title, record["positive"])
        yield record["query"], passage, record.get("group", "")


def tokenizer_texts(config: DataConfig, folder: Path) -> Iterator[str]:
    """What a tokenizer is trained on: the same number of characters of every source."""
    for name in config.text:
        yield from take_chars(read_text(_source_path(folder, name)), config.tokenizer_chars)
    for name in config.pairs:
        pairs = read_pairs(_source_path(folder, name))
        joined = (f"{query}\n{passage}" for query, passage, _ in pairs)
        yield from take_chars(joined, config.tokenizer_chars)


def load_data(
    config: DataConfig,
    folder: Path,
    *,
    tokenizer: Tokenizer,
    prompts: tuple[str, str],
    n_compression_tokens: int,
    cache: Path,
) -> TrainingData:
    """Tokenise all sources, or read them from `cache` when nothing changed.

    Args:
        config: names and weights of the sources.
        folder: what the names are relative to.
        tokenizer: of the model.
        prompts: query prompt, passage prompt.
        n_compression_tokens: k, places that batches keep behind each text.
        cache: folder for the token tables; made if absent.

    Raises:
        CorpusError: a source is missing or a line of it is broken.
    """
    cache.mkdir(parents=True, exist_ok=True)
    vocabulary = fingerprint({"tokenizer": tokenizer.to_str()})
    text, pairs, counts = [], [], {}
    for name, weight in config.text.items():
        path = _source_path(folder, name)
        tables = _cached(cache, path, config, vocabulary, _text_tables, tokenizer)
        source = TextSource(name, weight, TokenTable(tables["ids"], tables["offsets"]))
        text.append(source)
        counts[name] = {"documents": len(source.texts), "tokens": len(source.texts.ids)}
    for name, weight in config.pairs.items():
        path = _source_path(folder, name)
        tables = _cached(cache, path, config, vocabulary, _pair_tables, tokenizer)
        pair_source = _pair_source(name, weight, tables)
        pairs.append(pair_source)
        counts[name] = {
            "train": len(pair_source.train),
            "dev": len(pair_source.dev),
            "duplicates_dropped": int(tables["n_duplicates"][0]),
            "tokens": len(pair_source.queries.ids) + len(pair_source.passages.ids),
        }
    query_prompt, passage_prompt = (prompt_token_ids(tokenizer, prompt) for prompt in prompts)
    return TrainingData(
        text,
        pairs,
        query_prompt,
        passage_prompt,
        n_compression_tokens,
        tokenizer.get_vocab_size(),
        counts,
    )


def stage1_batch(data: TrainingData, config: Stage1Config, *, seed: int, step: int) -> Stage1Batch:
    """Texts x and what follows them (or themselves, or a query that they answer) as y.

    All x of a batch have nearly one length, so that little is spent on padding.
    """
    rng = np.random.default_rng([seed, 1, step])
    if not data.text or config.pair_share > rng.random():
        samples = _pair_samples(data, config, rng)
    else:
        samples = _text_samples(data, config, rng)
    texts = [data.passage_prompt + text for text, _ in samples]
    return Stage1Batch(
        collate(texts, n_compression_tokens=data.n_compression_tokens),
        collate([target for _, target in samples], n_compression_tokens=0),
    )


def stage2_batch(
    data: TrainingData,
    config: Stage2Config,
    *,
    seed: int,
    step: int,
    negatives: dict[str, NDArray[np.int64]] | None = None,
) -> Stage2Batch:
    """Pairs of one source and of similar length: each passage is a hard negative of the others.

    Args:
        data: sources.
        config: batch size and limits.
        seed: of the run.
        step: number of the batch.
        negatives: source name -> (N, n) mined rows of each pair, -1 = none.
    """
    rng = np.random.default_rng([seed, 2, step])
    source = _pick(data.pairs, rng)
    n = min(config.batch_size, len(source.train))
    rows = _similar_length(source, rng, n)
    passage_rows = rows[:, None]
    if negatives is not None and config.hard_negatives:
        mined = negatives[source.name][rows][:, : config.hard_negatives]
        # a query with too few mined passages takes other pairs' passages in their place
        filler = rng.choice(source.train, size=mined.shape)
        passage_rows = np.concatenate([passage_rows, np.where(mined < 0, filler, mined)], axis=1)
    passage_rows = passage_rows.reshape(-1)
    keys, other = source.keys[rows], source.keys[passage_rows]
    excluded = (keys[:, None, :] == other[None, :, :]).any(axis=2)
    queries = [source.queries.row(int(row), limit=config.query_tokens) for row in rows]
    passages = [source.passages.row(int(row), limit=config.passage_tokens) for row in passage_rows]
    k = data.n_compression_tokens
    return Stage2Batch(
        collate([data.query_prompt + ids for ids in queries], n_compression_tokens=k),
        collate([data.passage_prompt + ids for ids in passages], n_compression_tokens=k),
        excluded,
        collate(queries, n_compression_tokens=0),
    )


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


def _pair_source(name: str, weight: float, tables: dict[str, Any]) -> PairSource:
    return PairSource(
        name,
        weight,
        TokenTable(tables["query_ids"], tables["query_offsets"]),
        TokenTable(tables["passage_ids"], tables["passage_offsets"]),
        tables["keys"],
        tables["train"],
        tables["dev"],
    )


def _text_tables(path: Path, config: DataConfig, tokenizer: Tokenizer) -> dict[str, NDArray[Any]]:
    table = token_table(tokenizer, list(take_chars(read_text(path), config.max_text_chars)))
    return {"ids": table.ids, "offsets": table.offsets}


def _pair_tables(path: Path, config: DataConfig, tokenizer: Tokenizer) -> dict[str, NDArray[Any]]:
    kept: dict[tuple[str, str], str] = {}
    n_read = 0
    for query, passage, group in read_pairs(path):
        n_read += 1
        kept.setdefault((query, passage), group)
    queries = token_table(tokenizer, [query for query, _ in kept])
    passages = token_table(tokenizer, [passage for _, passage in kept])
    keys = np.array(
        [
            (_key("group", group or passage), _key("query", query), _key("passage", passage))
            for (query, passage), group in kept.items()
        ],
        dtype=np.int64,
    ).reshape(-1, 3)
    has_tokens = (queries.lengths > 0) & (passages.lengths > 0)
    is_dev = has_tokens & _is_held_out(keys[:, 0], config)
    return {
        "query_ids": queries.ids,
        "query_offsets": queries.offsets,
        "passage_ids": passages.ids,
        "passage_offsets": passages.offsets,
        "keys": keys,
        "train": np.flatnonzero(has_tokens & ~is_dev),
        "dev": np.flatnonzero(is_dev),
        "n_duplicates": np.array([n_read - len(kept)]),
    }


def _is_held_out(groups: NDArray[np.int64], config: DataConfig) -> NDArray[np.bool_]:
    """Whole groups, in an order that only their names decide, until `dev_pairs` are reached."""
    limit = min(config.dev_pairs, len(groups) // 10)
    names, sizes = np.unique(groups, return_counts=True)
    order = np.argsort([_key(str(config.seed), str(name)) for name in names], kind="stable")
    is_taken = np.cumsum(sizes[order]) <= limit
    return np.isin(groups, names[order][is_taken])


def _key(kind: str, text: str) -> int:
    digest = hashlib.blake2b(f"{kind}\0{text}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def _cached(
    cache: Path,
    path: Path,
    config: DataConfig,
    vocabulary: str,
    make: Any,  # noqa: ANN401 - _text_tables or _pair_tables
    tokenizer: Tokenizer,
) -> dict[str, Any]:
    """Tables of one source, remade when the file, the limits or the tokenizer differ."""
    stat = path.stat()
    identity = {
        "file": [str(path.resolve()), stat.st_size, stat.st_mtime_ns],
        "limits": [config.max_text_chars, config.dev_pairs, config.seed],
        "tokenizer": vocabulary,
        "kind": make.__name__,
    }
    target = cache / f"{path.name.split('.')[0]}-{fingerprint(identity)[:16]}.safetensors"
    if not target.is_file():
        save_tables(make(path, config, tokenizer), target)
    return load_tables(target)


def _source_path(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.is_file():
        raise CorpusError(
            f"training data {name!r} is not under {folder}.",
            "give the folder that holds it with --data DIR, or edit [data] of the recipe",
        )
    return path


def _records(path: Path, required: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    for number, line in read_lines(path):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            missing = [name for name in required if not isinstance(record[name], str)]
        except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
            raise CorpusError(
                f"{path}:{number}: not an object with {', '.join(required)}: {error!r}.",
                f"correct or delete line {number} of {path}",
            ) from error
        if missing:
            raise CorpusError(f"{path}:{number}: {missing[0]} is not text.", f"correct {path}")
        yield number, record
