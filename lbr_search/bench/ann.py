"""`bench ann`: recall against speed of kinds of vector index, and how their costs grow."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lbr_search.bench.ann_indexes import BUILDERS, BuiltIndex
from lbr_search.bench.memory import peak_memory
from lbr_search.bench.speed_inputs import make_vectors
from lbr_search.errors import ConfigError
from lbr_search.index.recall import true_neighbours
from lbr_search.registry import nearest
from lbr_search.types import Embeddings

K = 10
BLOCK_ROWS = 50_000
"""Rows whose scores with all queries are held at once."""
PASSES = 2
COPIES = 3
"""The vectors, the index, and what building it needs beside, in sizes of the vectors."""
_MEMINFO = Path("/proc/meminfo")


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """One index at one setting."""

    setting: str
    value: int
    recall: float
    """Of the true ten nearest, mean over queries."""
    queries_per_s: float
    p50_ms: float


@dataclass(frozen=True, slots=True)
class AnnResult:
    """One kind of index over so many vectors."""

    kind: str
    n_rows: int
    build_s: float
    size_bytes: int
    """On disk."""
    peak_rss_mb: float | None
    """Of the whole process while it was built and searched."""
    curve: Sequence[CurvePoint]

    def at_recall(self, least: float) -> CurvePoint | None:
        """The fastest setting with at least this recall; None = none has it."""
        enough = [point for point in self.curve if point.recall >= least]
        return max(enough, key=lambda point: point.queries_per_s) if enough else None


@dataclass(frozen=True, slots=True)
class AnnVectors:
    """What is indexed, and what is asked."""

    rows: Embeddings
    queries: Embeddings
    source: str


def run_ann(
    vectors: AnnVectors,
    *,
    kinds: Sequence[str] = tuple(BUILDERS),
    sizes: Sequence[int] = (),
    progress: Callable[[str], None] = lambda _: None,
) -> list[AnnResult]:
    """Build and search every kind of index over every size.

    One query at a time and one thread for FAISS, as ann-benchmarks do (Aumüller, Bernhardsson and
    Faithfull 2017, arXiv:1807.05614); LanceDB chooses its own threads.

    Args:
        vectors: what is indexed and asked.
        kinds: names in `BUILDERS`.
        sizes: so many of the first rows, each; none = all rows.
        progress: told of every step.

    Raises:
        ConfigError: an unknown kind, a size that is not there, or more than the memory holds.
    """
    unknown = [kind for kind in kinds if kind not in BUILDERS]
    if unknown:
        raise ConfigError(
            f"there is no kind of index {unknown[0]!r}; known: {', '.join(BUILDERS)}.",
            nearest(unknown[0], dict.fromkeys(BUILDERS)),
        )
    wanted = sorted(set(sizes)) or [len(vectors.rows)]
    if not 2 * K <= wanted[0] <= wanted[-1] <= len(vectors.rows):
        raise ConfigError(
            f"sizes {wanted[0]:,} to {wanted[-1]:,} of {len(vectors.rows):,} vectors.",
            f"give sizes from {2 * K} to the number of vectors",
        )
    refuse_too_large(wanted[-1], vectors.rows.shape[1])
    results = []
    for size in wanted:
        rows = np.ascontiguousarray(vectors.rows[:size])
        truth = exact_neighbours(rows, vectors.queries)
        for kind in kinds:
            progress(f"{kind}, {size:,} vectors")
            results.append(_measure(kind, rows, vectors.queries, truth))
    return results


def synthetic_vectors(n_rows: int, *, dim: int, n_queries: int, seed: int = 0) -> AnnVectors:
    """Vectors around topics, made from a seed, and other ones to ask."""
    refuse_too_large(n_rows, dim)
    rows = make_vectors(n_rows, dim=dim, seed=seed)
    queries = make_vectors(n_queries, dim=dim, seed=seed + 1)
    return AnnVectors(rows, queries, f"synthetic, {dim} dimensions, seed {seed}")


def load_vectors(path: Path, *, n_queries: int) -> AnnVectors:
    """A user's vectors from an .npy file; evenly spaced ones are taken out as queries.

    Raises:
        ConfigError: the file is no matrix of finite numbers, or holds too few rows.
    """
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}.", "write it with numpy.save") from error
    if found.ndim != 2 or not np.issubdtype(found.dtype, np.number):
        raise ConfigError(
            f"{path} holds an array of shape {found.shape} and type {found.dtype}.",
            "give a matrix of numbers, a row a vector",
        )
    if len(found) < n_queries + 2 * K:
        raise ConfigError(
            f"{path} holds {len(found):,} vectors, too few for {n_queries} queries beside them.",
            f"give {n_queries + 2 * K:,} or more, or fewer --queries",
        )
    refuse_too_large(*found.shape)
    every = np.asarray(found, dtype=np.float32)
    lengths = np.linalg.norm(every, axis=1, keepdims=True)
    if not np.isfinite(lengths).all() or not lengths.all():
        bad = int(np.flatnonzero(~(np.isfinite(lengths) & (lengths > 0)).ravel())[0])
        raise ConfigError(f"{path}: row {bad} is zero or not finite.", "leave such rows out")
    every /= lengths
    asked = np.linspace(0, len(every) - 1, n_queries).astype(np.int64)
    kept = np.ones(len(every), dtype=bool)
    kept[asked] = False
    return AnnVectors(every[kept], every[asked], str(path))


def refuse_too_large(n_rows: int, dim: int) -> None:
    """Refuse what the memory that is free does not hold, where the system says how much that is.

    Raises:
        ConfigError: names both numbers.
    """
    free = _free_bytes()
    needed = COPIES * 4 * n_rows * dim
    if free is not None and needed > free:
        most = free // (COPIES * 4 * dim)
        raise ConfigError(
            f"{n_rows:,} vectors of {dim} dimensions need about {needed / 1e9:.1f} GB, "
            f"{free / 1e9:.1f} GB are free.",
            f"give at most {most:,} vectors",
        )


def exact_neighbours(rows: Embeddings, queries: Embeddings) -> NDArray[np.int64]:
    """(B, K) row numbers of the true nearest, best first, block by block of rows."""
    blocks = (
        (np.arange(start, min(start + BLOCK_ROWS, len(rows))), rows[start : start + BLOCK_ROWS])
        for start in range(0, len(rows), BLOCK_ROWS)
    )
    return true_neighbours(blocks, queries, k=K)


def growth_exponent(sizes: Sequence[float], costs: Sequence[float]) -> float | None:
    """B of cost = a * size^b, by least squares of the logarithms; None below three sizes.

    >>> growth_exponent([1e4, 1e5, 1e6], [1, 10, 100])
    1.0
    """
    points = [(math.log(s), math.log(c)) for s, c in zip(sizes, costs, strict=True) if c > 0]
    if len({size for size, _ in points}) < 3:
        return None
    slope, _ = np.polyfit([size for size, _ in points], [cost for _, cost in points], 1)
    return round(float(slope), 3)


def growths(results: Sequence[AnnResult], *, least_recall: float = 0.9) -> list[dict[str, Any]]:
    """Per kind: exponents of build time, size, and latency at a recall that every size reaches."""
    rows = []
    for kind in dict.fromkeys(result.kind for result in results):
        own = [result for result in results if result.kind == kind]
        reached = [(r.n_rows, point) for r in own if (point := r.at_recall(least_recall))]
        sizes = [result.n_rows for result in own]
        rows.append(
            {
                "kind": kind,
                "sizes": sizes,
                "build": growth_exponent(sizes, [result.build_s for result in own]),
                "size": growth_exponent(sizes, [result.size_bytes for result in own]),
                "latency": growth_exponent(
                    [size for size, _ in reached], [point.p50_ms for _, point in reached]
                ),
                "least_recall": least_recall,
            }
        )
    return rows


def ann_json(vectors: AnnVectors, results: Sequence[AnnResult]) -> dict[str, Any]:
    """Everything as one object."""
    return {
        "vectors": vectors.source,
        "n_queries": len(vectors.queries),
        "dim": vectors.rows.shape[1],
        "results": [asdict(result) for result in results],
        "growth": growths(results),
    }


def _measure(
    kind: str, rows: Embeddings, queries: Embeddings, truth: NDArray[np.int64]
) -> AnnResult:
    from lbr_search.index.faiss_index import one_thread

    with tempfile.TemporaryDirectory() as folder, peak_memory() as peak:
        started = time.perf_counter()
        built = BUILDERS[kind](rows, Path(folder))
        build_s = time.perf_counter() - started
        with one_thread():
            curve = [_point(built, value, queries, truth) for value in built.values]
    return AnnResult(kind, len(rows), build_s, built.size_bytes, peak.rss_mb, curve)


def _point(
    built: BuiltIndex, value: int, queries: Embeddings, truth: NDArray[np.int64]
) -> CurvePoint:
    built.search(queries[:1], K, value)  # opens and warms
    found: list[NDArray[np.int64]] = []
    passes = []
    for _ in range(PASSES):
        found, seconds = [], []
        for number in range(len(queries)):
            started = time.perf_counter()
            found.append(built.search(queries[number : number + 1], K, value))
            seconds.append(time.perf_counter() - started)
        passes.append(seconds)
    # each query's best: other work on the machine makes it slower and never faster
    seconds = [min(times) for times in zip(*passes, strict=True)]
    hits = [len(set(a.tolist()) & set(b.tolist())) for a, b in zip(found, truth, strict=True)]
    return CurvePoint(
        setting=built.setting,
        value=value,
        recall=float(np.mean(hits)) / K,
        queries_per_s=len(queries) / sum(seconds),
        p50_ms=1e3 * float(np.median(seconds)),
    )


def _free_bytes() -> int | None:
    if not _MEMINFO.is_file():
        return None
    for line in _MEMINFO.read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None
