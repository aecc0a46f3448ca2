"""`bench gate`: is anything significantly worse than in an earlier result? For continuous tests."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.text import Text

from lbr_search.bench.report import COMPARISON_HEADINGS, comparison_cells, rich_table
from lbr_search.bench.significance import ALPHA, Comparison, compare_all, refuse_other_queries
from lbr_search.config import ChunkConfig, from_mapping
from lbr_search.errors import ConfigError, QualityError

Results = Mapping[str, Any]
"""What ``bench --json`` writes."""


@dataclass(frozen=True, slots=True)
class Gate:
    """Present results against earlier ones, arm by arm."""

    comparisons: Mapping[tuple[str, str], Comparison]
    """(suite, arm) -> present minus earlier nDCG@10, over the same queries."""
    notes: Sequence[str]
    """What was not compared, and what else changed."""

    @property
    def drops(self) -> dict[tuple[str, str], Comparison]:
        """The arms that are significantly worse."""
        return {key: found for key, found in self.comparisons.items() if found.verdict == "worse"}


def read_results(path: Path) -> Results:
    """Read what ``bench --json`` wrote.

    Raises:
        ConfigError: there is no such file, or it is something else.
    """
    try:
        results: Results = json.loads(path.read_text("utf-8"))
        is_whole = all(
            isinstance(arm["per_query"], dict)
            for suite in results["suites"].values()
            for arm in suite["arms"].values()
        ) and bool(results["settings"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{path} cannot be read as results of a benchmark: {type(error).__name__}: {error}.",
            f"lbr-search bench --json {path}",
        ) from error
    if not is_whole:
        raise ConfigError(
            f"{path} holds no values of single queries.", f"lbr-search bench --json {path}"
        )
    return results


def run_options(baseline: Results) -> dict[str, Any]:
    """Keywords of `run_bench` that measure again what `baseline` measured.

    Raises:
        ConfigError: the settings of `baseline` are not those of a benchmark.
    """
    settings = baseline["settings"]
    needed = ("split", "modes", "encoders", "rerankers", "peers", "imported", "chunk")
    missing = [key for key in needed if key not in settings]
    if missing:
        raise ConfigError(
            f"the settings of the baseline lack {', '.join(missing)}.",
            "write it anew with lbr-search bench --json FILE",
        )
    return {
        "split": settings["split"],
        "modes": settings["modes"],
        "encoders": [encoder["spec"] for encoder in settings["encoders"]],
        "rerankers": settings["rerankers"],
        "peers": settings["peers"],
        "imported": [f"{name}={file}" for name, file in settings["imported"].items()],
        "chunk": from_mapping(ChunkConfig, settings["chunk"], where="baseline: chunk"),
    }


def compare_results(present: Results, baseline: Results) -> Gate:
    """Compare every arm of the baseline with the present one; p corrected over all (Holm).

    Raises:
        ConfigError: the present results lack a suite or an arm: a gate must not pass what it has
            not seen.
        ShapeError: a suite was measured on other queries.
    """
    keys = [(s, arm) for s, suite in baseline["suites"].items() for arm in suite["arms"]]
    _refuse_missing(keys, present)
    pairs = []
    for suite, arm in keys:
        now, before = (
            results["suites"][suite]["arms"][arm]["per_query"] for results in (present, baseline)
        )
        names = (f"{suite}, {arm}: the present results", "the baseline")
        refuse_other_queries(now, before, names=names)
        pairs.append((now, before))
    found = compare_all(pairs)
    return Gate(dict(zip(keys, found, strict=True)), _notes(present, baseline))


def refuse_drops(gate: Gate, *, baseline: Path) -> None:
    """Fail if an arm is significantly worse.

    Raises:
        QualityError: names all of them.
    """
    if not gate.drops:
        return
    lines = [
        f"{suite}, {arm}: nDCG@10 {found.difference:+.3f}, p {found.p_holm:.3g}"
        for (suite, arm), found in gate.drops.items()
    ]
    raise QualityError(
        f"{len(lines)} of {len(gate.comparisons)} arms are significantly worse than in {baseline} "
        f"(p < {ALPHA:.2f}, Holm):\n  " + "\n  ".join(lines),
        "look for what lowered them; if it is wanted, write the baseline anew with bench --json",
    )


def gate_report(gate: Gate) -> RenderableType:
    """A table of all arms, then what to know."""
    table = rich_table("Present minus baseline", ("suite", "arm", *COMPARISON_HEADINGS[2:]))
    for (suite, arm), found in gate.comparisons.items():
        cells = [suite, arm, *comparison_cells(found)]
        table.add_row(*map(escape, cells), style="bold" if (suite, arm) in gate.drops else None)
    shown = [c.smallest_shown for c in gate.comparisons.values() if c.smallest_shown is not None]
    noticed = f"drops of {min(shown):.3f} to {max(shown):.3f}" if shown else "no drop at all"
    summary = f"The suites would show {noticed} in 80 % of cases; smaller ones may pass unseen."
    notes = [Text(f"note: {note}", style="yellow") for note in gate.notes]
    return Group(table, Text(summary, style="dim"), *notes)


def gate_json(gate: Gate) -> dict[str, Any]:
    """The gate as one object."""
    from lbr_search.bench.results import comparison_json

    return {
        "passed": not gate.drops,
        "comparisons": [
            {"suite": suite, "arm": arm, **comparison_json(found)}
            for (suite, arm), found in gate.comparisons.items()
        ],
        "notes": list(gate.notes),
    }


def _refuse_missing(keys: Sequence[tuple[str, str]], present: Results) -> None:
    suites = present["suites"]
    missing = [key for key in keys if key[0] not in suites or key[1] not in suites[key[0]]["arms"]]
    if missing or not keys:
        named = "; ".join(f"{suite}, {arm}" for suite, arm in missing) or "the baseline is empty"
        raise ConfigError(
            f"the present results lack arms of the baseline: {named}.",
            "measure the same suites, encoders and modes, or write the baseline anew",
        )


def _notes(present: Results, baseline: Results) -> list[str]:
    notes = []
    for key in ("search", "index", "chunk"):
        now, before = (results["settings"].get(key, {}) for results in (present, baseline))
        changed = [name for name in {**before, **now} if now.get(name) != before.get(name)]
        for name in changed if now and before else ():
            notes.append(f"{key}: {name} was {before.get(name)!r}, is {now.get(name)!r}")
    for name, suite in present["suites"].items():
        before = baseline["suites"].get(name, {"arms": {}})
        new = [arm for arm in suite["arms"] if arm not in before["arms"]]
        if new:
            notes.append(f"{name}: not in the baseline, not compared: {', '.join(new)}")
        hashes = [
            results["settings"].get("suites", {}).get(name, {}).get("content_hash")
            for results in (present, baseline)
        ]
        if None not in hashes and hashes[0] != hashes[1]:
            notes.append(f"{name}: the documents are not those of the baseline")
    return notes
