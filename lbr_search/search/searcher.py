"""Query -> candidates of each leg -> one fused ranking -> hits, over one index or several."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lbr_search.config import MODES, SearchConfig, check
from lbr_search.encoder.load import load_encoder
from lbr_search.errors import ConfigError, IndexFormatError
from lbr_search.index.mirror import index_folder
from lbr_search.protocols import Encoder
from lbr_search.search.explain import Explanation, explain
from lbr_search.search.hits import fold, hits_of
from lbr_search.search.like import find_model, nearest
from lbr_search.search.ontology import Ontology
from lbr_search.search.pipeline import Pipeline, Request
from lbr_search.search.ranking import Candidate
from lbr_search.search.routing import AUTO, check_routable, choose_sources
from lbr_search.search.settings import Given, shared_config
from lbr_search.search.sources import (
    EncoderPool,
    Source,
    allowed_rows,
    open_source,
    unique_names,
)
from lbr_search.types import Expansion, Hit

DEEPER = 4
"""So many times the wanted hits are ranked where near-identical ones are folded."""


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
        self.warnings: list[str] = []
        """What the answers lack, e.g. a leg that could not be searched; each said once."""
        self._sources = {source.name: source for source in sources}
        self._encoders = pool
        self._pipeline = Pipeline(self._sources, pool, config, ontology, self._warn)

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
            paths: one index folder or several, or addresses of indexes on S3.
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
            ConfigError: a setting is unknown or out of range, a `search.toml` is damaged, no index
                is of the domain, or domains are to be found by vectors that cannot be compared.
        """
        given_paths = [paths] if isinstance(paths, str | Path) else paths
        folders = [index_folder(path) for path in given_paths]
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
        wanted = given.domain if isinstance(given, SearchConfig) else given.get("domain", "")
        sources = choose_sources(sources, str(wanted))
        shared = shared_config([source.settings for source in sources], given)
        searcher = cls(sources, pool=encoders, config=shared, ontology=ontology)
        for source in sources:
            if source.settings.problem:
                searcher._warn(f"{source.name}: {source.settings.problem}")
        searcher._prepare(shared.mode)
        if shared.domain == AUTO:
            check_routable(sources, mode=shared.mode)
        if shared.rerank:
            searcher._pipeline.reranker()  # what is wrong shows here
        return searcher

    @property
    def n_documents(self) -> int:
        """Documents in all searched indexes."""
        return sum(source.opened.n_documents for source in self._sources.values())

    def search(
        self,
        query: str,
        *,
        k: int = 10,
        mode: str | None = None,
        filter: str | None = None,
        without: str = "",
    ) -> list[Hit]:
        """The best `k` documents for one query, best first.

        Args:
            query: what to look for.
            k: how many; fewer come back where the indexes hold or match fewer.
            mode: hybrid, dense or lexical; None = the configured one.
            filter: an SQL condition on metadata columns, e.g. ``year > 2015``; applied before
                both legs, so `k` hits come back where that many pass.
            without: what is not looked for: `config.without_weight` of each leg's (and the
                reranker's) score for this text comes off the score for the query. Words that the
                query holds too do not count against a document.

        Raises:
            ConfigError: the query is blank, or `k` or `mode` is out of range.
            FilterError: the filter does not parse or no index has its columns.
        """
        if not query.strip():
            raise ConfigError("the query is empty.", 'lbr-search query "what you look for"')
        return self.search_many([query], k=k, mode=mode, filter=filter, without=without)[0]

    def search_many(
        self,
        queries: Sequence[str],
        *,
        k: int = 10,
        mode: str | None = None,
        filter: str | None = None,
        without: str = "",
    ) -> list[list[Hit]]:
        """`search` for many queries at once; one list of hits a query, in the order given."""
        if not self.config.is_deduped:
            rankings = self._rank(queries, k=k, mode=mode, filter=filter, without=without)
            return hits_of(rankings, self._sources)
        answers: dict[int, list[Hit]] = {}
        deeper = k
        while len(answers) < len(queries):  # again, deeper, for those that folding left with few
            left = [number for number in range(len(queries)) if number not in answers]
            deeper *= DEEPER
            asked = [queries[number] for number in left]
            rankings = self._rank(asked, k=deeper, mode=mode, filter=filter, without=without)
            found = hits_of(rankings, self._sources)
            for number, ranked in zip(left, found, strict=True):
                hits = fold(ranked)
                if len(hits) >= k or len(ranked) < deeper:
                    answers[number] = hits[:k]
        return [answers[number] for number in range(len(queries))]

    def rank_documents(
        self,
        queries: Sequence[str],
        *,
        k: int = 10,
        mode: str | None = None,
        filter: str | None = None,
    ) -> list[list[tuple[str, float]]]:
        """Document ids and scores alone, best first: no text is fetched unless to fold hits."""
        if self.config.is_deduped:
            answers = self.search_many(queries, k=k, mode=mode, filter=filter)
            return [[(hit.doc_id, hit.score) for hit in hits] for hits in answers]
        rankings = self._rank(queries, k=k, mode=mode, filter=filter)
        return [[(found.doc_id, found.score) for found in ranking] for ranking in rankings]

    def like(self, doc_id: str, *, k: int = 10, filter: str | None = None) -> list[Hit]:
        """The `k` documents nearest to one of the indexes, itself left out, best first.

        The query is the mean of the stored vectors of its chunks: no text and no model is read,
        and there is a dense leg only. Indexes of another encoder are left out, with a warning.

        Raises:
            ConfigError: no index holds the document, or several; or reranking is asked for, which
                needs the text of a query.
        """
        check(k > 0, "k", k, "> 0")
        if self.config.rerank:
            raise ConfigError(
                f"{self.config.rerank} compares with a query, and a document is none.",
                "leave --rerank out with --like",
            )
        model = find_model(doc_id, self._sources)
        allowed = allowed_rows(list(self._sources.values()), filter, warn=self._warn)
        answers = []
        for source, rows in zip(self._sources.values(), allowed, strict=True):
            if source.opened.manifest.seal.fingerprint != model.fingerprint:
                self._warn(f"{source.name}: left out, its vectors are of another encoder")
                continue
            answers.append(nearest(model, source, k=k, allowed=rows))
        return hits_of([self._pipeline.merged(answers)[:k]], self._sources)[0]

    def matched_terms(self, query: str, hit: Hit) -> list[tuple[int, int]]:
        """Half-open character spans of the words of `hit.text` that match words of `query`."""
        if hit.source not in self._sources:
            raise ConfigError(
                f"no open index is called {hit.source!r}.", "pass a hit of this searcher"
            )
        return self._sources[hit.source].opened.matched_terms(query, hit.text)

    def explain(
        self, query: str, hits: Sequence[Hit], *, without: str = "", with_kept: bool = True
    ) -> list[Explanation]:
        """Why each of some hits of this searcher stands where it stands; "" is asked by `like`.

        `with_kept`: also what the decoder writes from stored vectors, which takes a second or so.
        """
        return explain(
            query,
            hits,
            pipeline=self._pipeline,
            mode=self.config.mode if query.strip() else "dense",
            without=without.strip(),
            with_kept=with_kept,
        )

    def expansions(self, query: str) -> dict[str, list[Expansion]]:
        """What the lexical leg of each source adds to `query`: abbreviations and synonyms."""
        return {
            name: self._pipeline.expansions(source, query) for name, source in self._sources.items()
        }

    def notes(self, query: str) -> list[str]:
        """What the lexical leg of some index could not read in a query as it was written."""
        found = (source.opened.notes(query) for source in self._sources.values())
        return list(dict.fromkeys(note for notes in found for note in notes))

    def _prepare(self, mode: str) -> None:
        for source in self._sources.values():
            source.prepare(mode, self._encoders)
            if mode != "lexical" and source.problem is not None:
                self._warn(
                    f"{source.name}: lexical matches only; the encoder cannot be used: "
                    f"{source.problem.message} (fix: {source.problem.fix})"
                )

    def _rank(
        self,
        queries: Sequence[str],
        *,
        k: int,
        mode: str | None,
        filter: str | None,
        without: str = "",
    ) -> list[list[Candidate]]:
        check(k > 0, "k", k, "> 0")
        mode = mode or self.config.mode
        check(mode in MODES, "mode", mode, f"one of {', '.join(MODES)}")
        if self.config.domain == AUTO:
            check_routable(list(self._sources.values()), mode=mode)
            self._prepare("dense")  # without a dense leg there is nothing to route by
        self._prepare(mode)
        allowed = allowed_rows(list(self._sources.values()), filter, warn=self._warn)
        request = Request(k, mode, without.strip())
        return self._pipeline.rank(queries, request, allowed)

    def _warn(self, message: str) -> None:
        if message not in self.warnings:
            self.warnings.append(message)
