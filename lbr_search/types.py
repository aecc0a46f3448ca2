"""The records that flow through the pipeline.

Axes in comments and docstrings: ``B`` batch, ``T`` tokens, ``D`` vector size, ``N`` rows,
``K`` hits, ``G`` passages per query.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

MetadataValue = str | int | float | bool | None
Embeddings = NDArray[np.float32]
"""(N, D) float32, rows of length 1, C-contiguous."""
Compressed = NDArray[np.float32]
"""(N, k, D) float32: the rows of Z of N texts, as the encoder made them (not of length 1)."""
Qrels = dict[str, dict[str, int]]
"""query_id -> doc_id -> relevance; 0 = judged not relevant."""
Run = dict[str, dict[str, float]]
"""query_id -> doc_id -> score, higher is better; one system."""


def pool(compressed: Compressed) -> Embeddings:
    """e(x): the normalised mean of the rows of Z. (N, k, D) -> (N, D)."""
    mean = compressed.mean(axis=1, dtype=np.float32)
    length = np.linalg.norm(mean, axis=1, keepdims=True)
    return np.ascontiguousarray(mean / np.maximum(length, 1e-12), dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a document's text, from `start` to where the next one begins."""

    start: int
    path: tuple[str, ...] = ()
    """The headings it stands under, outermost first; given to the encoder beside the text."""
    is_break: bool = True
    """Whether a chunk should end before it."""


@dataclass(frozen=True, slots=True)
class Document:
    """One unit of a corpus."""

    doc_id: str
    text: str
    title: str = ""
    domain: str = ""
    metadata: Mapping[str, MetadataValue] = field(default_factory=dict)
    sections: tuple[Section, ...] = ()
    """Its structure, in order; empty = none is known."""

    @property
    def content_hash(self) -> str:
        """Hex digest over everything that a reader of this document would see change."""
        content: list[object] = [self.title, self.text, self.domain, sorted(self.metadata.items())]
        if self.sections:
            content.append([(part.start, part.path, part.is_break) for part in self.sections])
        encoded = json.dumps(content, ensure_ascii=False).encode("utf-8", "surrogatepass")
        return hashlib.blake2b(encoded, digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True)
class Chunk:
    """A span of a document that is indexed; half-open character offsets into its text."""

    doc_id: str
    chunk_no: int
    text: str
    start: int
    end: int
    title: str = ""
    domain: str = ""
    metadata: Mapping[str, MetadataValue] = field(default_factory=dict)
    doc_hash: str = ""

    @property
    def chunk_id(self) -> str:
        """Unique within an index: document and position in it."""
        return f"{self.doc_id}#{self.chunk_no}"

    @property
    def passage(self) -> str:
        """What encoders and the lexical leg read: title, space, text (the BEIR convention)."""
        return passage_text(self.title, self.text)


def passage_text(title: str, text: str) -> str:
    """Join title and text as BEIR does.

    >>> passage_text("Aspirin", "An analgesic."), passage_text("", "An analgesic.")
    ('Aspirin An analgesic.', 'An analgesic.')
    """
    return f"{title} {text}".strip()


@dataclass(frozen=True, slots=True)
class Query:
    """A question put to an index."""

    query_id: str
    text: str


@dataclass(frozen=True, slots=True)
class Leg:
    """Where one retriever (dense, lexical) had put a hit, with its own raw score."""

    rank: int
    score: float


@dataclass(frozen=True, slots=True)
class Hit:
    """One ranked answer. `score` orders hits of one answer; `legs` hold the raw scores."""

    rank: int
    doc_id: str
    chunk_id: str
    score: float
    title: str
    text: str
    domain: str
    source: str
    metadata: Mapping[str, MetadataValue] = field(default_factory=dict)
    legs: Mapping[str, Leg] = field(default_factory=dict)
    """dense and lexical, where they found the document; a reranker by its name, where it scored."""
    row: int = -1
    """Row id of the chunk in its index."""
    first_rank: int = 0
    """Rank before reranking; 0 = not reranked."""
    domains: Mapping[str, float] = field(default_factory=dict)
    """Domain -> probability that the query belongs to it, the likeliest first; empty unless the
    domains to search were found by the query."""
    folded: tuple[str, ...] = ()
    """Documents with nearly the same text, left out of the answer; only where that was asked."""


@dataclass(frozen=True, slots=True)
class Expansion:
    """Words that were added to a query, and why."""

    source: str
    """What knows them: ``abbreviation`` (defined in the corpus), or the file of an ontology."""
    matched: str
    """The words of the query."""
    added: str
    weight: float
    """Of each added term; a term of the query itself has 1. Below 0: what is not looked for."""
