"""The first candidates of a ranking, re-scored and mixed with what they had."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from lbr_search.config import SearchConfig
from lbr_search.errors import ConfigError, IndexFormatError
from lbr_search.protocols import Passage, Reranker
from lbr_search.registry import RERANKERS
from lbr_search.search.fusion import Scores, min_max, ranks
from lbr_search.search.ranking import Candidate
from lbr_search.types import Compressed, Leg, passage_text

if TYPE_CHECKING:
    from lbr_search.search.sources import Source

SLICE = 16
"""Candidates scored between two looks at the clock."""


@dataclass(frozen=True, slots=True)
class Reranked:
    """A ranking, and how many of its candidates were scored before the time was up."""

    ranking: list[Candidate]
    n_scored: int
    n_wanted: int


def rerank(
    query: str,
    ranking: Sequence[Candidate],
    *,
    reranker: Reranker,
    passages: Callable[[Sequence[Candidate]], list[Passage]],
    config: SearchConfig,
    query_vectors: Compressed | None = None,
) -> Reranked:
    """Re-score the head of a ranking; what lies deeper, or came too late, keeps its order below.

    The new score is a convex combination of the reranker's and the first stage's scores, each
    min-max normalised over the re-scored candidates (Bruch et al. 2023, as in `fusion.convex`).

    Args:
        query: its text.
        ranking: candidates, best first.
        reranker: scores passages.
        passages: what it may read of some candidates.
        config: name, depth, weight and time of reranking.
        query_vectors: (k, D) of the query, where the dense leg has made them.

    Raises:
        RerankError: the reranker cannot score now.
    """
    n_wanted = min(len(ranking), config.rerank_depth)
    started = time.perf_counter()
    scores: list[float] = []
    limit_s = config.rerank_budget_ms / 1e3
    for start in range(0, n_wanted, SLICE if limit_s else max(n_wanted, 1)):
        if limit_s and start and time.perf_counter() - started > limit_s:
            break
        stop = min(n_wanted, start + SLICE) if limit_s else n_wanted
        some = passages(ranking[start:stop])
        scores.extend(reranker.score(query, some, query_vectors=query_vectors))
    head, tail = ranking[: len(scores)], ranking[len(scores) :]
    ordered = _mixed(head, scores, config)
    below = [
        replace(found, score=-number / len(ranking), first_rank=len(head) + number)
        for number, found in enumerate(tail, start=1)
    ]
    return Reranked(ordered + below, len(scores), n_wanted)


@dataclass(slots=True)
class Contrast:
    """A reranker with a negative text: its score for the query less a share of that for the text.

    Args:
        reranker: scores both.
        negative: what is not looked for.
        weight: of its score.
        negative_vectors: (k, D) of it, where the dense leg has made them.
    """

    reranker: Reranker
    negative: str
    weight: float
    negative_vectors: Compressed | None = None
    needs_vectors: bool = field(init=False)
    is_listwise: bool = field(init=False)

    def __post_init__(self) -> None:
        self.needs_vectors = self.reranker.needs_vectors
        self.is_listwise = self.reranker.is_listwise

    def score(
        self,
        query: str,
        passages: Sequence[Passage],
        *,
        query_vectors: Compressed | None = None,
    ) -> list[float]:
        """One score a passage."""
        wanted = self.reranker.score(query, passages, query_vectors=query_vectors)
        unwanted = self.reranker.score(self.negative, passages, query_vectors=self.negative_vectors)
        return [own - self.weight * other for own, other in zip(wanted, unwanted, strict=True)]


def mix(first: Scores, again: Scores, *, weight: float) -> dict[str, float]:
    """Scores of the same candidates by both stages, each min-max normalised, in one.

    Args:
        first: candidate -> score of the first stage.
        again: candidate -> score of the reranker, for the same ones.
        weight: of the reranker, 0 to 1.

    >>> mix({"a": 3.0, "b": 1.0}, {"a": -9.0, "b": -5.0}, weight=0.25)
    {'a': 0.75, 'b': 0.25}
    """
    before, after = min_max(first), min_max(again)
    return {key: (1 - weight) * before[key] + weight * after[key] for key in again}


def _mixed(
    head: Sequence[Candidate], scores: Sequence[float], config: SearchConfig
) -> list[Candidate]:
    """Candidates in their new order; each keeps its first rank, and the reranker as a leg."""
    own = {found.key: score for found, score in zip(head, scores, strict=True)}
    mixed = mix({found.key: found.score for found in head}, own, weight=config.rerank_weight)
    places = ranks(own)
    by_key = {
        found.key: replace(
            found,
            score=mixed[found.key],
            first_rank=number,
            legs={**found.legs, config.reranker_name: Leg(places[found.key], own[found.key])},
        )
        for number, found in enumerate(head, start=1)
    }
    return [by_key[key] for key in ranks(mixed)]


@dataclass(slots=True)
class Rerankers:
    """The reranker of a searcher, made when it is first wanted."""

    _made: dict[str, Reranker] = field(default_factory=dict)

    def of(self, sources: Iterable[Source], config: SearchConfig) -> Reranker:
        """The reranker that `config` names, for these indexes.

        Raises:
            IndexFormatError: it reads stored vectors, and an index keeps none.
            ConfigError: it reads stored vectors, and the indexes are of different encoders.
            EncoderError, MissingExtraError: what it needs cannot be loaded.
        """
        opened = list(sources)
        if config.rerank not in self._made:
            name, _, argument = config.rerank.partition(":")
            kind = RERANKERS.resolve(name)
            if kind.needs_vectors:
                _check_vectors(name, opened)
            self._made[config.rerank] = kind(opened[0].encoder, argument)
            if self._made[config.rerank].is_listwise and config.rerank_budget_ms:
                raise ConfigError(
                    f"{name} orders all candidates at once, so a time budget cannot cut it short.",
                    "leave --rerank-budget-ms out, and give --llm-timeout-s",
                )
        return self._made[config.rerank]


def _check_vectors(name: str, sources: Sequence[Source]) -> None:
    for source in sources:
        if not source.opened.manifest.n_vectors:
            raise IndexFormatError(
                f"{name} reads the compressed vectors of each chunk, and {source.path} keeps none.",
                f"lbr-search ingest SOURCE... --index {source.path}-multi --multi-vector",
            )
    if len({source.opened.manifest.seal.fingerprint for source in sources}) > 1:
        raise ConfigError(
            f"{name} cannot compare vectors of different encoders: "
            + ", ".join(f"{s.path} {s.opened.manifest.seal.encoder_name}" for s in sources)
            + ".",
            "search the indexes of one encoder at a time, with --index",
        )


def read_passages(
    candidates: Sequence[Candidate], sources: Mapping[str, Source], reranker: Reranker
) -> list[Passage]:
    """What `reranker` may read of some candidates: vectors or texts, whichever it needs."""
    read: dict[str, Passage] = {}
    for name, source in sources.items():
        own = [found for found in candidates if found.source == name]
        if not own:
            continue
        rows = np.asarray([found.row for found in own], dtype=np.int64)
        if reranker.needs_vectors:
            stored = source.opened.multi_vectors(rows)
            assert stored is not None, "checked when the reranker was made"
            passages = [Passage("", compressed) for compressed in stored]
        else:
            chunks = source.opened.fetch(rows)
            passages = [Passage(passage_text(chunk.title, chunk.text)) for chunk in chunks]
        read |= {found.key: passage for found, passage in zip(own, passages, strict=True)}
    return [read[found.key] for found in candidates]
