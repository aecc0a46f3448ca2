"""Query -> candidates of each leg -> one fused ranking -> hits, over one index or several."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeGuard

import numpy as np
from numpy.typing import NDArray

from lbr_search.config import MODES, SearchConfig, check
from lbr_search.encoder.load import load_encoder
from lbr_search.errors import ConfigError, FilterError, IndexFormatError
from lbr_search.protocols import CompressingEncoder, Encoder
from lbr_search.search.explain import Explanation, explain
from lbr_search.search.ontology import Ontology
from lbr_search.search.ranking import Candidate, fuse, merge
from lbr_search.search.reranking import Rerankers, read_passages, rerank
from lbr_search.search.retrieval import Asked, retrieve
from lbr_search.search.settings import Given, shared_config
from lbr_search.search.sources import EncoderPool, Source, open_source, unique_names
from lbr_search.types import Compressed, Embeddings, Expansion, Hit, pool

QUERY_BATCH = 256  # queries searched at a time: bounds the (B, k) arrays of rows and scores


class Searcher:
    """Searches one or more indexes; safe to call from several threads.

    A document's score is that of its best chunk (MaxP). With several indexes, each is ranked by
    itself and the rankings are merged by `merge`.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        pool: EncoderPool,
        config: SearchConfig,
        ontology: Ontology | None = None,
    ) -> None:
        self.config = config
        self._ontology = ontology
        self.warnings: list[str] = []
        """What the answers lack, e.g. a leg that could not be searched; each said once."""
        self._sources = {source.name: source for source in sources}
        self._pool = pool
        self._rerankers = Rerankers()

    @classmethod
    def open(
        cls,
        paths: str | Path | Sequence[str | Path],
        *,
        encoder: Encoder | str | None = None,
        config: Given | None = None,
        ontology: Ontology | None = None,
    ) -> Searcher:
        """Open index folders.

        Args:
            paths: one index folder or several.
            encoder: an encoder or its spec; None = the one that each index names, loaded only
                where the mode needs it and shared between indexes.
            config: a `SearchConfig` is used as it is; of a mapping, only the settings that it
                names. The others, with None all, are those of each index's `search.toml`, else
                the defaults.
            ontology: synonyms to add to the lexical leg's queries.

        Raises:
            IndexFormatError: no index at a path, or a damaged one.
            SealError: an index was built by another encoder.
            EncoderError, MissingExtraError: a given encoder cannot be loaded, or the index's own
                cannot and the mode is dense.
            ConfigError: a setting is unknown or out of range, or a `search.toml` is damaged.
        """
        folders = [Path(paths)] if isinstance(paths, str | Path) else [Path(p) for p in paths]
        if not folders:
            raise IndexFormatError("no index was given.", "lbr-search ingest")
        given: Given = {} if config is None else config
        own = load_encoder(encoder) if isinstance(encoder, str) else encoder
        encoders = EncoderPool()
        if own is not None:
            encoders.add(own)
        sources = [
            open_source(folder, name=name, encoder=own, given=given)
            for folder, name in zip(folders, unique_names(folders), strict=True)
        ]
        shared = shared_config([source.settings for source in sources], given)
        searcher = cls(sources, pool=encoders, config=shared, ontology=ontology)
        for source in sources:
            if source.settings.problem:
                searcher._warn(f"{source.name}: {source.settings.problem}")
        searcher._prepare(shared.mode)
        if shared.rerank:
            searcher._rerankers.of(searcher._sources.values(), shared)  # what is wrong shows here
        return searcher

    @property
    def n_documents(self) -> int:
        """Documents in all searched indexes."""
        return sum(source.opened.n_documents for source in self._sources.values())

    def search(
        self, query: str, *, k: int = 10, mode: str | None = None, filter: str | None = None
    ) -> list[Hit]:
        """The best `k` documents for one query, best first.

        Args:
            query: what to look for.
            k: how many; fewer come back where the indexes hold or match fewer.
            mode: hybrid, dense or lexical; None = the configured one.
            filter: an SQL condition on metadata columns, e.g. ``year > 2015``; applied before
                both legs, so `k` hits come back where that many pass.

        Raises:
            ConfigError: the query is blank, or `k` or `mode` is out of range.
            FilterError: the filter does not parse or no index has its columns.
        """
        if not query.strip():
            raise ConfigError("the query is empty.", 'lbr-search query "what you look for"')
        return self.search_many([query], k=k, mode=mode, filter=filter)[0]

    def search_many(
        self,
        queries: Sequence[str],
        *,
        k: int = 10,
        mode: str | None = None,
        filter: str | None = None,
    ) -> list[list[Hit]]:
        """`search` for many queries at once; one list of hits a query, in the order given."""
        rankings = self._rank(queries, k=k, mode=mode, filter=filter)
        return [self._hits(ranking) for ranking in rankings]

    def rank_documents(
        self,
        queries: Sequence[str],
        *,
        k: int = 10,
        mode: str | None = None,
        filter: str | None = None,
    ) -> list[list[tuple[str, float]]]:
        """Document ids and scores alone, best first: no text is fetched."""
        rankings = self._rank(queries, k=k, mode=mode, filter=filter)
        return [[(found.doc_id, found.score) for found in ranking] for ranking in rankings]

    def matched_terms(self, query: str, hit: Hit) -> list[tuple[int, int]]:
        """Half-open character spans of the words of `hit.text` that match words of `query`."""
        if hit.source not in self._sources:
            raise ConfigError(
                f"no open index is called {hit.source!r}.", "pass a hit of this searcher"
            )
        return self._sources[hit.source].opened.matched_terms(query, hit.text)

    def explain(self, query: str, hits: Sequence[Hit]) -> list[Explanation]:
        """Why each of some hits of this searcher stands where it stands."""
        added = self.expansions(query)
        return explain(
            query,
            hits,
            sources=self._sources,
            expansions=added,
            pool=self._pool,
            mode=self.config.mode,
        )

    def expansions(self, query: str) -> dict[str, list[Expansion]]:
        """What the lexical leg of each source adds to `query`: abbreviations and synonyms."""
        return {
            name: [*source.opened.expansions(query), *self._synonyms(query)]
            for name, source in self._sources.items()
        }

    def _synonyms(self, query: str) -> list[Expansion]:
        return [] if self._ontology is None else self._ontology.expansions(query)

    def _prepare(self, mode: str) -> None:
        for source in self._sources.values():
            source.prepare(mode, self._pool)
            if mode != "lexical" and source.problem is not None:
                self._warn(
                    f"{source.name}: lexical matches only; the encoder cannot be used: "
                    f"{source.problem.message} (fix: {source.problem.fix})"
                )

    def _rank(
        self, queries: Sequence[str], *, k: int, mode: str | None, filter: str | None
    ) -> list[list[Candidate]]:
        check(k > 0, "k", k, "> 0")
        mode = mode or self.config.mode
        check(mode in MODES, "mode", mode, f"one of {', '.join(MODES)}")
        self._prepare(mode)
        allowed = self._filter(filter)
        rankings: list[list[Candidate]] = []
        for start in range(0, len(queries), QUERY_BATCH):
            batch = queries[start : start + QUERY_BATCH]
            rankings += self._rank_batch(batch, k=k, mode=mode, allowed=allowed)
        return rankings

    def _rank_batch(
        self,
        queries: Sequence[str],
        *,
        k: int,
        mode: str,
        allowed: Sequence[NDArray[np.int64] | None],
    ) -> list[list[Candidate]]:
        added = [self._synonyms(query) for query in queries]
        vectors, compressed = self._encode(queries, mode)
        per_source = [
            self._rank_source(source, Asked(queries, own, added), k, mode, rows)
            for source, own, rows in zip(self._sources.values(), vectors, allowed, strict=True)
        ]
        rankings = [self._merge(answers) for answers in zip(*per_source, strict=True)]
        if self.config.rerank:
            rankings = [
                self._rerank(query, ranking, None if compressed is None else compressed[number])
                for number, (query, ranking) in enumerate(zip(queries, rankings, strict=True))
            ]
        return [ranking[:k] for ranking in rankings]

    def _rerank(
        self, query: str, ranking: list[Candidate], query_vectors: Compressed | None
    ) -> list[Candidate]:
        reranker = self._rerankers.of(self._sources.values(), self.config)
        with self._pool.use():
            result = rerank(
                query,
                ranking,
                reranker=reranker,
                passages=lambda some: read_passages(some, self._sources, reranker),
                config=self.config,
                query_vectors=query_vectors,
            )
        if result.n_scored < result.n_wanted:
            self._warn(
                f"{self.config.rerank}: the time of {self.config.rerank_budget_ms:g} ms was up "
                f"after {result.n_scored} of {result.n_wanted} documents; the others keep their "
                "order"
            )
        return result.ranking

    def _merge(self, answers: Sequence[list[Candidate]]) -> list[Candidate]:
        if len(answers) == 1:
            return answers[0]
        encoders = {
            name: source.opened.manifest.seal.fingerprint for name, source in self._sources.items()
        }
        return merge(answers, encoders=encoders, rrf_k=self.config.rrf_k)

    def _encode(
        self, queries: Sequence[str], mode: str
    ) -> tuple[list[Embeddings], Compressed | None]:
        """Query vectors for each source, (N, D), or (N, 0) where there is no dense leg.

        For a reranker of stored vectors also the queries' own, (N, k, D): a query is encoded once.
        """
        nothing: Embeddings = np.empty((len(queries), 0), dtype=np.float32)
        made: dict[str, Embeddings] = {}
        compressed: Compressed | None = None
        vectors = []
        for source in self._sources.values():
            encoder = source.encoder
            if mode == "lexical" or encoder is None:
                vectors.append(nothing)
                continue
            if encoder.fingerprint not in made and self._reads_vectors(encoder):
                compressed = self._pool.compress(encoder, queries)
                made[encoder.fingerprint] = pool(compressed)
            elif encoder.fingerprint not in made:
                made[encoder.fingerprint] = self._pool.encode(encoder, queries)
            vectors.append(made[encoder.fingerprint])
        return vectors, compressed

    def _reads_vectors(self, encoder: Encoder) -> TypeGuard[CompressingEncoder]:
        if not self.config.rerank or not isinstance(encoder, CompressingEncoder):
            return False
        return self._rerankers.of(self._sources.values(), self.config).needs_vectors

    def _rank_source(
        self,
        source: Source,
        asked: Asked,
        k: int,
        mode: str,
        allowed: NDArray[np.int64] | None,
    ) -> list[list[Candidate]]:
        if self.config.rerank:
            k = max(k, self.config.rerank_depth)
        config = source.settings.config
        found = retrieve(
            source.opened, asked, mode=mode, n_documents=max(config.depth, k), allowed=allowed
        )
        return [fuse(source.name, legs, config, k=k) for legs in found]

    def _filter(self, expression: str | None) -> list[NDArray[np.int64] | None]:
        """Rows that pass in each source; an index without the columns has none, and is named."""
        if expression is None:
            return [None] * len(self._sources)
        allowed: list[NDArray[np.int64] | None] = []
        refused: list[FilterError] = []
        for source in self._sources.values():
            try:
                allowed.append(source.opened.filter(expression))
            except FilterError as error:
                refused.append(error)
                allowed.append(np.empty(0, dtype=np.int64))
                if len(refused) == len(self._sources):
                    raise
                self._warn(f"{source.name}: left out, the filter does not fit: {error.message}")
        return allowed

    def _hits(self, ranking: Sequence[Candidate]) -> list[Hit]:
        stored = {}
        for name, source in self._sources.items():
            rows = [found.row for found in ranking if found.source == name]
            if rows:
                chunks = source.opened.fetch(np.asarray(rows, dtype=np.int64))
                stored.update({(name, row): c for row, c in zip(rows, chunks, strict=True)})
        hits = []
        for number, found in enumerate(ranking, start=1):
            chunk = stored[found.source, found.row]
            hits.append(
                Hit(
                    rank=number,
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
                )
            )
        return hits

    def _warn(self, message: str) -> None:
        if message not in self.warnings:
            self.warnings.append(message)
