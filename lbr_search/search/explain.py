"""Why a hit stands where it stands: its legs, its words, and what its vectors kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lbr_search.protocols import CompressingEncoder
from lbr_search.search.pipeline import Pipeline
from lbr_search.search.sources import EncoderPool, Source
from lbr_search.types import Expansion, Hit

KEPT_TOKENS = 24
"""Length of the text that the decoder writes from a hit's stored vectors."""
LONGEST_LOOP = 4
"""Words that, repeated at once, end that text."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """What put one hit in its place. Scores are raw: a fused score is no similarity.

    Attributes:
        fusion: how the legs became one ranking, and who chose that; "" with one leg.
        terms: terms of the query that the hit's chunk holds -> what each adds to its BM25 score,
            largest first.
        expansions: what was added to the query in this hit's index.
        notes: what could not be read in the query as it was written, e.g. a structure.
        negative: the text that was not looked for, "" = none.
        taken_off: leg -> what the negative text took off its score; for words, the weights below 0
            among `terms`.
        kept: what the decoder writes from the chunk's stored vectors alone; "" where the index
            keeps none.
    """

    hit: Hit
    fusion: str = ""
    terms: Mapping[str, float] = field(default_factory=dict)
    expansions: tuple[Expansion, ...] = ()
    notes: tuple[str, ...] = ()
    negative: str = ""
    taken_off: Mapping[str, float] = field(default_factory=dict)
    kept: str = ""

    def lines(self) -> list[str]:
        """The explanation in words, one fact a line."""
        legs = [
            f"{name} rank {leg.rank}, score {leg.score:.3f}" for name, leg in self.hit.legs.items()
        ]
        said = ["found by " + "; ".join(legs)]
        if self.hit.domains:
            shares = [f"{name} {share:.2f}" for name, share in self.hit.domains.items()]
            said.append(f"the query's domain: {', '.join(shares)}")
        if self.fusion:
            said.append(f"fused by {self.fusion}")
        if self.terms:
            words = ", ".join(f"{term} {weight:.2f}" for term, weight in self.terms.items())
            said.append(f"words and their BM25 weights: {words}")
        if self.negative:
            parts = ", ".join(f"{leg} -{score:.3f}" for leg, score in self.taken_off.items())
            said.append(f"not {self.negative!r}: {parts}")
        said.extend(self.notes)
        for added in self.expansions:
            said.append(f"{added.matched} also as {added.added} ({added.source}, {added.weight:g})")
        if self.hit.first_rank:
            said.append(f"reranked: {self.hit.first_rank} -> {self.hit.rank}")
        if self.kept:
            said.append(f"what its vectors kept: {self.kept}")
        return said


def explain(
    query: str,
    hits: Sequence[Hit],
    *,
    pipeline: Pipeline,
    mode: str,
    without: str = "",
    with_kept: bool = True,
) -> list[Explanation]:
    """One explanation a hit, in their order.

    Args:
        query: what was searched for.
        hits: of a searcher with this pipeline.
        pipeline: that made them.
        mode: that they were found in.
        without: what was not looked for.
        with_kept: let the decoder write what the stored vectors kept, a second or so for ten hits.
    """
    explained: dict[tuple[str, str], Explanation] = {}
    negative = next(iter(pipeline.negative(without)), None)
    for name, source in pipeline.sources.items():
        own = [hit for hit in hits if hit.source == name]
        if not own:
            continue
        rows = np.asarray([hit.row for hit in own], dtype=np.int64)
        added = tuple(pipeline.expansions(source, query))
        counted = added if negative is None else (*added, negative)
        terms = source.opened.term_weights(query, rows, counted)
        off = _taken_off(source, rows, terms, negative, pipeline.encoders, mode)
        kept = _kept(source, rows, pipeline.encoders) if with_kept else [""] * len(own)
        is_fused = mode == "hybrid" and source.encoder is not None
        for hit, weights, parts, text in zip(own, terms, off, kept, strict=True):
            explained[name, hit.doc_id] = Explanation(
                hit,
                fusion=source.settings.fusion if is_fused else "",
                terms=dict(sorted(weights.items(), key=lambda item: (-item[1], item[0]))),
                expansions=added,
                notes=tuple(source.opened.notes(query)) if mode != "dense" else (),
                negative=without,
                taken_off=parts,
                kept=text,
            )
    return [explained[hit.source, hit.doc_id] for hit in hits]


def _taken_off(
    source: Source,
    rows: NDArray[np.int64],
    terms: Sequence[Mapping[str, float]],
    negative: Expansion | None,
    pool: EncoderPool,
    mode: str,
) -> list[dict[str, float]]:
    """What a negative text took off each leg's score of some rows."""
    if negative is None:
        return [{} for _ in rows]
    off: list[dict[str, float]] = [{} for _ in rows]
    if mode != "lexical" and source.encoder is not None:
        vector = pool.encode(source.encoder, [negative.added])
        near, scores = source.opened.dense(vector, k=len(rows), allowed=np.unique(rows))
        by_row = dict(zip(near[0].tolist(), scores[0].tolist(), strict=True))
        for parts, row in zip(off, rows.tolist(), strict=True):
            parts["dense"] = -negative.weight * by_row[row]
    if mode != "dense":
        for parts, weights in zip(off, terms, strict=True):
            parts["lexical"] = -sum(weight for weight in weights.values() if weight < 0)
    return off


def _kept(source: Source, rows: NDArray[np.int64], pool: EncoderPool) -> list[str]:
    stored = source.opened.multi_vectors(rows)
    if stored is None or not isinstance(source.encoder, CompressingEncoder):
        return [""] * len(rows)
    with pool.use():
        written = source.encoder.generate(stored, max_tokens=KEPT_TOKENS)
    return [without_loop(text) for text in written]


def without_loop(text: str) -> str:
    """A text up to where one to four words begin to repeat themselves, as small decoders do.

    >>> without_loop("what is (are) bone of the bone of the bone")
    'what is (are) bone of the …'
    """
    words = text.split()
    for end in range(1, len(words)):
        for length in range(1, min(LONGEST_LOOP, end) + 1):
            if words[end - length : end] == words[end : end + length]:
                return " ".join([*words[:end], "…"])
    return text
