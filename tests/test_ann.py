"""`bench ann`: recall against exact search, costs, fitted growth, and checked input."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lbr_search.bench import ann as module
from lbr_search.bench.ann import (
    AnnResult,
    CurvePoint,
    exact_neighbours,
    growth_exponent,
    growths,
    load_vectors,
    run_ann,
    synthetic_vectors,
)
from lbr_search.bench.ann_indexes import BUILDERS
from lbr_search.bench.ann_report import ann_html
from lbr_search.cli.bench_ann import KINDS
from lbr_search.errors import ConfigError
from tests.hash_cli import run
from tests.test_html_report import outline


@pytest.fixture(scope="module")
def vectors():
    return synthetic_vectors(2_000, dim=32, n_queries=40)


@pytest.fixture(scope="module")
def results(vectors) -> list[AnnResult]:
    return run_ann(vectors, sizes=[500, 1_000, 2_000])


def test_the_truth_is_that_of_a_full_sort(vectors) -> None:
    """Block by block gives the rows of one sort of all scores."""
    scores = vectors.queries @ vectors.rows.T
    expected = np.argsort(-scores, axis=1, kind="stable")[:, :10]
    assert exact_neighbours(vectors.rows, vectors.queries).tolist() == expected.tolist()


def test_every_kind_has_a_curve(results: list[AnnResult]) -> None:
    """Flat finds all; the others find more the more they look; times and sizes are positive."""
    assert [r.kind for r in results if r.n_rows == 500] == list(BUILDERS) == list(KINDS)
    for result in results:
        recalls = [point.recall for point in result.curve]
        assert all(0 <= recall <= 1 for recall in recalls)
        assert result.build_s > 0 and result.size_bytes > 0
        assert all(point.queries_per_s > 0 and point.p50_ms > 0 for point in result.curve)
        if result.kind == "flat":
            assert recalls == [1.0]
        else:
            assert recalls[-1] > recalls[0] or recalls[0] == 1.0
    largest = {r.kind: r for r in results if r.n_rows == 2_000}
    assert largest["hnsw"].curve[-1].recall > 0.95
    assert largest["ivf-sq8"].size_bytes < largest["flat"].size_bytes / 2


def test_growth_is_fitted_over_three_sizes(results: list[AnnResult]) -> None:
    """Flat grows in proportion; two sizes are no growth; nor is a recall that nothing reached."""
    by_kind = {row["kind"]: row for row in growths(results)}
    assert by_kind["flat"]["size"] == pytest.approx(1.0, abs=0.01)
    assert growth_exponent([10, 100], [1, 2]) is None
    assert growth_exponent([10, 100, 1000], [3, 12, 48]) == pytest.approx(0.602, abs=0.001)
    point = CurvePoint("x", 1, 0.5, 10.0, 1.0)
    poor = [AnnResult("poor", n, 1.0, n, None, [point]) for n in (10, 100, 1000)]
    assert growths(poor)[0]["latency"] is None
    assert poor[0].at_recall(0.9) is None and poor[0].at_recall(0.5) == point


def test_the_page_has_a_chart_for_each_size(vectors, results: list[AnnResult]) -> None:
    """Three charts, every kind in each legend, nothing from elsewhere."""
    text = ann_html(vectors, results)
    assert outline(text) and text.count("<svg") == 3
    for kind in BUILDERS:
        assert text.count(f">{kind}</text>") == 3


def test_own_vectors(tmp_path: Path) -> None:
    """Rows are made of length 1; evenly spaced ones become queries and are not indexed."""
    made = np.random.default_rng(0).standard_normal((200, 8)) * 7
    np.save(tmp_path / "own.npy", made)
    found = load_vectors(tmp_path / "own.npy", n_queries=20)
    assert (len(found.rows), len(found.queries)) == (180, 20)
    assert np.allclose(np.linalg.norm(found.rows, axis=1), 1, atol=1e-6)
    assert np.allclose(found.queries[0], made[0] / np.linalg.norm(made[0]), atol=1e-6)
    assert not any(np.allclose(found.queries[0], row) for row in found.rows)


def test_wrong_input_is_refused(tmp_path: Path, vectors, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file, no matrix, words, too few rows, NaN and zero rows, an unknown kind, a wrong size."""
    cases = {
        "flat.npy": (np.zeros(5), "shape"),
        "few.npy": (np.ones((9, 4)), "too few"),
        "nan.npy": (np.where(np.eye(200, 8) > 0, np.nan, 1.0), "row 0 is zero or not finite"),
        "words.npy": (np.array([["a", "b"]] * 90), "type <U1"),
    }
    for name, (content, message) in cases.items():
        np.save(tmp_path / name, content)
        with pytest.raises(ConfigError, match=message):
            load_vectors(tmp_path / name, n_queries=20)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_vectors(tmp_path / "none.npy", n_queries=20)
    with pytest.raises(ConfigError, match="no kind of index 'hsnw'"):
        run_ann(vectors, kinds=["hsnw"])
    with pytest.raises(ConfigError, match="sizes 500 to 9,000"):
        run_ann(vectors, sizes=[500, 9_000])
    monkeypatch.setattr(module, "_free_bytes", lambda: 10_000_000)
    with pytest.raises(
        ConfigError, match=r"1,000,000 vectors of 384 dimensions need about 4\.6 GB"
    ):
        synthetic_vectors(1_000_000, dim=384, n_queries=5)


def test_the_command_writes_numbers_and_a_page(tmp_path: Path) -> None:
    """A small run of two kinds."""
    files = ("--json", tmp_path / "ann.json", "--html", tmp_path / "ann.html")
    size = ("--size", 300, "--dim", 16, "--queries", 10)
    outcome = run("bench", "ann", "--kind", "flat", "--kind", "hnsw", *size, *files)
    assert outcome.code == 0, outcome.err
    written = json.loads((tmp_path / "ann.json").read_text())
    assert [row["kind"] for row in written["results"]] == ["flat", "hnsw"]
    assert "efSearch 512" in outcome.out and "not fitted" in outcome.out
    assert "<svg" in (tmp_path / "ann.html").read_text()
