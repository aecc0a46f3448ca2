"""What a build tells: while it runs, and at its end."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class BuildProgress:
    """Where a build stands; given to the progress callback at each phase and encoded batch."""

    phase: str
    n_documents: int
    n_chunks: int
    chunks_per_s: float
    """Chunks read, skipped ones included, since the build began."""
    seconds: float


@dataclass(frozen=True, slots=True)
class BuildReport:
    """What a build did. Counts are documents unless the name says otherwise."""

    n_documents: int
    """Seen in this ingest."""
    n_added: int
    n_updated: int
    n_deleted: int
    n_unchanged: int
    n_resumed: int
    """Found in the store, committed by an ingest that was cut off; not encoded again."""
    n_chunks: int
    """In the index now."""
    n_encoded: int
    """Chunks."""
    n_truncated: int
    """Chunks that the encoder cut."""
    n_tokens_lost: int
    generation: int
    is_noop: bool
    """Nothing had changed: the published index is as it was."""
    vectors: str
    """The vector index, e.g. ``faiss flat``, and why."""
    recall_at_10: float
    size_bytes: int
    seconds: dict[str, float] = field(default_factory=dict)
    """By phase: source, encode, store, payload, vectors, recall, lexical, publish, total."""
    warnings: list[str] = field(default_factory=list)

    @property
    def n_skipped(self) -> int:
        """Documents that were not encoded because the store has them."""
        return self.n_unchanged + self.n_resumed
