"""The records of a benchmark, and the JSON object that they become."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lbr_search.bench.metrics import METRICS, Evaluation
from lbr_search.bench.significance import Comparison
from lbr_search.corpus.manifest import Reference
from lbr_search.errors import ConfigError

MODES = ("lexical", "dense", "hybrid")
"""Arms of an encoder, in the order of tables; lexical needs none and is measured once."""
FIRST_HITS = 5
"""Hits of each query that are kept for a reader to look at."""
PEER_PREFIX = "st:"
"""Encoders of other people are named in full in every arm, ours by the mode alone."""


Why = Callable[[str], Mapping[str, Sequence[str]]]
"""Text of a query -> document id -> why the hit stands where it stands, one fact each."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds from query text to hits, one query at a time."""

    p50: float
    p95: float
    p99: float
    n_queries: int


@dataclass(frozen=True, slots=True)
class Cost:
    """What an arm takes: time, disk and memory."""

    seconds: float
    """To encode and rank all queries of the suite in one call."""
    latency: Latency
    index_mb: float
    """The whole index folder that the arm searched, in 10^6 bytes."""
    documents_per_s: float
    """Of the build of that index, when it was built."""
    bytes_per_document: float
    """Of that index."""
    peak_rss_mb: float | None
    """Of the whole process while the arm was measured, in 10^6 bytes; None = not known."""
    gpu_joules: float | None = None
    """Of all GPUs of the machine, to encode and rank all queries; None = not known."""

    def to_json(self, n_queries: int) -> dict[str, Any]:
        """The part of an arm in the JSON file."""
        return {
            "seconds": self.seconds,
            "latency_ms": {
                "p50": self.latency.p50,
                "p95": self.latency.p95,
                "p99": self.latency.p99,
            },
            "index_mb": self.index_mb,
            "queries_per_s": n_queries / self.seconds,
            "documents_per_s": self.documents_per_s,
            "index_bytes_per_document": self.bytes_per_document,
            "peak_rss_mb": self.peak_rss_mb,
            "gpu_joules": self.gpu_joules,
        }

    @staticmethod
    def absent() -> dict[str, Any]:
        """The same keys for an arm that was not measured here."""
        return {
            "seconds": None,
            "latency_ms": {"p50": None, "p95": None, "p99": None},
            "index_mb": None,
            "queries_per_s": None,
            "documents_per_s": None,
            "index_bytes_per_document": None,
            "peak_rss_mb": None,
            "gpu_joules": None,
        }


@dataclass(frozen=True, slots=True)
class ArmResult:
    """One way to search one suite."""

    evaluation: Evaluation
    cost: Cost | None
    """None = imported: its hits were found elsewhere."""
    first_hits: Mapping[str, Sequence[tuple[str, float]]] = field(default_factory=dict)
    """query_id -> the first `FIRST_HITS` hits with their scores, best first."""
    beside: str = ""
    """Of another search engine: the mode of ours that it is compared with."""

    def to_json(self) -> dict[str, Any]:
        """The arm as the JSON file holds it; costs of an imported arm are null."""
        found = self.evaluation
        return {
            **found.means,
            "n_queries": found.n_queries,
            "n_without_hits": found.n_without_hits,
            "n_without_relevant": found.n_without_relevant,
            "n_graded": found.n_graded,
            **(Cost.absent() if self.cost is None else self.cost.to_json(found.n_queries)),
            "per_query": dict(found.per_query[METRICS[0]]),
            "per_query_by_metric": {
                name: dict(values) for name, values in found.per_query.items() if name != METRICS[0]
            },
        }


@dataclass(frozen=True, slots=True)
class SuiteIngest:
    """One suite in one index: built now, or found in the cache."""

    encoder: str
    fingerprint: str
    folder: Path
    is_reused: bool
    n_documents: int
    n_chunks: int
    n_built: int
    """Documents of the last build, all but where one that was cut off was gone on with."""
    n_truncated: int
    """Chunks that the encoder read in part; the counts and times are those of the build."""
    n_tokens_lost: int
    encode_seconds: float
    seconds: float
    analyser: str
    backend: str
    ann: str
    index_mb: float

    @property
    def documents_per_s(self) -> float:
        """Of the last build, encoding included."""
        return self.n_built / self.seconds

    @property
    def bytes_per_document(self) -> float:
        """Of the whole index folder."""
        return 1e6 * self.index_mb / max(1, self.n_documents)

    def to_json(self) -> dict[str, Any]:
        """The ingest as the settings hold it."""
        return {
            "fingerprint": self.fingerprint,
            "folder": str(self.folder),
            "reused": self.is_reused,
            "n_documents": self.n_documents,
            "n_chunks": self.n_chunks,
            "seconds": self.seconds,
            "encode_seconds": self.encode_seconds,
            "n_truncated": self.n_truncated,
            "n_tokens_lost": self.n_tokens_lost,
            "analyser": self.analyser,
            "backend": self.backend,
            "ann": self.ann,
            "index_mb": self.index_mb,
        }


@dataclass(slots=True)
class SuiteResult:
    """All arms of one suite."""

    name: str
    domain: str
    content_hash: str
    n_documents: int = 0
    is_synthetic: bool = False
    references: tuple[Reference, ...] = ()
    """What others measured on the same suite."""
    task_id: str = ""
    """MTEB's name of the task, by the suite's manifest; else the suite's own name."""
    arms: dict[str, ArmResult] = field(default_factory=dict)
    ingests: dict[str, SuiteIngest] = field(default_factory=dict)
    """By encoder name."""
    comparisons: dict[tuple[str, str], Comparison] = field(default_factory=dict)
    """(system arm, baseline arm) -> how nDCG@10 differs, over the same queries."""
    warnings: list[str] = field(default_factory=list)
    why: dict[str, Why] = field(default_factory=dict, repr=False, compare=False)
    """Arm -> what explains its first hits, where a page is written; not part of the JSON."""

    @property
    def label(self) -> str:
        """The name as tables show it."""
        return f"{self.name} (synthetic)" if self.is_synthetic else self.name

    @property
    def n_queries(self) -> int:
        """Judged queries, the same in every arm."""
        return next((arm.evaluation.n_queries for arm in self.arms.values()), 0)

    def settings(self) -> dict[str, Any]:
        """What stands about this suite under ``settings`` in the JSON."""
        return {
            "domain": self.domain,
            "content_hash": self.content_hash,
            "n_documents": self.n_documents,
            "n_queries": self.n_queries,
            "synthetic": self.is_synthetic,
            "task_id": self.task_id,
            "references": [asdict(reference) for reference in self.references],
            "ingests": {name: ingest.to_json() for name, ingest in self.ingests.items()},
            "comparisons": [
                {"system": system, "baseline": baseline, **comparison_json(found)}
                for (system, baseline), found in self.comparisons.items()
            ],
            "warnings": list(self.warnings),
        }


@dataclass(frozen=True, slots=True)
class BenchResult:
    """Everything that one call of `run_bench` measured."""

    suites: Mapping[str, SuiteResult]
    settings: Mapping[str, Any]
    """Full effective configuration, versions and fingerprints; no results."""

    @property
    def warnings(self) -> list[str]:
        """What a reader of the numbers must know, each with its suite."""
        return [f"{name}: {text}" for name, suite in self.suites.items() for text in suite.warnings]

    def to_json(self) -> dict[str, Any]:
        """``{"suites": {NAME: {"arms": {ARM: ...}}}, "settings": {...}}``."""
        return {
            "suites": {
                name: {"arms": {arm: found.to_json() for arm, found in suite.arms.items()}}
                for name, suite in self.suites.items()
            },
            "settings": {
                **self.settings,
                "suites": {name: suite.settings() for name, suite in self.suites.items()},
                "warnings": self.warnings,
            },
        }


def write_json(values: Mapping[str, Any], path: Path) -> None:
    """Write results under another name, then rename; the folder is made.

    Raises:
        ConfigError: the file cannot be written.
    """
    write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n", path)


def write_text(text: str, path: Path) -> None:
    """Write a file under another name, then rename; the folder is made.

    Raises:
        ConfigError: the file cannot be written.
    """
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_text(text, "utf-8")
        unfinished.replace(path)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error}.", "give another file") from error


def make_folder(folder: Path) -> None:
    """Make a folder for results, before the work and not after it.

    Raises:
        ConfigError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be made: {error}.", "give another folder") from error


def comparison_json(comparison: Comparison) -> dict[str, Any]:
    """A comparison as the settings hold it, in the unit of the metric (0 to 1)."""
    return {
        "ndcg@10_difference": comparison.difference,
        "p_value": comparison.p_value,
        "p_holm": comparison.p_holm,
        "n_compared": comparison.n_compared,
        "interval_95": list(comparison.interval),
        "effect_size": comparison.effect_size,
        "smallest_shown_at_80_percent_power": comparison.smallest_shown,
        "wins": comparison.wins,
        "ties": comparison.ties,
        "losses": comparison.losses,
        "shown": comparison.is_shown,
        "verdict": comparison.verdict,
    }


def arm_name(encoder: str, mode: str, *, is_default: bool, reranker: str = "") -> str:
    """The name of an arm.

    >>> arm_name("lbr-mini", "hybrid", is_default=True, reranker="maxsim")
    'hybrid+maxsim'
    >>> arm_name("st:e5", "dense", is_default=False)
    'st:e5:dense'
    """
    first_stage = mode if is_default or mode == "lexical" else f"{encoder}:{mode}"
    return f"{first_stage}+{reranker}" if reranker else first_stage
