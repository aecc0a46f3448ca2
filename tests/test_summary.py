"""Many suites on half a page: every mean, every verdict, and what they depend on."""

from __future__ import annotations

from pathlib import Path

import pytest

from lbr_search.bench.comparisons import compare_suites
from lbr_search.bench.results import BenchResult
from lbr_search.bench.significance import compare
from lbr_search.bench.suites import open_suites
from lbr_search.bench.summary import difference_cell, summary_report
from lbr_search.errors import CorpusError
from tests.hash_cli import run
from tests.test_bench_report import arm, result  # noqa: F401 - a fixture
from tests.test_cli import write_suite


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_row_a_suite_and_a_column_an_arm(result: BenchResult) -> None:  # noqa: F811
    """Means and their mean, the best in bold; an arm that one suite lacks has no mean."""
    result.suites["sure"].arms["old"] = arm([0.9] * 40, 0.5)
    lines = summary_report(result).splitlines()
    rows = {cells(line)[0]: cells(line) for line in lines[2:8]}
    assert rows["suite"] == ["suite", "queries", "lexical", "dense", "hybrid", "old"]
    assert rows["sure"] == ["sure", "40", "0.150", "0.150", "0.350", "**0.900**"]
    assert rows["lost"] == ["lost", "40", "**0.150**", "**0.150**", "0.050", ""]
    hybrid = (0.35 + 0.15 + 0.05) / 3
    assert rows["mean"] == ["mean", "", "0.150", "0.150", f"{hybrid:.3f}", ""]


def test_differences_say_what_was_shown(result: BenchResult) -> None:  # noqa: F811
    """Bold where shown; else the smallest difference that could have been, or none."""
    compare_suites(result.suites)
    text = summary_report(result)
    assert "| sure | **+0.200** |" in text and "| lost | **-0.100** |" in text
    least = result.suites["unsure"].comparisons["hybrid", "lexical"].smallest_shown
    assert f"| unsure | 0.000 ({least:.3f}) |" in text
    assert "corrected (Holm) for 3 comparisons" in text
    few = {f"q{n}": 0.0 for n in range(4)}
    assert difference_cell(compare(dict.fromkeys(few, 1.0), few)) == "+1.000 (none)"
    assert difference_cell(None) == ""


def test_costs_and_warnings(result: BenchResult) -> None:  # noqa: F811
    """One row an arm; an imported one has none; every warning is there."""
    result.suites["sure"].arms["old"] = arm([0.9] * 40, 0.5)
    text = summary_report(result)
    assert "| hybrid | 150 | 32 | 2.5 | 7.1 | 411,500 | 812 |" in text
    assert "1 things to know" in text
    assert "- unsure: 2 of 41 judged documents are not in the corpus" in text
    assert "Split test; whole documents" in text


def test_a_folder_of_suites_is_all_of_them(tmp_path: Path) -> None:
    """Two suites in folders of folders; a folder without any is refused as before."""
    for name in ("a/one", "b/two"):
        write_suite(tmp_path / "suites" / name, "medical")
    found = open_suites([tmp_path / "suites"], split="test", home=tmp_path)
    assert [suite.name for suite in found] == ["one", "two"]
    (tmp_path / "nothing").mkdir()
    with pytest.raises(CorpusError, match="is not a suite"):
        open_suites([tmp_path / "nothing"], split="test", home=tmp_path)


def test_what_make_bench_runs(tmp_path: Path) -> None:
    """Four suites of a folder: the page, the numbers, and the short tables between the marks."""
    for number in range(4):
        write_suite(tmp_path / "suites" / f"s{number}", "medical")
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- bench:begin -->\nxyzzy\n<!-- bench:end -->\nafter\n")
    files = ("--json", tmp_path / "r.json", "--html", tmp_path / "r.html", "--markdown", readme)
    outcome = run("--home", tmp_path, "bench", tmp_path / "suites", "--encoder", "hash:a", *files)
    assert outcome.code == 0, outcome.err
    text = readme.read_text()
    assert text.startswith("before") and text.endswith("after\n") and "xyzzy" not in text
    assert "| suite | queries | lexical | dense | hybrid |" in text and "| s3 | 3 |" in text
    assert (tmp_path / "r.json").is_file() and "<svg" in (tmp_path / "r.html").read_text()
