"""A large index of synthetic vectors, built and searched in a process of its own for its memory.

``python -m lbr_search.bench.scale FOLDER`` reads FOLDER/task.json and writes FOLDER/figures.json.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lbr_search.bench.speed_inputs import SyntheticEncoder, make_chunks, make_vectors, vector_blocks
from lbr_search.config import IndexConfig
from lbr_search.index.build import build_from_vectors
from lbr_search.index.opened import OpenedIndex, open_index
from lbr_search.index.recall import true_neighbours
from lbr_search.types import Chunk, Embeddings

N_QUERIES = 200
K = 10
BLOCK = 20_000
SCALE_GOALS = "rows_per_s >= 15,000, peak_rss_gb < 4, recall_at_10 >= 0.95, p50_ms < 5 (10^6 rows)"


@dataclass(frozen=True, slots=True)
class ScaleTask:
    """What to build."""

    index: str
    n_rows: int
    dim: int
    ann: str = "ivf"
    seed: int = 0


def measure(task: ScaleTask) -> dict[str, Any]:
    """Build, search, compare with exact search; peak memory is read before the comparison."""
    import resource  # Unix alone has it; the other parts of --speed run without

    source = _TimedSource(task)
    encoder = SyntheticEncoder(task.dim)
    started = time.perf_counter()
    report = build_from_vectors(
        source, encoder=encoder, folder=Path(task.index), config=IndexConfig(ann=task.ann)
    )
    total = time.perf_counter() - started
    building = total - source.seconds
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss counts bytes there, KiB elsewhere
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
    queries = make_vectors(N_QUERIES, dim=task.dim, seed=task.seed + 1)
    with open_index(Path(task.index), encoder=encoder) as opened:
        found, milliseconds = _search(opened, queries)
    searched_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
    exact = _exact(task, queries)
    hits = [len(set(a) & set(b)) for a, b in zip(found.tolist(), exact.tolist(), strict=True)]
    return {
        "how": f"{task.n_rows} vectors of {task.dim} dimensions around 20,000 topics, each with a "
        f"text of a few words; rows_per_s: all of the ingest but making them, "
        f"store_rows_per_s: commits to the table alone; peak_rss_gb: of this process, after the "
        f"ingest; peak_rss_with_search_gb: after the queries too, with the pages of mapped files "
        f"that they touched; recall and p50: {N_QUERIES} queries that are not in the index, one by "
        f"one",
        "n_rows": task.n_rows,
        "dim": task.dim,
        "vectors": report.vectors,
        "rows_per_s": task.n_rows / building,
        "store_rows_per_s": task.n_rows / report.seconds["store"],
        "ingest_s": building,
        "source_s": source.seconds,
        "phases_s": dict(report.seconds),
        "peak_rss_gb": peak_gb,
        "peak_rss_with_search_gb": searched_gb,
        "recall_at_10": float(np.mean(hits) / min(K, task.n_rows)),
        "recall_at_10_of_build": report.recall_at_10,
        "p50_ms": float(np.median(milliseconds)),
        "p95_ms": float(np.percentile(milliseconds, 95)),
        "index_mb": report.size_bytes / 1e6,
    }


class _TimedSource:
    """Batches of chunks and vectors; knows how long making them took."""

    def __init__(self, task: ScaleTask) -> None:
        self._task = task
        self.seconds = 0.0

    def __iter__(self) -> Iterator[tuple[list[Chunk], Embeddings]]:
        task, first = self._task, 0
        started = time.perf_counter()
        for vectors in vector_blocks(task.n_rows, dim=task.dim, block=BLOCK, seed=task.seed):
            rows = range(first, first + len(vectors))
            chunks = make_chunks([f"synthetic text {row % 977} {row}" for row in rows], first=first)
            first += len(vectors)
            self.seconds += time.perf_counter() - started
            yield chunks, vectors
            started = time.perf_counter()


def _search(opened: OpenedIndex, queries: Embeddings) -> tuple[NDArray[np.int64], list[float]]:
    """Row ids (B, K) and milliseconds, one query at a time after one that opens the files."""
    opened.dense(queries[:1], k=K)
    rows, milliseconds = [], []
    for query in queries:
        started = time.perf_counter()
        found, _ = opened.dense(query[None, :], k=K)
        milliseconds.append(1e3 * (time.perf_counter() - started))
        rows.append([int(doc_id[1:]) for doc_id in opened.doc_ids(found[0][found[0] >= 0])])
    return np.asarray(rows), milliseconds


def _exact(task: ScaleTask, queries: Embeddings) -> NDArray[np.int64]:
    """The true K best documents of each query, (B, K), from vectors made again block by block."""
    blocks = vector_blocks(task.n_rows, dim=task.dim, block=BLOCK, seed=task.seed)
    return true_neighbours(_numbered(blocks), queries, k=K)


def _numbered(blocks: Iterable[Embeddings]) -> Iterator[tuple[NDArray[np.int64], Embeddings]]:
    first = 0
    for vectors in blocks:
        yield np.arange(first, first + len(vectors)), vectors
        first += len(vectors)


def main(folder: Path) -> None:
    """Read the task in `folder`, write its figures."""
    task = ScaleTask(**json.loads((folder / "task.json").read_text()))
    (folder / "figures.json").write_text(json.dumps(measure(task)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
