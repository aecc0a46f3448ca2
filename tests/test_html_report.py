"""The page: whole, self-contained, sortable in a real browser, and true to the results."""

from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from lbr_search.bench.comparisons import compare_suites
from lbr_search.bench.drilldown import drill_down
from lbr_search.bench.html_report import html_report
from lbr_search.bench.page import sort_value, table
from lbr_search.bench.plots import arm_points, pareto_front, pareto_plot
from lbr_search.bench.results import BenchResult
from lbr_search.bench.runner import run_bench
from lbr_search.corpus.suite import load_suite
from lbr_search.errors import MissingExtraError
from tests.conftest import HashEncoder
from tests.test_bench_report import arm, result, suite  # noqa: F401 - a fixture and its parts
from tests.test_cli import write_suite

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
VOID = {"meta", "br", "img", "input", "hr", "path", "use"}


class Outline(HTMLParser):
    """Which tags a page has, and whether each is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


def outline(text: str) -> Outline:
    parser = Outline()
    parser.feed(text)
    assert parser.open == []
    return parser


@pytest.fixture
def measured(tmp_path: Path) -> tuple[BenchResult, Path]:
    """A real benchmark of a suite of ten notes with odd characters in a title."""
    folder = write_suite(tmp_path / "notes", "medical")
    corpus = folder / "corpus.jsonl"
    corpus.write_text(corpus.read_text().replace("note 0", "note <b>0</b> & more"))
    page = tmp_path / "out" / "report.html"
    return run_bench([folder], encoders=[HashEncoder()], home=tmp_path, html_path=page), page


def test_the_page_needs_nothing_besides_itself(measured: tuple[BenchResult, Path]) -> None:
    """Well-formed; no address, no image, no script or style from elsewhere; ids are unique."""
    text = measured[1].read_text()
    parts = outline(text)
    tags = [tag for tag, _ in parts.seen]
    assert tags.count("svg") == 2 and "img" not in tags and "link" not in tags
    for tag, attributes in parts.seen:
        assert not (tag == "script" and attributes), "the script is inline"
        for name in ("href", "src", "xlink:href"):
            assert (attributes.get(name) or "#").startswith("#")
    assert not re.search(r"url\((?!#)", text) and "@import" not in text
    ids = [attributes["id"] for _, attributes in parts.seen if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_every_number_of_the_results_is_on_the_page(result: BenchResult) -> None:  # noqa: F811
    """All arms and metrics, costs, verdicts, warnings; and how they were measured."""
    text = html_report(result, {})
    for each in result.suites.values():
        for name, found in each.arms.items():
            assert f"<td>{each.name}</td><td>{name}</td>" in text
            assert f">{found.evaluation.means['ndcg@10']:.3f}</td>" in text
    for shown in ("9.8", "411,500", "better", "worse", "not shown", "&lt; .001", "Holm"):
        assert shown in text
    assert "2 of 41 judged documents are not in the corpus" in text
    assert "Split test; whole documents" in text


def test_markup_in_texts_is_shown_and_not_obeyed(measured: tuple[BenchResult, Path]) -> None:
    """A title with tags appears as text."""
    text = measured[1].read_text()
    assert "note &lt;b&gt;0&lt;/b&gt; &amp; more" in text
    assert "<b>0</b>" not in text


def test_a_hit_says_why_it_stands_there(measured: tuple[BenchResult, Path], tmp_path: Path) -> None:
    """Its legs with rank and score, its words with their BM25 weights; each arm its own legs."""
    found, page = measured
    loaded = load_suite(tmp_path / "notes", home=tmp_path)
    case = drill_down(loaded, found.suites["notes"]).hardest[0]
    first = {arm: hits[0] for arm, hits in case.hits.items()}
    score = first["lexical"].score
    assert first["lexical"].why[0] == f"found by lexical rank 1, score {score:.3f}"
    assert any(fact.startswith("words and their BM25 weights") for fact in first["lexical"].why)
    assert first["dense"].why[0].startswith("found by dense rank 1, score")
    assert not any(fact.startswith("fused by") for fact in first["dense"].why)
    assert any(fact.startswith("fused by") for fact in first["hybrid"].why)
    assert "<summary>why</summary>found by" in page.read_text()


def test_single_queries_are_the_worst_and_best(measured, tmp_path: Path) -> None:
    """A loss made by hand comes first; its hits, their grades and the right ones are shown."""
    found, _ = measured
    notes = found.suites["notes"]
    loaded = load_suite(tmp_path / "notes", home=tmp_path)
    values = notes.arms["hybrid"].evaluation.per_query["ndcg@10"]
    values["q1"], notes.arms["lexical"].evaluation.per_query["ndcg@10"]["q1"] = 0.25, 0.75
    details = drill_down(loaded, notes)
    assert (details.system, details.baseline) == ("hybrid", "lexical")
    case = details.losses[0]
    assert (case.query_id, case.change) == ("q1", -0.5)
    assert case.values["hybrid"] == 0.25
    assert {hit.doc_id for hit in case.relevant} == {"medical-1", "medical-4", "medical-7"}
    shown = case.hits["lexical"]
    assert [(h.doc_id, h.score) for h in shown] == notes.arms["lexical"].first_hits["q1"]
    assert {h.doc_id: h.grade for h in shown}["medical-1"] == 1
    assert all(case.change > 0 for case in details.gains)
    assert details.hardest[0].query_id == "q1" and not details.easiest
    text = html_report(found, {"notes": details})
    assert "-0.500" in text and "hybrid against lexical" in text and "--explain" in text


def test_one_arm_alone_has_a_page(tmp_path: Path) -> None:
    """A plot with one point and no comparison: drawn; its own worst and best queries."""
    folder = write_suite(tmp_path / "notes", "medical")
    page = tmp_path / "one.html"
    run_bench([folder], modes=["lexical"], encoders=[HashEncoder()], home=tmp_path, html_path=page)
    text = page.read_text()
    assert outline(text) and text.count("<svg") == 1
    assert "Worst queries: lexical" in text and "Differences" not in text


def test_imported_runs_alone_have_a_page(tmp_path: Path) -> None:
    """Without any latency there is no chart of it, and nothing breaks."""
    folder = write_suite(tmp_path / "notes", "medical")
    run_bench([folder], encoders=[HashEncoder()], home=tmp_path, runs_dir=tmp_path / "runs")
    given = [f"{name}={tmp_path}/runs/notes.{name}.trec" for name in ("lexical", "hybrid")]
    page = tmp_path / "runs.html"
    run_bench([folder], modes=(), imported=given, home=tmp_path, html_path=page)
    text = page.read_text()
    assert outline(text) and text.count("<svg") == 1 and "Latency" not in text


def test_the_front_is_what_no_other_arm_beats() -> None:
    """Cheaper or better than all others; of equals in cost the better one."""
    points = [("a", 1.0, 0.5), ("b", 1.0, 0.6), ("c", 2.0, 0.6), ("d", 9.0, 0.9), ("e", 8.0, 0.1)]
    assert [name for name, *_ in pareto_front(points)] == ["b", "d"]
    assert pareto_front([]) == []


def test_the_chart_holds_every_arm(result: BenchResult) -> None:  # noqa: F811
    """One marker and one entry of the legend for each, reranked ones too."""
    sure = result.suites["sure"]
    sure.arms["hybrid+maxsim"] = arm([0.5] * 40, 0.5)
    svg = pareto_plot(sure, key="k")
    assert len(arm_points(sure)) == 4
    for name in sure.arms:
        assert f">{name}</text>" in svg


def test_cells_are_sorted_by_their_numbers() -> None:
    """Signs, thousands, intervals, small p and counts sort as numbers; words as words."""
    cells = ["+1,234.5", "-0.02", "< .001", "+0.1 to +0.3", "40/3/2", "", "none"]
    assert [sort_value(c) for c in cells] == ["1234.5", "-0.02", "0", "0.1", "40", "", "none"]
    html = table(("suite", "arm", "p"), [["a", "b", "< .001"]], caption="<x>")
    assert 'data-value="0">&lt; .001</td>' in html and "<caption>&lt;x&gt;</caption>" in html


def test_a_missing_matplotlib_is_said_before_the_work(tmp_path, monkeypatch) -> None:
    """The extra is named, and nothing was encoded."""
    folder, encoder = write_suite(tmp_path / "notes", "medical"), HashEncoder()
    monkeypatch.setattr("lbr_search.drawing.importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="matplotlib") as error:
        run_bench([folder], encoders=[encoder], home=tmp_path, html_path=tmp_path / "r.html")
    assert "lbr-search[plots]" in error.value.fix
    assert encoder.n_encoded == 0


def test_a_browser_sorts_the_tables(result: BenchResult, tmp_path: Path) -> None:  # noqa: F811
    """Headless Chromium runs the page without an error; a click sorts, a second one turns."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip("no Chromium is installed, so the page was not opened in a browser")
    compare_suites(result.suites)
    text = html_report(result, {})
    click = (
        "<script>const head = document.querySelectorAll('th button')[2];"
        "head.click(); document.body.dataset.rises = order(); head.click();"
        "document.body.dataset.falls = order();"
        "function order() { return [...document.querySelector('tbody').rows]"
        ".map(row => row.cells[2].textContent).join(' '); }</script>"
    )
    page = tmp_path / "page.html"
    page.write_text(text.replace("</body>", f"{click}</body>"))
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=2000"]
    command += ["--dump-dom", page.as_uri()]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "CONSOLE" not in answer.stderr, "no error of the script"
    rises = re.search(r'data-rises="([^"]+)"', answer.stdout)[1].split()
    falls = re.search(r'data-falls="([^"]+)"', answer.stdout)[1].split()
    assert len(rises) == 9 and rises == sorted(rises, key=float)
    assert falls == list(reversed(rises))
