"""The gate: a significant drop fails, chance passes, and nothing passes unseen."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest

from lbr_search.bench.gate import compare_results, gate_json, read_results, refuse_drops
from lbr_search.errors import ConfigError, QualityError, ShapeError
from tests.hash_cli import run
from tests.test_cli import write_suite


def results(**suites: dict[str, list[float]]) -> dict:
    """As `bench --json` writes them: suite -> arm -> values of queries in order."""
    return {
        "suites": {
            name: {
                "arms": {
                    arm: {"per_query": {f"q{n}": v for n, v in enumerate(values)}}
                    for arm, values in arms.items()
                }
            }
            for name, arms in suites.items()
        },
        "settings": {"suites": {name: {"content_hash": "c0ffee"} for name in suites}},
    }


VALUES = np.random.default_rng(0).uniform(0.2, 1, 80).round(3).tolist()
LOWER = [value - 0.1 * (n % 2) for n, value in enumerate(VALUES)]
MOVED = [value + 0.1 * (-1) ** n for n, value in enumerate(VALUES)]


def test_a_significant_drop_fails_and_chance_passes() -> None:
    """Half of the queries losing .1 is a drop; as many won as lost is not; a gain is none."""
    before = results(a={"lexical": VALUES, "hybrid": VALUES}, b={"hybrid": LOWER})
    now = results(a={"lexical": MOVED, "hybrid": LOWER}, b={"hybrid": VALUES})
    gate = compare_results(now, before)
    assert list(gate.drops) == [("a", "hybrid")]
    assert gate.comparisons["b", "hybrid"].verdict == "better"
    assert not gate_json(gate)["passed"]
    with pytest.raises(QualityError, match=r"1 of 3 arms .* base.json") as error:
        refuse_drops(gate, baseline=Path("base.json"))
    assert "a, hybrid: nDCG@10 -0.050" in str(error.value)
    same = compare_results(before, before)
    refuse_drops(same, baseline=Path("base.json"))
    assert gate_json(same)["passed"]


def test_what_was_not_measured_is_refused() -> None:
    """A missing suite or arm, or other queries, is an error with the difference named."""
    before = results(a={"lexical": VALUES, "hybrid": VALUES}, b={"hybrid": VALUES})
    with pytest.raises(ConfigError, match="a, lexical; b, hybrid"):
        compare_results(results(a={"hybrid": VALUES}), before)
    with pytest.raises(ConfigError, match="empty"):
        compare_results(before, results())
    short = results(a={"lexical": VALUES, "hybrid": VALUES[:-2]}, b={"hybrid": VALUES})
    with pytest.raises(ShapeError, match="only the baseline: q78, q79"):
        compare_results(short, before)


def test_other_settings_are_noted() -> None:
    """What the baseline was measured with, and what is different now."""
    now, before = results(a={"hybrid": VALUES}), results(a={"hybrid": VALUES})
    for values, weight in ((now, 0.7), (before, 0.5)):
        values["settings"]["search"] = {"fusion": "convex", "dense_weight": weight}
    assert compare_results(now, before).notes == ["search: dense_weight was 0.5, is 0.7"]


def test_what_else_changed_is_noted() -> None:
    """New arms are not compared, and other documents are said."""
    before = results(a={"hybrid": VALUES})
    now = copy.deepcopy(results(a={"hybrid": VALUES, "dense": VALUES}))
    now["settings"]["suites"]["a"]["content_hash"] = "other"
    notes = compare_results(now, before).notes
    assert notes == [
        "a: not in the baseline, not compared: dense",
        "a: the documents are not those of the baseline",
    ]


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"suites": {"a": {"arms": {"b": {}}}}}'])
def test_other_files_are_refused(tmp_path: Path, text: str) -> None:
    """What is no result of a benchmark is refused by name, and a missing file too."""
    (tmp_path / "base.json").write_text(text)
    for name in ("base.json", "none.json"):
        with pytest.raises(ConfigError, match=name):
            read_results(tmp_path / name)


def test_the_command_measures_again_as_the_baseline_was(tmp_path: Path) -> None:
    """The same suite passes with exit 0; a baseline that was better fails with exit 1."""
    suite = write_suite(tmp_path / "corpora" / "notes", "medical")
    base = tmp_path / "base.json"
    options = ("--encoder", "hash:a", "--mode", "lexical", "--mode", "dense", "--json", base)
    assert run("--home", tmp_path, "bench", suite, *options).code == 0
    passed = run("--home", tmp_path, "bench", "gate", suite, "--baseline", base, "--json")
    assert passed.code == 0, passed.err
    compared = json.loads(passed.out)
    assert [row["arm"] for row in compared["comparisons"]] == ["lexical", "dense"]
    assert {row["ndcg@10_difference"] for row in compared["comparisons"]} == {0.0}
    runs = ("--runs", tmp_path / "runs", "--run", f"other={tmp_path}/runs/notes.lexical.trec")
    assert run("--home", tmp_path, "bench", suite, *options, *runs[:2]).code == 0
    assert run("--home", tmp_path, "bench", suite, *options, *runs[2:]).code == 0
    passed = run("--home", tmp_path, "bench", "gate", suite, "--baseline", base, "--json")
    arms = [row["arm"] for row in json.loads(passed.out)["comparisons"]]
    assert arms == ["lexical", "dense", "other"], "imported runs are read again"
    (tmp_path / "now.json").write_text(json.dumps(results(a={"hybrid": LOWER})))
    (tmp_path / "base.json").write_text(json.dumps(results(a={"hybrid": VALUES})))
    arguments = ("--baseline", base, "--results", tmp_path / "now.json")
    failed = run("bench", "gate", *arguments)
    assert failed.code == 1
    assert "a, hybrid: nDCG@10 -0.050" in failed.err and "fix:" in failed.err
    assert "worse" in failed.out
