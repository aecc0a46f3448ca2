"""What stays the same for all suites of one benchmark, and how the results say so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lbr_search.bench.arms import LATENCY_HITS
from lbr_search.bench.environment import describe_environment
from lbr_search.bench.imported import ImportedRun
from lbr_search.bench.metrics import DEEP_DEPTH, DEPTH
from lbr_search.bench.queries import LATENCY_QUERIES
from lbr_search.bench.resampling import RESAMPLES
from lbr_search.bench.suites import default_encoder, labels_of
from lbr_search.config import ChunkConfig, IndexConfig, SearchConfig, to_mapping
from lbr_search.index.report import BuildProgress
from lbr_search.protocols import Encoder


@dataclass(frozen=True, slots=True)
class BenchProgress:
    """Where a benchmark is: a suite, what is done with it, and how far an ingest has come."""

    suite: str
    step: str
    build: BuildProgress | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What stays the same for all suites of one call."""

    modes: tuple[str, ...]
    encoders: tuple[Encoder, ...]
    home: Path
    runs_dir: Path | None
    chunk: ChunkConfig
    index: IndexConfig
    search: SearchConfig
    rerankers: tuple[str, ...]
    metrics: tuple[str, ...]
    peers: tuple[str, ...]
    imported: tuple[ImportedRun, ...]
    is_fresh: bool
    is_explained: bool
    """Whether a page will say of single hits why they stand where they stand."""
    progress: Callable[[BenchProgress], None]


def settings_of(plan: Plan, split: str) -> dict[str, object]:
    """Full effective configuration, versions and fingerprints, as the results hold them."""
    default = default_encoder(plan.encoders)
    return {
        "split": split,
        "modes": list(plan.modes),
        "encoders": [
            {
                "name": label,
                "spec": encoder.spec,
                "fingerprint": encoder.fingerprint,
                "dim": encoder.dim,
                "max_tokens": encoder.max_tokens,
                "default": encoder is default,
            }
            for encoder, label in zip(plan.encoders, labels_of(plan.encoders), strict=True)
        ],
        "rerankers": list(plan.rerankers),
        "peers": list(plan.peers),
        "imported": {run.name: run.pattern for run in plan.imported},
        "chunk": to_mapping(plan.chunk),
        "index": to_mapping(plan.index),
        "search": to_mapping(plan.search),
        "metrics": {
            "names": list(plan.metrics),
            "depth": DEPTH,
            "deep_depth": DEEP_DEPTH,
            "library": "ir-measures",
        },
        "latency": {
            "queries": LATENCY_QUERIES,
            "k": LATENCY_HITS,
            "from": "query text",
            "to": "hits with their texts",
            "unit": "ms, one query at a time",
        },
        "significance": {
            "test": "paired randomisation, two-sided",
            "correction": "Holm, over all suites and arms of the call",
            "interval": "paired bootstrap, percentiles, 95 %",
            "resamples": RESAMPLES,
            "seed": 0,
        },
        "environment": describe_environment(),
    }
