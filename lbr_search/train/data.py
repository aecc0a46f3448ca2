"""Training sources -> token tables, cached; what test suites hold and what repeats is left out."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lbr_search.config import fingerprint
from lbr_search.encoder.batching import prompt_token_ids
from lbr_search.encoder.read_texts import text_key
from lbr_search.errors import CorpusError
from lbr_search.train.cleaning import CLOZE, PAIRS, STRUCTURE, TEXT, Cleaner, CleanPair
from lbr_search.train.recipe import DataConfig
from lbr_search.train.sources import domain_of, source_path
from lbr_search.train.tokens import TokenTable, load_tables, save_tables, token_table

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Tables = dict[str, NDArray[Any]]
TABLES_VERSION = 3
"""Raised when the same source would give other tables."""


@dataclass(frozen=True, slots=True)
class TextSource:
    """Documents to learn from."""

    name: str
    weight: float
    texts: TokenTable
    keys: NDArray[np.int64]
    """(N,) `text_key` of each text."""


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
        """What its dev measures are gathered by, such as medical."""
        return domain_of(self.name)


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

    def text_keys(self) -> list[NDArray[np.int64]]:
        """`text_key` of all texts and passages, those held out for dev too, by source."""
        return [*(source.keys for source in self.text), *(p.keys[:, 2] for p in self.pairs)]


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
        tables = reading.tables(name, TEXT)
        table = TokenTable(tables["ids"], tables["offsets"])
        text.append(TextSource(name, weight, table, tables["keys"]))
        counts[name] = {**_counts_of(tables), "tokens": len(tables["ids"])}
    for name, weight, kind in pair_sources(config):
        tables = reading.tables(name, kind)
        source = _pair_source(name, weight, tables)
        pairs.append(source)
        n_tokens = len(source.queries.ids) + len(source.passages.ids)
        # a source may give both texts and pairs: its counts stand together
        before = counts.get(name, {})
        read = {"train": len(source.train), "dev": len(source.dev), **_counts_of(tables)}
        summed = Counter(before) + Counter(read)
        counts[name] = {**read, **summed, "tokens": before.get("tokens", 0) + n_tokens}
    _check_dev(pairs)
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


def pair_sources(config: DataConfig) -> list[tuple[str, float, str]]:
    """(name, weight, kind) of all that gives pairs."""
    given = [(name, weight, PAIRS) for name, weight in config.pairs.items()]
    made = ((STRUCTURE, config.structure), (CLOZE, config.cloze))
    return given + [(n, weight, kind) for kind, names in made for n, weight in names.items()]


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
        self._config = config
        self._tokenizer = tokenizer
        self._folder = folder
        self._cache = cache
        self._cleaner = Cleaner(config, folder)
        self._identity = {
            "version": TABLES_VERSION,
            "limits": [
                config.max_text_chars,
                config.dev_pairs,
                config.split_seed,
                config.near_duplicate,
            ],
            "tokenizer": fingerprint({"tokenizer": tokenizer.to_str()}),
            "held_out": [
                [str(file), file.stat().st_size]
                for suite in self._cleaner.suites
                for file in sorted(suite.rglob("*.*"))
            ],
        }

    def tables(self, name: str, kind: str) -> Tables:
        """Tables of one source, remade when the file, the limits or the tokenizer differ."""
        path = source_path(self._folder, name)
        parts = sorted(path.rglob("*.*")) if path.is_dir() else [path]
        file = [[str(part.resolve()), part.stat().st_size] for part in parts]
        identity = fingerprint({**self._identity, "file": file, "kind": kind})
        target = self._cache / f"{path.name.split('.')[0]}-{identity[:16]}.safetensors"
        if not target.is_file():
            make = self._text_tables if kind == TEXT else self._pair_tables
            save_tables(make(name, kind), target)
        return load_tables(target)

    def _text_tables(self, name: str, _kind: str) -> Tables:
        texts, counts = self._cleaner.texts(name)
        table = token_table(self._tokenizer, texts)
        return {
            "ids": table.ids,
            "offsets": table.offsets,
            "keys": np.array([text_key(text) for text in texts], dtype=np.int64),
            "counts": _counts_table(counts),
        }

    def _pair_tables(self, name: str, kind: str) -> Tables:
        pairs, counts = self._cleaner.pairs(name, kind)
        return pair_tables(pairs, self._tokenizer, self._config) | {"counts": _counts_table(counts)}


def pair_tables(pairs: Sequence[CleanPair], tokenizer: Tokenizer, config: DataConfig) -> Tables:
    """Tokens, keys and split of pairs, as `PairSource` holds them."""
    queries = token_table(tokenizer, [pair.query for pair in pairs])
    passages = token_table(tokenizer, [pair.passage for pair in pairs])
    keys = np.array(
        [(_key("group", p.group), _key("query", p.query), text_key(p.passage)) for p in pairs],
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
    }


def _counts_table(counts: dict[str, int]) -> NDArray[np.uint8]:
    """Counts by name as bytes, so that they travel in the same file as the tables."""
    return np.frombuffer(json.dumps(counts).encode(), dtype=np.uint8)


def _counts_of(tables: Tables) -> dict[str, int]:
    counts: dict[str, int] = json.loads(tables["counts"].tobytes())
    return counts


def _check_dev(pairs: list[PairSource]) -> None:
    """Training chooses its best step by held-out pairs, so some source must have a few."""
    if any(len(source.dev) for source in pairs):
        return
    n_pairs = sum(len(source.train) for source in pairs)
    raise CorpusError(
        f"{n_pairs} pairs in {len(pairs)} sources are too few to hold any out for dev evaluation: "
        "a tenth of a source is held out, in whole groups.",
        "give a source with at least ten groups of pairs",
    )


def _is_held_out(groups: NDArray[np.int64], config: DataConfig) -> NDArray[np.bool_]:
    """Whole groups, in an order that only their names decide, until `dev_pairs` are reached."""
    limit = min(config.dev_pairs, len(groups) // 10)
    names, sizes = np.unique(groups, return_counts=True)
    order = np.argsort([_key(str(config.split_seed), str(name)) for name in names], kind="stable")
    is_taken = np.cumsum(sizes[order]) <= limit
    return np.isin(groups, names[order][is_taken])


def _key(kind: str, text: str) -> int:
    digest = hashlib.blake2b(f"{kind}\0{text}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)
