"""TREC runs of other systems as arms of a benchmark, under the same measures and tests."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lbr_search.bench.arms import first_hits
from lbr_search.bench.metrics import DEPTH, evaluate
from lbr_search.bench.results import ArmResult
from lbr_search.bench.trec_io import ranked, read_run
from lbr_search.corpus.suite import Suite
from lbr_search.errors import ConfigError, CorpusError
from lbr_search.types import Run

SUITE_PLACE = "{suite}"
"""In the name of a file: stands for the name of each suite."""
_SHOWN_IDS = 5


@dataclass(frozen=True, slots=True)
class ImportedRun:
    """A system by name, and the file of its run; one file a suite where it holds `SUITE_PLACE`."""

    name: str
    pattern: str

    def file(self, suite: str) -> Path:
        """The run of one suite."""
        return Path(self.pattern.replace(SUITE_PLACE, suite)).expanduser()


def parse_runs(given: Sequence[str]) -> tuple[ImportedRun, ...]:
    """``NAME=FILE`` of the command line.

    Raises:
        ConfigError: a value has another form, or a name is given twice.
    """
    runs: dict[str, ImportedRun] = {}
    for value in given:
        name, _, pattern = value.partition("=")
        if not name or not pattern or name in runs:
            raise ConfigError(
                f"--run {value!r} is not NAME=FILE with a new NAME.",
                f"--run bm25=bm25.trec, or for several suites --run bm25=runs/{SUITE_PLACE}.trec",
            )
        runs[name] = ImportedRun(name, pattern)
    return tuple(runs.values())


def refuse_shared_files(runs: Sequence[ImportedRun], suites: Sequence[str]) -> None:
    """Refuse one file for several suites: it can hold the queries of one only.

    Raises:
        ConfigError: names the run.
    """
    for run in runs:
        if len(suites) > 1 and SUITE_PLACE not in run.pattern:
            raise ConfigError(
                f"--run {run.name}={run.pattern} names one file for {len(suites)} suites: "
                f"{', '.join(suites)}.",
                f"put {SUITE_PLACE} where the names of the files differ, or bench one suite",
            )


def import_arm(
    suite: Suite, run: ImportedRun, *, metrics: Sequence[str]
) -> tuple[ArmResult, list[str]]:
    """Measure a run as if the hits were our own.

    Every metric but those with a cutoff beyond `DEPTH` reads the first `DEPTH` hits, as of every
    arm.

    Returns:
        The arm, which has no cost, and warnings.

    Raises:
        CorpusError: the file cannot be read (a line of another form, a score that is not finite, a
            document twice for a query), or its queries are not those of the suite.
    """
    file = run.file(suite.name)
    hits = read_run(file)
    _refuse_other_queries(hits, suite, file)
    cut = {query_id: dict(ranked(found)[:DEPTH]) for query_id, found in hits.items()}
    evaluation = evaluate(cut, suite.qrels, deep_run=hits, metrics=metrics)
    warnings = [f"{run.name}: {sentence}" for sentence in _oddities(hits, suite)]
    return ArmResult(evaluation, None, first_hits(cut)), warnings


def _refuse_other_queries(hits: Run, suite: Suite, file: Path) -> None:
    asked = [query.query_id for query in suite.queries]
    missing = [query_id for query_id in asked if query_id not in hits]
    strange = [query_id for query_id in hits if query_id not in suite.qrels]
    if not missing and not strange:
        return
    lines = [
        f"{file} does not answer the queries of {suite.name} ({suite.split}): it has "
        f"{len(hits)}, the suite {len(asked)}, {len(asked) - len(missing)} of them in common."
    ]
    for what, ids in (("not in the file", missing), ("not in the suite", strange)):
        if ids:
            more = f" and {len(ids) - _SHOWN_IDS} more" if len(ids) > _SHOWN_IDS else ""
            lines.append(f"{what}: {', '.join(ids[:_SHOWN_IDS])}{more}")
    raise CorpusError(
        "\n  ".join(lines),
        "give the run of this split; a query for which nothing was found needs one line with a "
        "document that does not exist",
    )


def _oddities(hits: Run, suite: Suite) -> list[str]:
    known = {document.doc_id for document in suite.documents()}
    unknown = sum(doc_id not in known for found in hits.values() for doc_id in found)
    unsorted = sum(not _falls(found) for found in hits.values())
    longer = sum(len(found) > DEPTH for found in hits.values())
    n_hits = sum(map(len, hits.values()))
    counts = [
        (unknown, f"{unknown} of {n_hits} hits are not in the corpus"),
        (
            unsorted,
            f"the lines of {unsorted} of {len(hits)} queries are not in the order of their "
            "scores; the scores count, as in trec_eval",
        ),
        (longer, f"{longer} queries have over {DEPTH} hits; only recall beyond that reads them"),
    ]
    return [sentence for count, sentence in counts if count]


def _falls(found: Mapping[str, float]) -> bool:
    return all(first >= second for first, second in itertools.pairwise(found.values()))
