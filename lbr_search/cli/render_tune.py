"""What `lbr-search tune` found, for people and for programs."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import TYPE_CHECKING, Any

from lbr_search.cli.console import show_json, to_stderr
from lbr_search.cli.render import show_pairs, show_records
from lbr_search.config import SearchConfig

if TYPE_CHECKING:
    from lbr_search.bench.tune import TuneResult


def show_tune(result: TuneResult, *, as_json: bool) -> None:
    """Print the choice, what it is worth on held-out queries, and how certain it is."""
    if as_json:
        show_json(tune_json(result))
        return
    show_records(
        [
            {"suite": name, **{column: f"{mean:.3f}" for column, mean in means.items()}}
            for name, means in result.means.items()
        ],
        as_json=False,
    )
    tuned, evidence, compared = result.tuned, result.tuned.evidence, result.comparison
    folds = Counter(described(config) for config in result.by_fold)
    low, high = compared.interval
    show_pairs(
        {
            "settings": described(tuned.apply(result.by_fold[0]))
            + ("" if result.is_changed else " (the defaults: no choice was better held out)"),
            "chosen by": ", ".join(
                f"{n} of {evidence.n_folds} {name}" for name, n in folds.items()
            ),
            "held out": f"{compared.difference:+.3f} nDCG@10 over all {evidence.n_queries} queries "
            f"({low:+.3f} to {high:+.3f}), p {compared.p_value:.3f}"
            + ("" if compared.is_shown else ": no difference shown"),
        }
    )
    to_stderr(f"written to {result.path}; queries read it from now on")


def described(config: SearchConfig) -> str:
    """The tuned settings of `config` in a few words.

    >>> described(SearchConfig(dense_weight=0.3)), described(SearchConfig(fusion="rrf", rrf_k=10))
    ('convex 0.3', 'rrf 10')
    """
    value = f"{config.rrf_k}" if config.fusion == "rrf" else f"{config.dense_weight:g}"
    reranker = f" + {config.reranker_name} {config.rerank_weight:g}" if config.rerank else ""
    return f"{config.fusion} {value}{reranker}"


def tune_json(result: TuneResult) -> dict[str, Any]:
    """A result as ``tune --json`` prints it."""
    tuned = dataclasses.asdict(result.tuned)
    return {
        "path": str(result.path),
        "is_changed": result.is_changed,
        **tuned,
        "means": {name: dict(means) for name, means in result.means.items()},
        "by_fold": [described(config) for config in result.by_fold],
        "difference": result.comparison.difference,
        "interval": list(result.comparison.interval),
        "warnings": list(result.warnings),
    }
