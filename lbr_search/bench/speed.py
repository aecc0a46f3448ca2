"""Speed and memory: what `lbr-search bench --speed` measures, each figure with how.

Comparisons are paired: A and B run in turn in one process with the same threads, and the ratio is
the median over the turns, with its range. Ratios hold on another machine; seconds do not.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lbr_search.bench.cache import BENCH_INDEXES
from lbr_search.bench.environment import describe_environment
from lbr_search.bench.results import make_folder, write_json
from lbr_search.bench.scale import SCALE_GOALS, ScaleTask
from lbr_search.bench.speed_inputs import (
    SyntheticEncoder,
    SyntheticPassages,
    make_chunks,
    make_texts,
    make_vectors,
)
from lbr_search.bench.suites import DEFAULT_PEER
from lbr_search.bench.timing import each_query, in_turn, spread
from lbr_search.config import IndexConfig, SearchConfig, check
from lbr_search.encoder.load import DEFAULT_ENCODER, load_encoder
from lbr_search.errors import EncoderError, IndexFormatError
from lbr_search.index.build import build, build_from_vectors
from lbr_search.index.opened import open_index
from lbr_search.protocols import CompressingEncoder, Encoder
from lbr_search.search.searcher import Searcher

PARTS = ("encode", "ingest", "search", "rerank", "cold_query", "scale")
COLD_QUERY = "what does a statement do when the iterable is exhausted"


@dataclass(frozen=True, slots=True)
class SpeedOptions:
    """Sizes of the measurement."""

    parts: tuple[str, ...] = PARTS[:-1]
    """What is measured; ``scale`` takes minutes and gigabytes, so it is asked for."""
    words: int = 150
    """Of each text."""
    encode_documents: int = 256
    repeats: int = 5
    """Turns of A and B; starts of a cold query."""
    ingest_chunks: int = 2_000
    search_chunks: int = 100_000
    search_queries: int = 200
    scale_rows: int = 1_000_000
    dim: int = 384
    """Of synthetic vectors."""

    def __post_init__(self) -> None:
        known = set(self.parts) <= set(PARTS) and bool(self.parts)
        check(known, "parts", list(self.parts), f"of {', '.join(PARTS)}")
        sizes = (
            "words",
            "encode_documents",
            "repeats",
            "ingest_chunks",
            "search_chunks",
            "search_queries",
            "scale_rows",
            "dim",
        )
        for name in sizes:
            check(getattr(self, name) > 0, name, getattr(self, name), "> 0")


@dataclass(frozen=True, slots=True)
class SpeedResult:
    """Parts measured -> figures; each part has ``how`` and, where there is one, ``goal``."""

    parts: dict[str, dict[str, Any]]
    settings: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """``{"speed": {PART: {...}}, "settings": {...}}``."""
        return {"speed": self.parts, "settings": self.settings}


def run_speed(
    encoder: str | Encoder = DEFAULT_ENCODER,
    *,
    home: Path | str = Path(),
    json_path: Path | str | None = None,
    options: SpeedOptions | None = None,
    progress: Callable[[str], None] | None = None,
) -> SpeedResult:
    """Measure speed and memory.

    Args:
        encoder: whose encoding and ingest are measured.
        home: scratch indexes are made under its ``indexes/bench`` and removed again.
        json_path: write the figures there.
        options: parts and sizes.
        progress: told of every part.

    Raises:
        ConfigError: `json_path` cannot be written.
        EncoderError: the encoder cannot be loaded.
        MissingExtraError: the packages of the model compared with are absent.
    """
    options = options or SpeedOptions()
    opened = load_encoder(encoder) if isinstance(encoder, str) else encoder
    say = progress or (lambda _: None)
    scratch = Path(home) / BENCH_INDEXES
    make_folder(scratch)
    parts: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="speed-", dir=scratch) as name:
        folder = Path(name)
        measures: dict[str, Callable[[], dict[str, Any]]] = {
            "encode": lambda: measure_encode(opened, options),
            "ingest": lambda: measure_ingest(opened, folder / "ingest", options),
            "search": lambda: measure_search(folder / "search", options),
            "rerank": lambda: measure_rerank(opened, folder / "rerank", options),
            "cold_query": lambda: measure_cold_query(opened, folder / "cold", options),
            "scale": lambda: measure_scale(folder / "scale", options),
        }
        for part in PARTS:
            if part in options.parts:
                say(part)
                parts[part] = measures[part]()
    settings = {
        "encoder": {"spec": opened.spec, "fingerprint": opened.fingerprint, "dim": opened.dim},
        "options": {**asdict(options), "parts": list(options.parts)},
        "environment": describe_environment(),
    }
    result = SpeedResult(parts, settings)
    if json_path is not None:
        write_json(result.to_json(), Path(json_path))
    return result


def measure_encode(encoder: Encoder, options: SpeedOptions) -> dict[str, Any]:
    """Documents per second beside sentence-transformers' default all-MiniLM-L6-v2."""
    from lbr_search.encoder.peer import load_model, locate_model

    folder, _, _ = locate_model(DEFAULT_PEER.partition(":")[2])
    peer = load_model(folder)
    texts = make_texts(options.encode_documents, words=options.words)
    ours, theirs = in_turn(
        lambda: encoder.encode_passages(texts),
        lambda: peer.encode(texts, show_progress_bar=False),
        repeats=options.repeats,
    )
    return {
        "how": f"{len(texts)} texts of {options.words} words, both encoders at their defaults in "
        "one process, in turn, after one unmeasured turn",
        "goal": "ratio >= 2",
        "encoder": encoder.name,
        "compared_with": f"{DEFAULT_PEER} through SentenceTransformer.encode",
        "documents_per_s": len(texts) / statistics.median(ours),
        "compared_documents_per_s": len(texts) / statistics.median(theirs),
        "ratio": spread([b / a for a, b in zip(ours, theirs, strict=True)]),
    }


def measure_ingest(encoder: Encoder, folder: Path, options: SpeedOptions) -> dict[str, Any]:
    """What an ingest takes beside encoding."""
    chunks = make_chunks(make_texts(options.ingest_chunks, words=options.words))
    started = time.perf_counter()
    report = build(chunks, encoder=encoder, folder=folder, config=IndexConfig(), domain="")
    total = time.perf_counter() - started
    encode = report.seconds["encode"]
    return {
        "how": f"{len(chunks)} chunks of {options.words} words: (total - encode) / encode",
        "goal": "overhead_share <= 0.15 at 20,000 chunks",
        "n_chunks": len(chunks),
        "total_s": total,
        "encode_s": encode,
        "overhead_share": (total - encode) / encode,
        "phases_s": dict(report.seconds),
    }


def measure_search(folder: Path, options: SpeedOptions) -> dict[str, Any]:
    """Search after encoding: beside raw FAISS, and hybrid beside its legs."""
    import faiss

    vectors = make_vectors(options.search_chunks, dim=options.dim)
    chunks = make_chunks(make_texts(options.search_chunks, words=options.words))
    encoder = SyntheticEncoder(options.dim)
    build_from_vectors(
        [(chunks, vectors)], encoder=encoder, folder=folder, config=IndexConfig(ann="flat")
    )
    raw = faiss.IndexFlatIP(options.dim)
    raw.add(vectors)
    searcher, opened = Searcher.open(folder, encoder=encoder), open_index(folder, encoder=None)
    depth = searcher.config.depth
    queries = make_texts(options.search_queries, words=8, seed=1)
    steps: dict[str, Callable[[str], object]] = {
        "raw_faiss": lambda text: raw.search(encoder.encode_queries([text]), 10),
        "dense": lambda text: searcher.search(text, k=10, mode="dense"),
        "lexical_engine": lambda text: opened.lexical([text], k=depth),
        "lexical": lambda text: searcher.search(text, k=10, mode="lexical"),
        "hybrid": lambda text: searcher.search(text, k=10, mode="hybrid"),
    }
    taken = each_query(steps, queries)
    added = np.array(taken["hybrid"]) - np.array(taken["dense"]) - np.array(taken["lexical_engine"])
    ratios = np.array(taken["dense"]) / np.array(taken["raw_faiss"])
    return {
        "how": f"{len(chunks)} chunks of {options.words} words and {options.dim} dimensions, flat; "
        f"{len(queries)} queries of 8 words one at a time, every way in turn; a query's vector "
        "costs microseconds; raw_faiss: IndexFlatIP.search of 10; the others: text to 10 hits, "
        f"{depth} candidates a leg; lexical_engine: OpenedIndex.lexical of {depth} alone",
        "goal": "dense_to_raw_p50 <= 1.3, hybrid_added_ms <= 2",
        "p50_ms": {name: float(np.median(values)) for name, values in taken.items()},
        "p95_ms": {name: float(np.percentile(values, 95)) for name, values in taken.items()},
        "dense_to_raw_p50": float(np.median(taken["dense"]) / np.median(taken["raw_faiss"])),
        "dense_to_raw": spread(ratios.tolist()),
        "hybrid_added_ms": float(np.median(added)),
    }


def measure_rerank(encoder: Encoder, folder: Path, options: SpeedOptions) -> dict[str, Any]:
    """Hybrid search with the encoder's own queries, and what reranking by stored vectors adds."""
    goal = "hybrid p50 <= 60 ms; added: maxsim <= 5 ms, likelihood <= 150 ms; many_to_loop >= 5"
    if not isinstance(encoder, CompressingEncoder):
        return {"how": f"not measured: {encoder.name} keeps one vector of a text", "goal": goal}
    synthetic = SyntheticPassages(encoder)
    chunks = make_chunks(make_texts(options.search_chunks, words=options.words))
    config = IndexConfig(ann="flat", multi_vector=True)
    build(chunks, encoder=synthetic, folder=folder, config=config, domain="")
    depths = {"maxsim": 100, "likelihood": 50}
    settings = {"hybrid": SearchConfig()}
    settings |= {name: SearchConfig(rerank=name, rerank_depth=n) for name, n in depths.items()}
    searchers = {
        name: Searcher.open(folder, encoder=synthetic, config=each)
        for name, each in settings.items()
    }
    queries = make_texts(options.search_queries, words=8, seed=1)
    taken = each_query(
        {name: partial(searcher.search, k=10) for name, searcher in searchers.items()}, queries
    )
    hybrid = searchers["hybrid"]
    loop, many = in_turn(
        lambda: [hybrid.search(query, k=10) for query in queries],
        lambda: hybrid.search_many(queries, k=10),
        repeats=options.repeats,
    )
    added = {name: np.array(taken[name]) - np.array(taken["hybrid"]) for name in depths}
    return {
        "how": f"{len(chunks)} chunks of {options.words} words with made-up vectors, flat; "
        f"{options.search_queries} queries of 8 words, encoded one at a time, text to 10 hits, "
        f"every way in turn; depth {depths['maxsim']} for maxsim, {depths['likelihood']} for "
        "likelihood; added: the median over queries of the difference to hybrid; many_to_loop: "
        "queries/s of one search_many of all, hybrid, over those of a loop of search, in turn",
        "goal": goal,
        "p50_ms": {name: float(np.median(values)) for name, values in taken.items()},
        "p95_ms": {name: float(np.percentile(values, 95)) for name, values in taken.items()},
        "added_ms": {name: float(np.median(values)) for name, values in added.items()},
        "many_to_loop": spread([a / b for a, b in zip(loop, many, strict=True)]),
    }


def measure_cold_query(encoder: Encoder, folder: Path, options: SpeedOptions) -> dict[str, Any]:
    """A new process from its start to its answer."""
    chunks = make_chunks(make_texts(options.ingest_chunks, words=options.words))
    vectors = make_vectors(len(chunks), dim=encoder.dim)
    build_from_vectors([(chunks, vectors)], encoder=encoder, folder=folder, config=IndexConfig())
    start = "from lbr_search.cli import main; main()"
    command = [sys.executable, "-c", start, "query", COLD_QUERY, "--index", str(folder), "--json"]
    seconds = []
    for _ in range(options.repeats):
        started = time.perf_counter()
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        seconds.append(time.perf_counter() - started)
        lines = answer.stdout.splitlines()
        if answer.returncode or not lines:
            raise IndexFormatError(
                f"lbr-search query ended with {answer.returncode}: {answer.stderr.strip()[-500:]}",
                f"lbr-search query {COLD_QUERY!r} --index DIR",
            )
        if not any(json.loads(line)["legs"].get("dense") for line in lines):
            raise EncoderError(
                f"a new process answers without the dense leg: it cannot load {encoder.spec!r}.",
                f"give an encoder by its name or folder, e.g. {DEFAULT_ENCODER}",
            )
    return {
        "how": f"lbr-search query in a new process, {len(chunks)} chunks, wall clock from start "
        "to exit; the first start may read the disk, later ones its cache",
        "goal": "seconds < 4",
        "first_s": seconds[0],
        "seconds": spread(seconds),
    }


def measure_scale(folder: Path, options: SpeedOptions) -> dict[str, Any]:
    """Many vectors through the store and an inverted file, in a process of its own."""
    folder.mkdir(parents=True)
    task = ScaleTask(str(folder / "index"), options.scale_rows, options.dim)
    (folder / "task.json").write_text(json.dumps(asdict(task)))
    command = [sys.executable, "-m", "lbr_search.bench.scale", str(folder)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode:
        raise IndexFormatError(
            f"the index of {task.n_rows} rows was not built (exit status {answer.returncode}):\n"
            f"{answer.stderr.strip()[-1000:]}",
            "free memory and disk space, or measure fewer rows",
        )
    figures: dict[str, Any] = json.loads((folder / "figures.json").read_text())
    return {"goal": SCALE_GOALS, **figures}
