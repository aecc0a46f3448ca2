"""Training sources -> token tables, cached; what test suites hold and what repeats is left out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lbr_search.config import fingerprint
from lbr_search.corpus.compressed import read_lines
from lbr_search.corpus.suite import discover_suites, load_suite
from lbr_search.encoder.batching import prompt_token_ids
from lbr_search.errors import CorpusError
from lbr_search.train.overlap import HeldOut, held_out_of
from lbr_search.train.recipe import DataConfig
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

Tables = dict[str, NDArray[Any]]


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
    """Source -> what was read of it, and what was left out."""


def read_text(path: Path) -> Iterator[str]:
    """Title and text of each line of a JSON-lines file."""
    for _, record in _records(path, ("text",)):
        yield passage_text(record.get("title", ""), record["text"])


def read_pairs(path: Path) -> Iterator[tuple[str, str, str]]:
    """(query, passage, group) of each line; a title that repeats the query is left out.

    Without that, name -> "name definition" would teach nothing but copying.

    Args:
        path: a JSON-lines file of ``query, title, positive, group``, or a BEIR folder, of which
            the train split is read; its group is the document.
    """
    if path.is_dir():
        yield from _suite_pairs(path)
        return
    for _, record in _records(path, ("query", "positive")):
        title = record.get("title", "")
        is_copy = title.strip().lower() == record["query"].strip().lower()
        passage = passage_text("" if is_copy else title, record["positive"])
        yield record["query"], passage, record.get("group", "")


def _suite_pairs(folder: Path) -> Iterator[tuple[str, str, str]]:
    suite = load_suite(folder, split="train", home=folder)
    queries = {query.query_id: query.text for query in suite.queries}
    asked: dict[str, list[str]] = {}
    for query_id, grades in suite.qrels.items():
        for doc_id, grade in grades.items():
            if grade > 0:
                asked.setdefault(doc_id, []).append(queries[query_id])
    for document in suite.documents():
        for query in asked.get(document.doc_id, []):
            yield query, passage_text(document.title, document.text), document.doc_id


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
    reading = _Reading(config, folder, tokenizer, cache)
    text, pairs, counts = [], [], {}
    for name, weight in config.text.items():
        tables = reading.tables(name, _text_tables)
        source = TextSource(name, weight, TokenTable(tables["ids"], tables["offsets"]))
        text.append(source)
        counts[name] = {
            "documents": len(source.texts),
            "held_out": int(tables["n_held_out"][0]),
            "tokens": len(source.texts.ids),
        }
    for name, weight in config.pairs.items():
        tables = reading.tables(name, _pair_tables)
        pair_source = _pair_source(name, weight, tables)
        pairs.append(pair_source)
        counts[name] = {
            "train": len(pair_source.train),
            "dev": len(pair_source.dev),
            "duplicates_dropped": int(tables["n_duplicates"][0]),
            "held_out": int(tables["n_held_out"][0]),
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


def _pair_source(name: str, weight: float, tables: Tables) -> PairSource:
    return PairSource(
        name,
        weight,
        TokenTable(tables["query_ids"], tables["query_offsets"]),
        TokenTable(tables["passage_ids"], tables["passage_offsets"]),
        tables["keys"],
        tables["train"],
        tables["dev"],
    )


class _Reading:
    """Sources as token tables: read from the cache, or made and put there.

    Args:
        config: what is read of each source.
        folder: what their names are relative to.
        tokenizer: of the model.
        cache: folder of the tables.
    """

    def __init__(self, config: DataConfig, folder: Path, tokenizer: Tokenizer, cache: Path) -> None:
        self.config = config
        self.tokenizer = tokenizer
        self._folder = folder
        self._cache = cache
        self._suites = _held_out_suites(folder, config.held_out)
        self._identity = {
            "limits": [config.max_text_chars, config.dev_pairs, config.seed],
            "tokenizer": fingerprint({"tokenizer": tokenizer.to_str()}),
            "held_out": [
                [str(file), file.stat().st_size]
                for suite in self._suites
                for file in sorted(suite.rglob("*.*"))
            ],
        }

    @cached_property
    def held_out(self) -> HeldOut:
        """Made when a source has to be read, and not before: it takes seconds."""
        return held_out_of(self._suites)

    def tables(self, name: str, make: Callable[[Path, _Reading], Tables]) -> Tables:
        """Tables of one source, remade when the file, the limits or the tokenizer differ."""
        path = _source_path(self._folder, name)
        parts = sorted(path.rglob("*.*")) if path.is_dir() else [path]
        file = [[str(part.resolve()), part.stat().st_size] for part in parts]
        identity = fingerprint({**self._identity, "file": file, "kind": make.__name__})
        target = self._cache / f"{path.name.split('.')[0]}-{identity[:16]}.safetensors"
        if not target.is_file():
            save_tables(make(path, self), target)
        return load_tables(target)


def _held_out_suites(folder: Path, name: str) -> list[Path]:
    if not name:
        return []
    if not (folder / name).is_dir():
        raise CorpusError(
            f"the held-out suites {name!r} are not under {folder}.",
            "give the folder that holds them with --data DIR, or --set data.held_out=FOLDER",
        )
    return discover_suites(folder / name)


def _text_tables(path: Path, reading: _Reading) -> Tables:
    texts = list(take_chars(read_text(path), reading.config.max_text_chars))
    kept = [text for text in texts if not reading.held_out.overlaps(text)]
    table = token_table(reading.tokenizer, kept)
    return {
        "ids": table.ids,
        "offsets": table.offsets,
        "n_held_out": np.array([len(texts) - len(kept)]),
    }


def _pair_tables(path: Path, reading: _Reading) -> Tables:
    config, tokenizer = reading.config, reading.tokenizer
    unique: dict[tuple[str, str], str] = {}
    n_read = 0
    for query, passage, group in read_pairs(path):
        n_read += 1
        unique.setdefault((query, passage), group)
    kept = {
        (query, passage): group
        for (query, passage), group in unique.items()
        if not reading.held_out.overlaps(query) and not reading.held_out.overlaps(passage)
    }
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
        "n_duplicates": np.array([n_read - len(unique)]),
        "n_held_out": np.array([len(unique) - len(kept)]),
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


def _source_path(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.exists():
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
