"""The report of a benchmark, against golden Markdown and a screen of plain text."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from rich.console import Console

from lbr_search.bench.comparisons import compare_suites
from lbr_search.bench.metrics import METRICS, Evaluation
from lbr_search.bench.report import markdown_report, replace_block, screen_report
from lbr_search.bench.results import ArmResult, BenchResult, Cost, Latency, SuiteResult
from lbr_search.bench.summary import means_line
from lbr_search.errors import ConfigError

GOLDEN = Path(__file__).parent / "golden" / "report.md"


def arm(values: list[float], recall: float) -> ArmResult:
    per_query = {f"q{number:02d}": value for number, value in enumerate(values)}
    means = dict.fromkeys(METRICS, recall) | {"ndcg@10": sum(values) / len(values)}
    evaluation = Evaluation(means, {name: per_query for name in METRICS}, 0, 0)
    cost = Cost(1.25, Latency(2.5, 7.125, 9.75, len(values)), 12.345, 150.0, 411_500.0, 812.3)
    return ArmResult(evaluation, cost)


def suite(name: str, hybrid: list[float], lexical: list[float]) -> SuiteResult:
    result = SuiteResult(name, "medical", "c0ffee", n_documents=30)
    result.arms = {
        "lexical": arm(lexical, 0.5),
        "dense": arm(lexical[::-1], 0.4),
        "hybrid": arm(hybrid, 0.75),
    }
    return result


@pytest.fixture
def result() -> BenchResult:
    """One suite where hybrid surely wins, one where nothing is shown, one where it loses."""
    low = [0.1 * (number % 4) for number in range(40)]
    suites = [
        suite("sure", [value + 0.2 for value in low], low),
        suite("unsure", [v + (0.1 if n % 2 else -0.1) for n, v in enumerate(low)], low),
        suite("lost", [value - 0.1 for value in low], low),
    ]
    suites[1].warnings.append("2 of 41 judged documents are not in the corpus")
    settings = {
        "split": "test",
        "chunk": {"chunk_tokens": 0, "overlap": 0},
        "index": {"ann": "flat"},
        "search": {"fusion": "convex", "dense_weight": 0.5},
        "encoders": [
            {"name": "lbr-mini", "spec": "lbr-mini#int8", "fingerprint": "0123456789abcdef"}
        ],
        "imported": {},
        "environment": {
            "lbr_search": "0.1.0",
            "torch_threads": 2,
            "packages": {"torch": "2.13.0", "bm25s": "0.3.0", "sentence-transformers": None},
        },
    }
    named = {each.name: each for each in suites}
    compare_suites(named)
    return BenchResult(named, settings)


def test_markdown_is_the_golden_report(result: BenchResult) -> None:
    """Tables, best values, verdicts, provenance and warnings stand as in golden/report.md.

    After a wanted change: LBR_WRITE_GOLDEN=1 pytest tests/test_bench_report.py, and read the diff.
    """
    text = markdown_report(result)
    if os.environ.get("LBR_WRITE_GOLDEN"):
        GOLDEN.write_text(text)
    assert text == GOLDEN.read_text()


def test_verdicts_follow_the_test(result: BenchResult) -> None:
    """Only a difference with p < .05 is called better or worse."""
    rows = [line for line in markdown_report(result).splitlines() if "0/" in line]
    verdicts = {row.split("|")[1].strip(): row.split("|")[-2].strip() for row in rows}
    assert verdicts == {"sure": "better", "unsure": "not shown", "lost": "worse"}


def test_the_screen_shows_every_arm_and_warning(result: BenchResult) -> None:
    """The same numbers reach a plain terminal of 100 columns, and nothing is cut off."""
    file = io.StringIO()
    Console(file=file, width=100, force_terminal=False).print(screen_report(result))
    text = file.getvalue()
    for shown in ("lexical", "dense", "hybrid", "+0.200", "< .001", "40/0/0", "not shown"):
        assert shown in text
    assert "warning: unsure: 2 of 41 judged documents are not in the corpus" in text
    assert "…" not in text
    assert all(len(line) <= 100 for line in text.splitlines())


def test_names_with_markup_are_printed_as_they_are(result: BenchResult) -> None:
    """A suite called [red] is shown, not obeyed; a bar does not break the Markdown table."""
    odd = result.suites["sure"]
    odd.name = "[red]|x"
    file = io.StringIO()
    only = BenchResult({odd.name: odd}, result.settings)
    Console(file=file, width=120).print(screen_report(only))
    assert "[red]|x" in file.getvalue()
    assert "| [red]\\|x | lexical |" in markdown_report(only)


def test_the_block_of_a_file_is_replaced(tmp_path: Path) -> None:
    """Text around the marks stays byte for byte; twice is the same as once."""
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- bench:begin -->\nold\n<!-- bench:end -->\nafter\n")
    for _ in range(2):
        replace_block(readme, "| new |\n")
        assert readme.read_text() == (
            "before\n<!-- bench:begin -->\n| new |\n<!-- bench:end -->\nafter\n"
        )
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]


@pytest.mark.parametrize(
    "content",
    ["no marks", "<!-- bench:end --> <!-- bench:begin -->", "<!-- bench:begin -->" * 2],
)
def test_a_file_without_marks_is_refused(content: str, tmp_path: Path) -> None:
    """A file whose marks are missing, turned or doubled is left as it is."""
    readme = tmp_path / "README.md"
    readme.write_text(content)
    with pytest.raises(ConfigError, match="does not hold"):
        replace_block(readme, "text")
    assert readme.read_text() == content
    with pytest.raises(ConfigError):
        replace_block(tmp_path / "absent.md", "text")


def test_the_means_of_the_arms_are_one_line(result: BenchResult) -> None:
    """Over all suites, and only of arms that every suite has."""
    line = means_line(result)
    suites = result.suites.values()
    for name in next(iter(suites)).arms:
        if all(name in suite.arms for suite in suites):
            mean = sum(s.arms[name].evaluation.means["ndcg@10"] for s in suites) / len(suites)
            assert f"{name} {mean:.3f}" in line
    assert f"mean over {len(suites)} suites" in line and line.startswith("- nDCG@10")
