"""Other search engines in the same run: the same documents, queries, measures and clock."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from lbr_search.bench.arms import LATENCY_HITS, first_hits, needs_deep_run, percentiles, timed
from lbr_search.bench.memory import peak_memory
from lbr_search.bench.metrics import DEEP_DEPTH, DEPTH, evaluate
from lbr_search.bench.queries import KnownQueries, latency_texts
from lbr_search.bench.results import ArmResult, Cost, SuiteIngest
from lbr_search.corpus.suite import Suite
from lbr_search.errors import ConfigError
from lbr_search.index.arrow import vectors_of
from lbr_search.index.manifest import load_manifest, store_folder
from lbr_search.index.store import ChunkStore
from lbr_search.protocols import PeerInputs, PeerSystem
from lbr_search.registry import PEERS
from lbr_search.types import Embeddings, Run, passage_text

ELSEWHERE = {
    "pyserini": "Pyserini needs a Java of its own and some sixty packages",
    "pylate": "PyLate (1.6) takes no transformers above 5.3, and fails with the one that is here",
}
"""Peers that are measured by their run files alone."""


@dataclass(frozen=True, slots=True)
class PeerSubject:
    """What all peers of a suite are given."""

    suite: Suite
    metrics: Sequence[str]
    ingest: SuiteIngest | None
    """Our index, whose vectors peers may search; None = nothing was encoded."""
    queries: KnownQueries | None
    """The encoder of that index."""


def open_peer(spec: str) -> PeerSystem:
    """A peer by its name in `registry.PEERS`.

    Raises:
        ConfigError: an unknown name, or a peer that is not run from here.
        EncoderError, MissingExtraError: it cannot be opened.
    """
    name = spec.partition(":")[0]
    if name in ELSEWHERE:
        raise ConfigError(
            f"the peer {name!r} is not run from here: {ELSEWHERE[name]}.",
            f"run it in an environment of its own, and import its run: --run {name}=FILE",
        )
    peer: PeerSystem = PEERS.resolve(spec)()
    return peer


def refuse_peers(specs: Sequence[str], *, has_vectors: bool) -> None:
    """Refuse before the work what could not be measured after it.

    Raises:
        ConfigError: as `open_peer`; a peer is named twice, or needs vectors and there are none.
        EncoderError, MissingExtraError: as `open_peer`.
    """
    for spec in specs:
        if specs.count(spec) > 1:
            raise ConfigError(f"--peer {spec} is given twice.", "name each peer once")
        if open_peer(spec).needs_vectors and not has_vectors:
            raise ConfigError(
                f"the peer {spec} searches the vectors of whole documents, and this benchmark "
                "has none.",
                "take a mode besides none and --chunk-tokens 0, or leave the peer out",
            )


def measure_peer(spec: str, subject: PeerSubject) -> tuple[ArmResult, Run]:
    """Build in a folder that is removed again, then search as `arms.measure_arm` does.

    Raises:
        EncoderError, MissingExtraError: the peer cannot be opened.
    """
    peer, suite = open_peer(spec), subject.suite
    texts = [query.text for query in suite.queries]
    doc_ids, passages, encode_s = _documents(peer, subject)
    encoder = subject.queries if peer.needs_vectors else None

    def search(asked: Sequence[str], k: int) -> list[dict[str, float]]:
        queries = asked if encoder is None else encoder.encode_queries(asked)
        return [
            {doc_ids[place]: score for place, score in ranking}
            for ranking in peer.search(queries, k=k)
        ]

    with tempfile.TemporaryDirectory() as name, peak_memory() as peak:
        folder = Path(name)
        _, build_s = timed(lambda: peer.build(passages, folder=folder), None)
        n_bytes = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        search(texts[:1], LATENCY_HITS)  # opens and warms
        found, seconds = timed(lambda: search(texts, DEPTH), encoder)
        alone = [
            timed(partial(search, [text], LATENCY_HITS), encoder)[1]
            for text in latency_texts(texts)
        ]
        is_deep = needs_deep_run(suite, subject.metrics)
        deep = search(texts, DEEP_DEPTH) if is_deep else None
    ids = [query.query_id for query in suite.queries]
    run = dict(zip(ids, found, strict=True))
    deep_run = None if deep is None else dict(zip(ids, deep, strict=True))
    cost = Cost(
        seconds=seconds,
        latency=percentiles(alone),
        index_mb=n_bytes / 1e6,
        documents_per_s=len(doc_ids) / (build_s + encode_s),
        bytes_per_document=n_bytes / len(doc_ids),
        peak_rss_mb=peak.rss_mb,
    )
    evaluation = evaluate(run, suite.qrels, deep_run=deep_run, metrics=subject.metrics)
    return ArmResult(evaluation, cost, first_hits(run), beside=peer.beside), run


def _documents(peer: PeerSystem, subject: PeerSubject) -> tuple[list[str], PeerInputs, float]:
    """Ids, what the peer reads of them, and the seconds that encoding took if that is vectors."""
    if peer.needs_vectors:
        assert subject.ingest is not None, "refused before the work"
        return *stored_vectors(subject.ingest.folder), subject.ingest.encode_seconds
    documents = list(subject.suite.documents())
    texts = [passage_text(document.title, document.text) for document in documents]
    return [document.doc_id for document in documents], texts, 0.0


def stored_vectors(index: Path) -> tuple[list[str], Embeddings]:
    """Document ids (N,) and vectors (N, D) of an index of whole documents."""
    manifest = load_manifest(index)
    store = ChunkStore.open_version(store_folder(index, manifest), manifest.store_version)
    ids: list[str] = []
    parts = []
    for batch in store.scan(["doc_id", "vector"]):
        ids += batch.column("doc_id").to_pylist()
        parts.append(vectors_of(batch.column("vector")))
    return ids, np.ascontiguousarray(np.concatenate(parts))
