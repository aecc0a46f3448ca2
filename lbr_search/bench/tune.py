"""`tune`: the search settings that suit an index, by judged queries that are not for testing."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lbr_search import __version__
from lbr_search.bench.significance import Comparison, compare
from lbr_search.bench.suites import open_suites
from lbr_search.bench.tune_values import Subject, measure
from lbr_search.config import SearchConfig
from lbr_search.corpus.suite import Suite, split_query_ids
from lbr_search.errors import ConfigError, CorpusError
from lbr_search.index.lock import single_writer
from lbr_search.index.tuned import TUNED_FIELDS, Evidence, Tuned, write_tuned
from lbr_search.protocols import Encoder

FOLDS = 5
FEWEST_QUERIES = 4 * FOLDS
"""Below it a fold has fewer than four queries, and an estimate says nothing."""
WEIGHTS = tuple(round(0.1 * n, 1) for n in range(11))
RRF_KS = (10, 60)
RERANK_WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0)
TEST = "test"

Values = Mapping[str, NDArray[np.float64]]
"""Suite -> (settings, queries) nDCG@10."""


@dataclass(frozen=True, slots=True)
class TuneResult:
    """What was chosen, and what it is worth."""

    tuned: Tuned
    path: Path
    is_changed: bool
    """False where no setting was better than the defaults on queries it was not chosen on."""
    means: Mapping[str, Mapping[str, float]]
    """Suite -> default, held out, chosen: mean nDCG@10, the last on the very queries that chose."""
    by_fold: tuple[SearchConfig, ...]
    """The choice of each outer fold: where they differ, the choice is not certain."""
    comparison: Comparison
    """Held out against the defaults, over all queries."""
    warnings: tuple[str, ...]


def tune(  # noqa: PLR0913 - a front door: every option is a keyword with a default
    index: Path,
    suites: Sequence[Path | str],
    *,
    split: str = "dev",
    encoder: str | Encoder | None = None,
    rerank: str = "",
    home: Path = Path(),
    progress: Callable[[str], None] | None = None,
) -> TuneResult:
    """Choose fusion, weight of the dense leg and, if asked, of a reranker; write `search.toml`.

    Every setting of a grid is measured on every query. Nested cross-validation: for each of five
    outer folds the best setting on the other queries is taken, and measured on the fold; the mean
    over the folds estimates what choosing in this way is worth. (No setting is fitted to data, so
    the inner validation folds together are the queries outside of the outer fold.) What is written
    is the best on all queries, but only where that estimate is above the defaults'; otherwise the
    defaults are written. Suites weigh the same, whatever their number of queries.

    Args:
        index: folder of the index; it must hold the documents of the suites.
        suites: folders or names of suites.
        split: whose judgements are used; never a test split.
        encoder: an encoder or its spec; None = the index's own.
        rerank: a reranker whose weight is chosen too, as in `SearchConfig.rerank`.
        home: folder of ``corpora``.
        progress: told of each step.

    Raises:
        ConfigError: a test split, or too few queries.
        CorpusError: no suite, or none of its judged documents is in the index.
        EncoderError, MissingExtraError: a leg cannot be searched.
    """
    if TEST in split.lower():
        raise ConfigError(
            f"the split {split!r} is for reporting: settings that were chosen on it would look "
            "better than they are.",
            "--split dev, or --split train",
        )
    if not suites:
        raise CorpusError("no suite was named.", "--suite DIR, with judged queries of the index")
    say = progress or (lambda _: None)
    opened = open_suites(suites, split=split, home=home)
    for suite, name in zip(opened, suites, strict=True):
        _refuse_shared_queries(suite, name, home)
    n_queries = sum(len(suite.queries) for suite in opened)
    if n_queries < FEWEST_QUERIES:
        raise ConfigError(
            f"{n_queries} queries are too few to tune on; {FEWEST_QUERIES} is the least.",
            "add --suite DIR for more, or --split train",
        )
    default = SearchConfig(rerank=rerank)
    subject = Subject.open(index, encoder=encoder, config=default)
    default = subject.source.settings.config  # with the weight that this index has untuned
    warnings = [sentence for suite in opened for sentence in _absent(subject, suite)]
    grid = settings_grid(default)
    values = {}
    for suite in opened:
        say(f"{suite.name}: {len(suite.queries)} queries, {len(grid)} settings")
        values[suite.name] = measure(subject, suite, grid)
    return _choose(subject, opened, grid, values, tuple(warnings))


def settings_grid(default: SearchConfig) -> list[SearchConfig]:
    """The settings that are tried; the default first, so that it wins a tie."""
    fusions = [dataclasses.replace(default, fusion="rrf", rrf_k=k) for k in RRF_KS]
    fusions += [
        dataclasses.replace(default, fusion=name, dense_weight=weight)
        for name, weight in itertools.product(("convex", "zscore", "dbsf"), WEIGHTS)
    ]
    weights = RERANK_WEIGHTS if default.rerank else (default.rerank_weight,)
    tried = [
        dataclasses.replace(each, rerank_weight=weight)
        for each, weight in itertools.product(fusions, weights)
    ]
    return [default, *(each for each in tried if each != default)]


def folds_of(n_queries: int, *, n_folds: int = FOLDS, seed: int = 0) -> NDArray[np.int64]:
    """(N,) the fold of each query: as even as can be, and the same for the same N."""
    return np.random.default_rng(seed).permutation(n_queries) % n_folds


def nested(
    values: Values, folds: Mapping[str, NDArray[np.int64]]
) -> tuple[list[int], dict[str, NDArray[np.float64]]]:
    """The choice of each fold, and suite -> (N,) each query's value under its fold's choice.

    Args:
        values: suite -> (settings, N).
        folds: suite -> (N,) fold of each query.
    """
    choices = []
    held_out = {name: np.zeros(found.shape[1]) for name, found in values.items()}
    for fold in range(FOLDS):
        best = _best({name: found[:, folds[name] != fold] for name, found in values.items()})
        choices.append(best)
        for name, found in values.items():
            mine = folds[name] == fold
            held_out[name][mine] = found[best, mine]
    return choices, held_out


def _best(values: Values) -> int:
    """The setting of the largest mean over suites; the first of equal ones."""
    means = np.stack([found.mean(axis=1) for found in values.values() if found.shape[1]])
    return int(np.argmax(np.round(means.mean(axis=0), 9)))


def _choose(
    subject: Subject,
    suites: Sequence[Suite],
    grid: Sequence[SearchConfig],
    values: Values,
    warnings: tuple[str, ...],
) -> TuneResult:
    folds = {name: folds_of(found.shape[1]) for name, found in values.items()}
    choices, held_out = nested(values, folds)
    default = {name: found[0] for name, found in values.items()}
    estimate, plain = (_macro(found) for found in (held_out, default))
    comparison = compare(_by_query(suites, held_out), _by_query(suites, default))
    is_changed = estimate > plain
    best = _best(values) if is_changed else 0
    config = grid[best]
    evidence = Evidence(
        suites=tuple(suite.name for suite in suites),
        split=suites[0].split,
        n_queries=sum(len(suite.queries) for suite in suites),
        encoder=subject.source.opened.manifest.seal.fingerprint,
        estimate=round(estimate if is_changed else plain, 6),
        default=round(plain, 6),
        p_value=comparison.p_value,
        n_folds=FOLDS,
        rerank=config.reranker_name,
        version=__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    tuned = Tuned(
        **{name: getattr(config, name) for name in TUNED_FIELDS},
        evidence=evidence,
        rerank_weight={config.reranker_name: config.rerank_weight} if config.rerank else {},
    )
    means = {
        name: {
            "default": float(default[name].mean()),
            "held out": float(held_out[name].mean()),
            "chosen": float(found[best].mean()),
        }
        for name, found in values.items()
    }
    by_fold = tuple(grid[number] for number in choices)
    with single_writer(subject.source.path):
        path = write_tuned(subject.source.path, tuned)
    return TuneResult(tuned, path, is_changed, means, by_fold, comparison, warnings)


def _macro(values: Mapping[str, NDArray[np.float64]]) -> float:
    return float(np.mean([found.mean() for found in values.values()]))


def _by_query(suites: Sequence[Suite], values: Values) -> dict[str, float]:
    return {
        f"{suite.name}/{query.query_id}": float(value)
        for suite in suites
        for query, value in zip(suite.queries, values[suite.name], strict=True)
    }


def _refuse_shared_queries(suite: Suite, name: Path | str, home: Path) -> None:
    """A split that repeats test queries is a test split under another name."""
    shared = suite.qrels.keys() & split_query_ids(name, TEST, home=home)
    if shared:
        raise ConfigError(
            f"{len(shared)} of {len(suite.queries)} queries of {suite.name}, split {suite.split}, "
            f"are test queries too, e.g. {min(shared)!r}.",
            "take those out of the split, or tune on another one",
        )


def _absent(subject: Subject, suite: Suite) -> list[str]:
    """A warning where judged documents are not in the index; none of them there is an error."""
    judged = sorted({doc_id for found in suite.qrels.values() for doc_id in found})
    absent = subject.source.opened.absent(judged)
    if len(absent) == len(judged):
        raise CorpusError(
            f"the index holds none of the {len(judged)} judged documents of {suite.name}, "
            f"e.g. {absent[0]!r}.",
            "tune the index that the suite's documents were ingested into",
        )
    if not absent:
        return []
    return [
        f"{suite.name}: {len(absent)} of {len(judged)} judged documents are not in the index and "
        "count as not found"
    ]
