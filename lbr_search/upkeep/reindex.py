"""`reindex`: another encoder for an index, compared with the one before, then swapped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lbr_search.encoder.load import load_encoder
from lbr_search.errors import (
    ConfigError,
    EncoderError,
    IndexFormatError,
    MissingExtraError,
    SealError,
)
from lbr_search.index.lock import writing
from lbr_search.index.manifest import IndexManifest, load_manifest, load_seal
from lbr_search.index.opened import OpenedIndex
from lbr_search.index.reindex import Shadow, build_shadow, drop_before, swap
from lbr_search.index.reindex import take_back as take_back_state
from lbr_search.index.report import BuildProgress
from lbr_search.protocols import Encoder

N_QUERIES = 64
QUERY_WORDS = 12
K = 10
MIN_OWN_SHARE = 0.5
"""Of what the old encoder finds (or of all): below it the new one is not put in its place."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Old and new encoder on the same index: queries are the first words of sampled chunks."""

    n_documents: tuple[int, int]
    n_chunks: tuple[int, int]
    """Before and after."""
    n_queries: int
    own: float
    """Share of the queries whose own document the new encoder finds among ten."""
    own_before: float | None
    """The same of the old encoder; None = it could not be opened."""
    overlap_at_10: float | None
    """Mean share of the ten documents that both find."""

    @property
    def is_sound(self) -> bool:
        """Whether nothing was lost, and the new encoder finds what it should."""
        if (self.n_documents[0], self.n_chunks[0]) != (self.n_documents[1], self.n_chunks[1]):
            return False
        return self.own >= MIN_OWN_SHARE * (1.0 if self.own_before is None else self.own_before)


@dataclass(frozen=True, slots=True)
class ReindexReport:
    """What a change of encoder did."""

    index: Path
    before: str
    """Name of the encoder before."""
    after: str
    shadow: Shadow
    comparison: Comparison


def reindex(
    index: Path,
    encoder: Encoder,
    *,
    old_encoder: Encoder | None = None,
    force: bool = False,
    progress: Callable[[BuildProgress], None] | None = None,
) -> ReindexReport:
    """Give an index another encoder, from its stored texts; the sources are not read.

    A shadow is built beside the index, which is searched all the while. It takes the place of
    the present state when counts agree and queries find their own documents. A run that was
    stopped goes on. The state before is kept until `drop_before`, and can be taken back.

    Args:
        index: a published index.
        encoder: the new one.
        old_encoder: for the comparison; None = opened by the seal, where that is possible.
        force: swap whatever the comparison says.
        progress: called at each phase and encoded batch.

    Raises:
        IndexFormatError: the same encoder, a state before is kept, another writer, damage; or
            the comparison speaks against it.
    """
    with writing(index) as present:
        shadow = build_shadow(index, present, encoder, progress)
        old = old_encoder or _open_old(present)
        comparison = compare(index, present, shadow.manifest, old, encoder)
        if not comparison.is_sound and not force:
            raise IndexFormatError(
                f"{encoder.name} does not fit {index}; the index is as it was.\n"
                f"  documents   {comparison.n_documents[0]:,} before, "
                f"{comparison.n_documents[1]:,} after\n"
                f"  own document found  {comparison.own:.2f} of {comparison.n_queries} queries, "
                f"before {comparison.own_before}",
                "take another encoder, or swap all the same with --force",
            )
        swap(index, present, shadow.manifest)
    return ReindexReport(index, present.seal.encoder_name, encoder.name, shadow, comparison)


def compare(
    index: Path,
    present: IndexManifest,
    shadow: IndexManifest,
    old: Encoder | None,
    new: Encoder,
) -> Comparison:
    """Search both states for the first words of chunks spread over the index."""
    with OpenedIndex(index, shadow) as after, OpenedIndex(index, present) as before:
        rows = after._payload.row_ids
        chosen = np.unique(np.linspace(0, len(rows) - 1, N_QUERIES).astype(np.int64))
        chunks = [chunk for chunk in after.fetch(rows[chosen]) if chunk.text.strip()]
        queries = [" ".join(chunk.text.split()[:QUERY_WORDS]) for chunk in chunks]
        own = [chunk.doc_id for chunk in chunks]
        found = _found(after, new, queries)
        earlier = _found(before, old, queries) if old is not None else None
    return Comparison(
        n_documents=(present.n_documents, shadow.n_documents),
        n_chunks=(present.n_chunks, shadow.n_chunks),
        n_queries=len(queries),
        own=_share(own, found),
        own_before=_share(own, earlier) if earlier is not None else None,
        overlap_at_10=_overlap(earlier, found) if earlier is not None else None,
    )


def _found(opened: OpenedIndex, encoder: Encoder, queries: list[str]) -> list[set[str]]:
    if not queries:
        return []
    rows, _ = opened.dense(encoder.encode_queries(queries), k=K)
    return [set(opened.doc_ids(line[line >= 0])) for line in rows]


def _share(own: list[str], found: list[set[str]]) -> float:
    hits = [doc_id in ids for doc_id, ids in zip(own, found, strict=True)]
    return float(np.mean(hits)) if hits else 1.0


def _overlap(left: list[set[str]], right: list[set[str]]) -> float:
    shares = [len(a & b) / max(1, len(a)) for a, b in zip(left, right, strict=True)]
    return float(np.mean(shares)) if shares else 1.0


def _open_old(present: IndexManifest) -> Encoder | None:
    """The encoder of the seal, if it is still there and the same."""
    try:
        old = load_encoder(present.seal.encoder_spec)
    except (EncoderError, MissingExtraError, SealError):
        return None
    return old if old.fingerprint == present.seal.fingerprint else None


def change_state(index: Path, *, take_back: bool) -> IndexManifest:
    """Go back to the encoder before, or remove its state; returns that state.

    Raises:
        IndexFormatError: none is kept, or the index was written since; another writer.
    """
    with writing(index) as present:
        change = take_back_state if take_back else drop_before
        return change(index, present)


def one_of(**wanted: bool) -> None:
    """Refuse none or several of the things that one command can do.

    Raises:
        ConfigError: not exactly one.
    """
    names = [f"--{name.replace('_', '-')}" for name in wanted]
    if sum(wanted.values()) != 1:
        raise ConfigError("reindex does one thing at a time.", f"give one of {', '.join(names)}")


def sealed_encoder(index: Path) -> Encoder:
    """The encoder that an index is sealed to, opened by what the seal says.

    Raises:
        IndexFormatError: there is no index.
        EncoderError, MissingExtraError: it cannot be opened.
    """
    seal = load_seal(index)
    if seal is None:
        load_manifest(index)  # raises the error that fits
    assert seal is not None, "an index without a seal was refused"
    return load_encoder(seal.encoder_spec)
