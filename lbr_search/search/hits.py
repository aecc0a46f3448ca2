"""Candidates -> hits with their texts; near-identical hits folded into one."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence

import numpy as np

from lbr_search.index.opened import StoredChunk
from lbr_search.search.ranking import Candidate
from lbr_search.search.sources import Source
from lbr_search.types import Hit, passage_text

SHINGLE_WORDS = 3
SAME = 0.9
"""Share of common shingles from which two texts count as one; one word in sixty may differ."""
WORD = re.compile(r"\w+")


def hits_of(
    rankings: Sequence[Sequence[Candidate]], sources: Mapping[str, Source]
) -> list[list[Hit]]:
    """The hits of each ranking, with the texts of their chunks, read together."""
    stored = {}
    for name, source in sources.items():
        rows = [found.row for ranking in rankings for found in ranking if found.source == name]
        if rows:
            unique = np.unique(np.asarray(rows, dtype=np.int64))
            chunks = source.opened.fetch(unique)
            stored.update({(name, chunk.row_id): chunk for chunk in chunks})
    return [
        [
            _hit(number, found, stored[found.source, found.row])
            for number, found in enumerate(ranking, start=1)
        ]
        for ranking in rankings
    ]


def _hit(rank: int, found: Candidate, chunk: StoredChunk) -> Hit:
    return Hit(
        rank=rank,
        doc_id=found.doc_id,
        chunk_id=f"{chunk.doc_id}#{chunk.chunk_no}",
        score=found.score,
        title=chunk.title,
        text=chunk.text,
        domain=chunk.domain,
        source=found.source,
        metadata=chunk.metadata,
        legs=found.legs,
        row=found.row,
        first_rank=found.first_rank,
        domains=found.domains,
    )


def fold(hits: Sequence[Hit]) -> list[Hit]:
    """Hits without those whose text nearly equals a better hit's; each names what it stands for.

    Two texts are the same where the Jaccard similarity of their runs of three words is at least
    `SAME` (Broder 1997, "On the resemblance and containment of documents"), title included. A hit
    that is folded belongs to the best hit that it equals. Ranks are counted anew.
    """
    kept: list[tuple[Hit, frozenset[str]]] = []
    folded: dict[int, list[str]] = {}
    for hit in hits:
        own = shingles(passage_text(hit.title, hit.text))
        same = next((n for n, (_, other) in enumerate(kept) if _jaccard(own, other) >= SAME), None)
        if same is None:
            kept.append((hit, own))
        else:
            folded.setdefault(same, []).append(hit.doc_id)
    return [
        dataclasses.replace(hit, rank=number + 1, folded=tuple(folded.get(number, ())))
        for number, (hit, _) in enumerate(kept)
    ]


def shingles(text: str) -> frozenset[str]:
    """Every run of three words, in lower case; a shorter text is one.

    >>> sorted(shingles("The cat sat. Down!"))
    ['cat sat down', 'the cat sat']
    """
    words = WORD.findall(text.lower())
    last = max(1, len(words) - SHINGLE_WORDS + 1)
    return frozenset(" ".join(words[n : n + SHINGLE_WORDS]) for n in range(last))


def _jaccard(first: frozenset[str], second: frozenset[str]) -> float:
    smaller, larger = sorted((len(first), len(second)))
    if smaller < SAME * larger:  # cannot reach it
        return 0.0
    common = len(first & second)
    return common / (smaller + larger - common)
