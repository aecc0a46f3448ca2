"""Queries -> ranked candidates: encode, retrieve, fuse, merge, rerank."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import TypeGuard

import numpy as np
from numpy.typing import NDArray

from lbr_search.config import SearchConfig
from lbr_search.errors import RerankError
from lbr_search.protocols import CompressingEncoder, Encoder, Reranker
from lbr_search.search.ontology import Ontology
from lbr_search.search.ranking import Candidate, fuse, merge
from lbr_search.search.reranking import Contrast, Rerankers, read_passages, rerank
from lbr_search.search.retrieval import Asked, Legs, retrieve
from lbr_search.search.routing import AUTO, domain_of, likely, probabilities
from lbr_search.search.sources import EncoderPool, Source
from lbr_search.types import Compressed, Embeddings, Expansion, pool

QUERY_BATCH = 256  # queries searched at a time: bounds the (B, k) arrays of rows and scores
NEGATIVE = "not"
"""What the words of a negative text are listed under among the expansions of a query."""

Allowed = Sequence[NDArray[np.int64] | None]
"""For each source the sorted row ids that may be found; None = all."""


@dataclass(frozen=True, slots=True)
class Request:
    """How queries are to be answered."""

    k: int
    mode: str
    without: str = ""
    """What is not looked for; "" = nothing."""


@dataclass(frozen=True, slots=True)
class Pipeline:
    """What a searcher does between queries and candidates."""

    sources: Mapping[str, Source]
    encoders: EncoderPool
    config: SearchConfig
    ontology: Ontology | None
    warn: Callable[[str], None]
    rerankers: Rerankers = field(default_factory=Rerankers)

    def rank(
        self, queries: Sequence[str], request: Request, allowed: Allowed
    ) -> list[list[Candidate]]:
        """The best candidates of each query over all sources, at most `request.k`."""
        rankings: list[list[Candidate]] = []
        for start in range(0, len(queries), QUERY_BATCH):
            batch = queries[start : start + QUERY_BATCH]
            rankings += self._rank_batch(batch, request, allowed)
        return rankings

    def reranker(self) -> Reranker:
        """The one that the settings name; made when it is first wanted."""
        return self.rerankers.of(self.sources.values(), self.config)

    def synonyms(self, query: str) -> list[Expansion]:
        """What the ontology adds to the words of a query."""
        return [] if self.ontology is None else self.ontology.expansions(query)

    def expansions(self, source: Source, query: str) -> list[Expansion]:
        """All that is added to the words of a query in one source."""
        return [*source.opened.expansions(query), *self.synonyms(query)]

    def negative(self, without: str) -> list[Expansion]:
        """What counts against a chunk in the lexical leg; nothing where `without` is blank."""
        weight = -self.config.without_weight
        return [Expansion(NEGATIVE, "", without, weight)] if without else []

    def merged(self, answers: Sequence[list[Candidate]]) -> list[Candidate]:
        """The rankings of the sources as one."""
        if len(answers) == 1:
            return answers[0]
        encoders = {
            name: source.opened.manifest.seal.fingerprint for name, source in self.sources.items()
        }
        return merge(answers, encoders=encoders, rrf_k=self.config.rrf_k)

    def _rank_batch(
        self, queries: Sequence[str], request: Request, allowed: Allowed
    ) -> list[list[Candidate]]:
        against = self.negative(request.without)
        added = [[*self.synonyms(query), *against] for query in queries]
        encoded = self._encode(queries, request)
        per_source = [
            self._retrieve(source, Asked(queries, vectors, added), request, rows)
            for source, vectors, rows in zip(
                self.sources.values(), encoded.vectors, allowed, strict=True
            )
        ]
        rankings = [self._fuse(legs, request) for legs in zip(*per_source, strict=True)]
        if self.config.rerank:
            rankings = [
                self._rerank(query, ranking, encoded.of(number), request)
                for number, (query, ranking) in enumerate(zip(queries, rankings, strict=True))
            ]
        return [ranking[: request.k] for ranking in rankings]

    def _rerank(
        self,
        query: str,
        ranking: list[Candidate],
        encoded: tuple[Compressed | None, Compressed | None],
        request: Request,
    ) -> list[Candidate]:
        reranker = self.reranker()
        scorer = reranker
        own, negative = encoded
        if request.without:
            weight = self.config.without_weight
            scorer = Contrast(reranker, request.without, weight=weight, negative_vectors=negative)
        try:
            # a listwise reranker asks a service: others need not wait for that
            with nullcontext() if reranker.is_listwise else self.encoders.use():
                result = rerank(
                    query,
                    ranking,
                    reranker=scorer,
                    passages=lambda some: read_passages(some, self.sources, reranker),
                    config=self.config,
                    query_vectors=own,
                )
        except RerankError as error:
            self.warn(
                f"{self.config.reranker_name}: not reranked, the first order stands: "
                f"{error.message} (fix: {error.fix})"
            )
            return ranking
        if result.n_scored < result.n_wanted:
            self.warn(
                f"{self.config.rerank}: the time of {self.config.rerank_budget_ms:g} ms was up "
                f"after {result.n_scored} of {result.n_wanted} documents; the others keep their "
                "order"
            )
        return result.ranking

    def _encode(self, queries: Sequence[str], request: Request) -> _Encoded:
        """Vectors for each source; a text is encoded once, whoever reads its vectors."""
        texts = [*queries, request.without] if request.without else list(queries)
        n = len(queries)
        nothing: Embeddings = np.empty((n, 0), dtype=np.float32)
        made: dict[str, Embeddings] = {}
        compressed: Compressed | None = None
        vectors = []
        for source in self.sources.values():
            encoder = source.encoder
            if request.mode == "lexical" or encoder is None:
                vectors.append(nothing)
                continue
            if encoder.fingerprint not in made and self._reads_vectors(encoder):
                compressed = self.encoders.compress(encoder, texts)
                made[encoder.fingerprint] = self._less_negative(pool(compressed), n)
            elif encoder.fingerprint not in made:
                found = self.encoders.encode(encoder, texts)
                made[encoder.fingerprint] = self._less_negative(found, n)
            vectors.append(made[encoder.fingerprint])
        return _Encoded(vectors, compressed, n)

    def _less_negative(self, vectors: Embeddings, n_queries: int) -> Embeddings:
        """(N + 1, D) with a negative last -> (N, D): its inner products come off the queries'."""
        if len(vectors) == n_queries:
            return vectors
        away = np.float32(self.config.without_weight) * vectors[n_queries:]
        return np.ascontiguousarray(vectors[:n_queries] - away, dtype=np.float32)

    def _reads_vectors(self, encoder: Encoder) -> TypeGuard[CompressingEncoder]:
        if not self.config.rerank or not isinstance(encoder, CompressingEncoder):
            return False
        return self.reranker().needs_vectors

    def _retrieve(
        self,
        source: Source,
        asked: Asked,
        request: Request,
        allowed: NDArray[np.int64] | None,
    ) -> list[Legs]:
        n_documents = max(source.settings.config.depth, self._n_fused(request))
        return retrieve(
            source.opened, asked, mode=request.mode, n_documents=n_documents, allowed=allowed
        )

    def _n_fused(self, request: Request) -> int:
        """Candidates of each source; of several all, so that `k` does not change their merging."""
        n = max(request.k, self.config.depth) if len(self.sources) > 1 else request.k
        return max(n, self.config.rerank_depth) if self.config.rerank else n

    def _fuse(self, legs: Sequence[Legs], request: Request) -> list[Candidate]:
        """What the legs of every source found for one query -> one ranking."""
        sources = list(self.sources.values())
        domains = self._domains(legs) if self.config.domain == AUTO else {}
        searched = likely(domains) or [domain_of(source) for source in sources]
        n = self._n_fused(request)
        answers = [
            fuse(source.name, own, source.settings.config, k=n)
            for source, own in zip(sources, legs, strict=True)
            if domain_of(source) in searched
        ]
        merged = self.merged(answers)
        return [replace(each, domains=domains) for each in merged] if domains else merged

    def _domains(self, legs: Sequence[Legs]) -> dict[str, float]:
        """Domain -> probability that a query belongs to it, from the dense legs of all sources."""
        dense: dict[str, list[float]] = {}
        for source, own in zip(self.sources.values(), legs, strict=True):
            dense.setdefault(domain_of(source), []).extend(own["dense"].scores.values())
        return probabilities(dense)


@dataclass(frozen=True, slots=True)
class _Encoded:
    """Vectors of N queries for each source, and their k vectors where a reranker reads them."""

    vectors: list[Embeddings]
    compressed: Compressed | None
    n_queries: int

    def of(self, number: int) -> tuple[Compressed | None, Compressed | None]:
        """(k, D) of one query, and of the negative text."""
        if self.compressed is None:
            return None, None
        has_negative = len(self.compressed) > self.n_queries
        return self.compressed[number], self.compressed[-1] if has_negative else None
