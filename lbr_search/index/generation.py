"""What is derived from the store: vectors, terms and payload, in one numbered folder, published.

A generation is built beside the one in use and becomes visible when the manifest names it. The
generation before it stays, for readers that have it open; older ones are removed.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from lbr_search.config import IndexConfig, to_mapping
from lbr_search.index.analysis import versioned
from lbr_search.index.files import file_hash, list_files
from lbr_search.index.lexical import LexicalIndex
from lbr_search.index.manifest import (
    BEFORE_FILE,
    LEXICAL,
    MULTI,
    PAYLOAD,
    VECTORS,
    FileEntry,
    IndexManifest,
    Seal,
    find_manifest,
    generation_name,
    publish,
)
from lbr_search.index.multi_vectors import write_multi_vectors
from lbr_search.index.payload import write_payload
from lbr_search.index.recall import measure_recall, sample_rows
from lbr_search.index.store import ChunkStore
from lbr_search.protocols import IndexBackend
from lbr_search.registry import BACKENDS
from lbr_search.types import passage_text

T = TypeVar("T")
RECALL_SEED = 1
RECORDED_PACKAGES = (
    *("lbr-search", "lancedb", "pyarrow", "faiss-cpu", "bm25s", "numpy", "torch"),
    "rdkit",  # canonical forms of structures among the terms, where it is installed
)


@dataclass(slots=True)
class Timer:
    """Seconds by phase."""

    seconds: dict[str, float] = field(default_factory=dict)
    on_phase: Callable[[str], None] | None = None
    _started: float = field(default_factory=time.perf_counter)

    def add(self, name: str, seconds: float) -> None:
        """Add to the time of `name`."""
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds

    def each(self, name: str, items: Iterable[T]) -> Iterator[T]:
        """`items`, with the time that getting them takes added to `name`."""
        iterator = iter(items)
        while True:
            start = time.perf_counter()
            try:
                item = next(iterator)
            except StopIteration:
                return
            finally:
                self.add(name, time.perf_counter() - start)
            yield item

    def totals(self) -> dict[str, float]:
        """Seconds by phase so far, and ``total`` since the timer was made."""
        return {**self.seconds, "total": time.perf_counter() - self._started}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add the time of the block to `name`."""
        if self.on_phase is not None:
            self.on_phase(name)
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add(name, time.perf_counter() - start)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a new generation is made from."""

    folder: Path
    seal: Seal
    config: IndexConfig
    previous: IndexManifest | None
    next_row: int
    totals: dict[str, float]


def choose_kind(config: IndexConfig, n_chunks: int) -> tuple[str, str]:
    """The kind of vector index for `n_chunks`, and why.

    >>> choose_kind(IndexConfig(), 20_000)
    ('flat', '20,000 chunks, at most flat_limit = 100,000')
    >>> choose_kind(IndexConfig(ann="hnsw"), 20_000)
    ('hnsw', 'asked for')
    """
    if config.ann != "auto":
        return config.ann, "asked for"
    limit = f"{config.flat_limit:,}"
    if config.backend == "exact":
        return "flat", "the exact backend has no other"
    if n_chunks <= config.flat_limit:
        return "flat", f"{n_chunks:,} chunks, at most flat_limit = {limit}"
    return "ivf", f"{n_chunks:,} chunks, above flat_limit = {limit}"


def build_generation(plan: Plan, store: ChunkStore, timer: Timer) -> IndexManifest:
    """Build the next generation beside the present one; returns its manifest, not yet published."""
    generation = 1 + (plan.previous.generation if plan.previous else 0)
    folder = plan.folder / generation_name(generation)
    if folder.exists():  # left by a build that did not publish
        shutil.rmtree(folder)
    try:
        with timer.phase("store"):
            tidy_store(plan.folder, store, plan.previous)
        with timer.phase("payload"):
            counts = write_payload(store, folder / PAYLOAD)
        if store.n_vectors:
            with timer.phase("multi-vectors"):
                write_multi_vectors(store, folder / MULTI, n_rows=counts.n_chunks)
        kind, reason = choose_kind(plan.config, counts.n_chunks)
        settings, recall = _build_vectors(plan, store, kind, folder / VECTORS, timer)
        with timer.phase("lexical"):
            LexicalIndex().build(
                passages(store), analyser=plan.seal.analyser, folder=folder / LEXICAL
            )
        with timer.phase("publish"):
            files = [file_entry(plan.folder, path) for path in list_files(folder)]
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)  # unpublished, and perhaps what fills the disk
        raise
    return IndexManifest(
        seal=plan.seal,
        generation=generation,
        store_version=store.version,
        n_documents=counts.n_documents,
        n_chunks=counts.n_chunks,
        next_row=plan.next_row,
        backend=plan.config.backend,
        ann=kind,
        reason=reason,
        recall_at_10=recall,
        store=store.folder.name,
        n_vectors=store.n_vectors,
        files=files,
        analyser=str(versioned(plan.seal.analyser)),
        previous_generation=plan.previous.generation if plan.previous else None,
        created=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        settings=to_mapping(plan.config),
        vector_settings=dict(settings),
        columns=store.columns.to_list(),
        totals=plan.totals,
        packages=package_versions(),
    )


def _build_vectors(
    plan: Plan, store: ChunkStore, kind: str, folder: Path, timer: Timer
) -> tuple[Mapping[str, Any], float]:
    """Build the vector index and measure its recall: what it chose, and recall@10.

    A function of its own: its maps and tables are gone when terms are counted.
    """
    backend: IndexBackend = BACKENDS.resolve(plan.config.backend)(kind=kind)
    with timer.phase("vectors"):
        settings = backend.build(store.scan_vectors(), dim=plan.seal.dim, folder=folder)
    with timer.phase("recall"):
        backend.open(folder, dim=plan.seal.dim)
        # another draw than the one a backend tunes itself on
        rows = sample_rows(store.row_ids(), seed=RECALL_SEED)
        queries = store.vectors(rows)
        return settings, measure_recall(backend, store.scan_vectors(), queries, own_rows=rows)


def passages(store: ChunkStore) -> Iterator[tuple[NDArray[np.int64], list[str]]]:
    """Row ids and passages of all chunks in batches, for the lexical leg."""
    for batch in store.scan(["title", "text"]):
        titles, texts = batch.column("title").to_pylist(), batch.column("text").to_pylist()
        yield (
            batch.column("row_id").to_numpy(),
            [passage_text(title, text) for title, text in zip(titles, texts, strict=True)],
        )


def tidy_store(folder: Path, store: ChunkStore, previous: IndexManifest | None) -> None:
    """Compact an untidy store; the version that the published manifest names stays readable.

    Tidying removes files that only older versions need, so the published manifest stops vouching
    for the store's files first: if the process dies, the index must not look damaged. Another table
    than the published one (of a change of encoder that is under way) has no version to keep.
    """
    if not store.is_untidy:
        return
    if previous is None or previous.store != store.folder.name:
        store.tidy(keep=None)
    else:
        derived = [e for e in previous.files if not e.path.startswith(f"{previous.store}/")]
        publish(folder, replace(previous, files=derived))
        store.tidy(keep=previous.store_version)


def publish_and_clean(
    folder: Path, manifest: IndexManifest, store: ChunkStore, previous: IndexManifest | None
) -> None:
    """List the store's files, publish, then remove generations that no reader needs."""
    known = {entry.path: entry for entry in previous.files} if previous else {}
    stored = []
    for path in store.files():
        entry = known.get(path.relative_to(folder).as_posix())
        is_same = entry is not None and entry.size_bytes == path.stat().st_size
        stored.append(entry if entry is not None and is_same else file_entry(folder, path))
    publish(folder, replace(manifest, files=[*manifest.files, *stored]))
    kept = {manifest.generation_folder}
    if previous is not None:
        kept.add(previous.generation_folder)
    before = find_manifest(folder, BEFORE_FILE)  # of a change of encoder that can be taken back
    if before is not None:
        kept.add(before.generation_folder)
    for path in sorted(folder.glob("gen-*")):
        if path.name not in kept:
            shutil.rmtree(path)


def file_entry(folder: Path, path: Path) -> FileEntry:
    """Size, hash and time of one file of the index in `folder`."""
    name, digest, found = path.relative_to(folder).as_posix(), file_hash(path), path.stat()
    return FileEntry(name, found.st_size, digest, found.st_mtime_ns)


def package_versions() -> dict[str, str]:
    """Versions of the packages that decide what the files hold; those absent are left out."""
    found = {}
    for name in RECORDED_PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
