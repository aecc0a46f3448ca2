"""MTEB task results, mteb's `TaskResult` as JSON: those of others as references, ours written."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lbr_search.bench.metrics import DEPTH
from lbr_search.bench.results import ArmResult, BenchResult, SuiteResult, make_folder, write_json
from lbr_search.corpus.manifest import Reference
from lbr_search.errors import ConfigError

MAIN = "ndcg_at_10"
"""What MTEB ranks retrieval by."""
LANGUAGE = "eng-Latn"
"""Of every suite, as far as is known here; mteb passes over scores without a language."""
_FAMILIES = {
    "ndcg": "ndcg",
    "recall": "recall",
    "rr": "mrr",
    "ap": "map",
    "p": "precision",
    "success": "hit_rate",
}
"""Our name of a measure -> MTEB's; it has none for others."""


@dataclass(frozen=True, slots=True)
class TaskResult:
    """What a file says of one system on one task. Means alone: nothing can be tested with them."""

    system: str
    path: Path
    task: str
    revision: str
    scores: Mapping[str, Sequence[Mapping[str, Any]]]
    """Split -> the scores of each of the task's subsets."""

    def reference(self, split: str) -> Reference:
        """The numbers of a split.

        Raises:
            ConfigError: it is not there, has several subsets, or a score is none.
        """
        subsets = self.scores.get(split, ())
        if len(subsets) != 1:
            has = ", ".join(f"{name} ({len(each)} subsets)" for name, each in self.scores.items())
            raise ConfigError(
                f"{self.path} is of {self.task} and has no split {split!r} of one subset; it has: "
                f"{has or 'none'}.",
                "take a file of one language, or another --split",
            )
        ndcg, recall = (subsets[0].get(key) for key in (MAIN, "recall_at_100"))
        if not _is_share(ndcg) or not (recall is None or _is_share(recall)):
            raise ConfigError(
                f"{self.path}: {MAIN} of {split} is {ndcg!r} and recall_at_100 {recall!r}, not "
                "numbers from 0 to 1.",
                "take a result of a retrieval task",
            )
        source = f"{self.path.name}: MTEB task {self.task}, revision {self.revision}"
        return Reference(self.system, float(ndcg or 0), source, float(recall or 0))


def read_references(given: Sequence[str]) -> tuple[TaskResult, ...]:
    """``NAME=FILE`` of the command line, each file read.

    Raises:
        ConfigError: a value has another form, or a file is no MTEB task result.
    """
    return tuple(_read(value) for value in given)


def match_references(
    results: Sequence[TaskResult], tasks: Mapping[str, str], *, split: str
) -> dict[str, list[Reference]]:
    """The numbers of each suite; same-named tasks are never mixed.

    Args:
        results: of others.
        tasks: suite -> the task that it is (`references.known_of`).
        split: whose numbers.

    Returns:
        Suite -> references.

    Raises:
        ConfigError: no suite is the task of a result, or a number is missing.
    """
    matched: dict[str, list[Reference]] = {suite: [] for suite in tasks}
    for result in results:
        suite = next((suite for suite, task in tasks.items() if task == result.task), None)
        if suite is None:
            here = ", ".join(f"{suite} (task {task})" for suite, task in tasks.items())
            raise ConfigError(
                f"{result.path} is of the task {result.task!r}, which is none of: {here}.",
                "measure that suite, or leave the file out",
            )
        matched[suite].append(result.reference(split))
    return matched


def write_task_results(result: BenchResult, folder: Path, *, split: str) -> list[Path]:
    """Write ``ARM/TASK.json`` of every suite and arm.

    ``mteb_version`` is null, for mteb did not measure this; the revision is the hash of our
    documents.

    Raises:
        ConfigError: a file cannot be written.
    """
    written = []
    for suite in result.suites.values():
        for name, arm in suite.arms.items():
            path = folder / re.sub(r"[^\w.+@-]+", "_", name) / f"{suite.task_id}.json"
            make_folder(path.parent)
            write_json(_task_result(suite, arm, split), path)
            written.append(path)
    return written


def _task_result(suite: SuiteResult, arm: ArmResult, split: str) -> dict[str, Any]:
    scores = {
        name: mean
        for metric, mean in arm.evaluation.means.items()
        if (name := _name_in_mteb(metric)) is not None
    }
    subset = {"hf_subset": "default", "languages": [LANGUAGE], "main_score": scores[MAIN]}
    return {
        "dataset_revision": suite.content_hash,
        "task_name": suite.task_id,
        "mteb_version": None,
        "scores": {split: [{**subset, **scores}]},
        "evaluation_time": None if arm.cost is None else arm.cost.seconds,
        "kg_co2_emissions": None,
    }


def _name_in_mteb(metric: str) -> str | None:
    """The key of a measure, None where MTEB has none.

    >>> _name_in_mteb("rr@10"), _name_in_mteb("ap"), _name_in_mteb("judged@10")
    ('mrr_at_10', 'map_at_100', None)
    """
    family = _FAMILIES.get(metric.partition("@")[0])
    return None if family is None else f"{family}_at_{metric.partition('@')[2] or DEPTH}"


def _read(value: str) -> TaskResult:
    name, _, file = value.partition("=")
    if not name or not file:
        raise ConfigError(
            f"--reference {value!r} is not NAME=FILE.", "--reference e5=results/SciFact.json"
        )
    path = Path(file).expanduser()
    try:
        held = json.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}.", "give an MTEB task result") from error
    problem = next(_problems(held), None)
    if problem is not None:
        raise ConfigError(
            f"{path} is no MTEB task result: {problem}.",
            "give a file that mteb 1.11 or later wrote, such as SciFact.json",
        )
    revision = str(held.get("dataset_revision") or "not named")
    return TaskResult(name, path, held["task_name"], revision, held["scores"])


def _problems(held: Any) -> Iterator[str]:  # noqa: ANN401 - JSON
    if not isinstance(held, dict):
        yield f"it holds a {type(held).__name__}"
        return
    if not isinstance(held.get("task_name"), str):
        yield "it has no task_name"
    scores = held.get("scores")
    if not isinstance(scores, dict) or not all(
        isinstance(subsets, list) and all(isinstance(one, dict) for one in subsets)
        for subsets in scores.values()
    ):
        yield "its scores are not split -> list of subsets"


def _is_share(value: Any) -> bool:  # noqa: ANN401 - JSON
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value) and 0 <= value <= 1
