"""What of a suite stands in training texts, and what the scores are without it.

Ways of having seen a text: a run of 13 words in common (Brown et al. 2020, arXiv:2005.14165,
appendix C); a shorter text as a whole within a training text; one below five words as a training
text of its own; or nearly the same text (MinHash over runs of five words, Broder 1997).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lbr_search.corpus.detect import detect_reader
from lbr_search.corpus.duplicates import NEAR, Signatures, band_keys
from lbr_search.corpus.overlap import N_WORDS, WordRuns, runs_of, words_of
from lbr_search.corpus.readers import read_objects
from lbr_search.corpus.rejects import Rejects
from lbr_search.corpus.suite import Suite
from lbr_search.errors import CorpusError
from lbr_search.protocols import CorpusReader, ReadOptions
from lbr_search.registry import READERS

MIN_WORDS = 5
"""Texts of fewer words stand in many others by chance: seen only where a text is the same."""
KINDS = ("same text", "whole text", "13-gram", "near duplicate")
_ID_KEYS = {"_id", "id", "doc_id", "query_id", "corpus_id", "source", "url"}


@dataclass(slots=True)
class SuiteOverlap:
    """What of one suite was seen in training."""

    suite: str
    query_ids: tuple[str, ...]
    n_positives: int
    """Documents that answer a query."""
    n_short: int
    """Queries below `MIN_WORDS`; only the same text counts."""
    queries: dict[str, set[str]] = field(default_factory=dict)
    """query_id -> kinds by which its own text was seen."""
    positives: dict[str, set[str]] = field(default_factory=dict)
    """query_id -> kinds by which a document that answers it was seen."""

    @property
    def n_queries(self) -> int:
        """All that the split judges."""
        return len(self.query_ids)

    @property
    def touched(self) -> set[str]:
        """Queries that were seen themselves or by an answer."""
        return set(self.queries) | set(self.positives)


@dataclass(frozen=True, slots=True)
class _Item:
    """A text of a suite to look for."""

    suite: int
    query_ids: tuple[str, ...]
    is_query: bool
    text: str


class Seen:
    """Looks for the queries and answers of suites in training texts, one text at a time."""

    def __init__(self, suites: Sequence[Suite]) -> None:
        self.overlaps: list[SuiteOverlap] = []
        self._items: list[_Item] = []
        for number, suite in enumerate(suites):
            self._add_suite(number, suite)
        self._words, self._signer = WordRuns(N_WORDS), Signatures()
        self._signatures: dict[int, NDArray[np.uint32]] = {}
        self._buckets: dict[bytes, list[int]] = {}
        self._by_length: dict[int, _Runs] = {}
        self._short: dict[tuple[str, ...], list[int]] = {}
        self._index()

    def look_in(self, text: str) -> None:
        """Note every item that this training text holds."""
        codes = self._words.codes(text)
        if len(codes) < MIN_WORDS:
            self._note(self._short.get(tuple(words_of(text)), ()), "same text")
        for length, runs in self._by_length.items():
            kind = "13-gram" if length == N_WORDS else "whole text"
            self._note(runs.owners(runs_of(codes, length)), kind)
        signature = self._signer.of(text)
        if signature is None:
            return
        met = {n for key in band_keys(signature) for n in self._buckets.get(key, ())}
        near = [n for n in met if (self._signatures[n] == signature).mean() >= NEAR]
        self._note(near, "near duplicate")

    def _note(self, items: Iterable[int], kind: str) -> None:
        for number in items:
            item = self._items[number]
            overlap = self.overlaps[item.suite]
            kinds = overlap.queries if item.is_query else overlap.positives
            for query_id in item.query_ids:
                kinds.setdefault(query_id, set()).add(kind)

    def _add_suite(self, number: int, suite: Suite) -> None:
        asked_by: dict[str, list[str]] = {}
        for query in suite.queries:
            self._items.append(_Item(number, (query.query_id,), True, query.text))
            for doc_id, grade in suite.qrels[query.query_id].items():
                if grade > 0:
                    asked_by.setdefault(doc_id, []).append(query.query_id)
        for document in suite.documents():
            if document.doc_id in asked_by:
                query_ids = tuple(asked_by[document.doc_id])
                self._items.append(_Item(number, query_ids, False, document.text))
        words = WordRuns(N_WORDS)
        n_short = sum(len(words.codes(query.text)) < MIN_WORDS for query in suite.queries)
        self.overlaps.append(
            SuiteOverlap(
                suite.name, tuple(q.query_id for q in suite.queries), len(asked_by), n_short
            )
        )

    def _index(self) -> None:
        """Runs of every item by their length, and its signature by its bands."""
        found: dict[int, list[tuple[NDArray[np.uint64], int]]] = {}
        for number, item in enumerate(self._items):
            codes = self._words.codes(item.text)
            if len(codes) >= MIN_WORDS:
                length = min(N_WORDS, len(codes))
                found.setdefault(length, []).append((runs_of(codes, length), number))
            elif len(codes):
                self._short.setdefault(tuple(words_of(item.text)), []).append(number)
            signature = self._signer.of(item.text)
            if signature is not None:
                self._signatures[number] = signature
                for key in band_keys(signature):
                    self._buckets.setdefault(key, []).append(number)
        self._by_length = {length: _Runs(runs) for length, runs in sorted(found.items())}


class _Runs:
    """Hashes of runs, and which items they are from."""

    def __init__(self, runs: Sequence[tuple[NDArray[np.uint64], int]]) -> None:
        hashes = np.concatenate([found for found, _ in runs])
        owners = np.repeat([number for _, number in runs], [len(found) for found, _ in runs])
        order = np.argsort(hashes, kind="stable")
        self._hashes, self._owners = hashes[order], owners[order]

    def owners(self, runs: NDArray[np.uint64]) -> set[int]:
        """Items that share a run."""
        first = np.searchsorted(self._hashes, runs, side="left")
        last = np.searchsorted(self._hashes, runs, side="right")
        met = np.flatnonzero(last > first)
        return {int(n) for m in met for n in self._owners[first[m] : last[m]]}


def find_overlaps(suites: Sequence[Suite], files: Sequence[Path]) -> tuple[list[SuiteOverlap], int]:
    """Look through training files for what suites ask and answer.

    Args:
        suites: with judged queries.
        files: JSON lines, of which every string counts but ids; any other source that `ingest`
            takes.

    Returns:
        One a suite, and how many training texts were read.

    Raises:
        CorpusError: a file is missing or broken, or holds no text.
    """
    seen, n_texts = Seen(suites), 0
    for file in files:
        n_before = n_texts
        for text in training_texts(file):
            seen.look_in(text)
            n_texts += 1
        if n_texts == n_before:
            raise CorpusError(f"{file} holds no training text.", "give files with text in them")
    return seen.overlaps, n_texts


def training_texts(path: Path) -> Iterator[str]:
    """Every text of a training file.

    Raises:
        CorpusError: it is missing, of no known kind, or broken.
    """
    if not path.exists():
        raise CorpusError(f"{path} does not exist.", "give the files that the model was trained on")
    reader = detect_reader(path)
    rejects = Rejects(None, strict=True)
    if reader == "jsonl":
        for _, row in read_objects(path, rejects):
            yield from _strings(row)
        return
    read: CorpusReader = READERS.resolve(reader)
    for document in read(path, options=ReadOptions(), rejects=rejects):
        yield f"{document.title} {document.text}".strip()


def _strings(row: Mapping[str, object]) -> Iterator[str]:
    for key, value in row.items():
        if key in _ID_KEYS:
            continue
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and text.strip():
                yield text
