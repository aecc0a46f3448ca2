"""What every index backend promises, compared with a seven-line numpy oracle of its own."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from lbr_search.errors import ConfigError, EncoderError, IndexFormatError, LbrError, ShapeError
from lbr_search.index import exact
from lbr_search.protocols import IndexBackend
from lbr_search.registry import BACKENDS

DIM = 24
KINDS = ("flat", "ivf", "hnsw")
CASES = [(name, kind) for name in BACKENDS for kind in KINDS if name != "exact" or kind == "flat"]
FLAT = [case for case in CASES if case[1] == "flat"]
APPROXIMATE = [case for case in CASES if case[1] != "flat"]


def every(cases):
    return pytest.mark.parametrize(
        ("backend", "kind"), cases, ids=[f"{name}-{kind}" for name, kind in cases]
    )


def make(backend: str, kind: str) -> IndexBackend:
    return BACKENDS.resolve(backend)(kind=kind)


def unit(array: np.ndarray) -> np.ndarray:
    return (array / np.linalg.norm(array, axis=1, keepdims=True)).astype(np.float32)


def clustered(n: int, seed: int = 0, n_centres: int = 40) -> np.ndarray:
    """Points around centres, as texts on topics are."""
    centres = np.random.default_rng(99).standard_normal((n_centres, DIM))
    generator = np.random.default_rng(seed)
    chosen = centres[generator.integers(0, n_centres, n)]
    return unit(chosen + 0.6 * generator.standard_normal((n, DIM)))


def batches(vectors: np.ndarray, ids: np.ndarray, size: int = 100) -> Iterator[tuple]:
    for start in range(0, len(ids), size):
        yield ids[start : start + size], vectors[start : start + size]


def oracle(vectors, ids, queries, k, allowed=None):
    """Every product in float64, rounded once; score descending, then row id ascending."""
    rows = np.full((len(queries), k), -1)
    scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
    keep = np.ones(len(ids), bool) if allowed is None else np.isin(ids, allowed)
    for b, query in enumerate(queries.astype(np.float64)):
        products = (vectors[keep].astype(np.float64) @ query).astype(np.float32)
        ranked = sorted(zip(-products, ids[keep], strict=True))[:k]
        rows[b, : len(ranked)] = [row for _, row in ranked]
        scores[b, : len(ranked)] = [-negative for negative, _ in ranked]
    return rows, scores


def agree(found, wanted):
    rows, scores = found
    assert rows.dtype == np.int64
    assert scores.dtype == np.float32
    np.testing.assert_array_equal(rows, wanted[0])
    np.testing.assert_allclose(scores, wanted[1], atol=1e-5, rtol=0)


@pytest.fixture
def ids() -> np.ndarray:
    """Row ids with gaps, as deletions leave them."""
    return np.arange(500, dtype=np.int64) * 3 + 7


@every(CASES)
def test_is_an_index_backend(backend, kind):
    """Every row of the registry resolves to the protocol."""
    assert isinstance(make(backend, kind), IndexBackend)


@every(CASES)
@pytest.mark.parametrize("n_queries", [1, 12, 40])
def test_order_and_scores_equal_the_oracle(tmp_path, ids, backend, kind, n_queries):
    """Rows, order and scores are the oracle's, one query at a time and in a batch."""
    vectors, queries = clustered(500), clustered(n_queries, seed=1)
    index = make(backend, kind)
    settings = index.build(batches(vectors, ids), dim=DIM, folder=tmp_path)
    assert settings["n_rows"] == 500
    agree(index.search(queries, k=10), oracle(vectors, ids, queries, 10))


@every(FLAT)
@pytest.mark.parametrize("n_queries", [1, 40])
def test_many_blocks_of_rows_are_one(tmp_path, monkeypatch, ids, backend, kind, n_queries):
    """Rows that are compared block by block, the floor rising, give what all at once give."""
    monkeypatch.setattr(exact, "FIRST_ROWS", 30)
    monkeypatch.setattr(exact, "BLOCK_ROWS", 70)
    vectors, queries = clustered(500), clustered(n_queries, seed=1)
    index = make(backend, kind)
    index.build(batches(vectors, ids), dim=DIM, folder=tmp_path)
    for k in (1, 10, 45):
        agree(index.search(queries, k=k), oracle(vectors, ids, queries, k))
        allowed = ids[::2]
        found = index.search(queries, k=k, allowed=allowed)
        agree(found, oracle(vectors, ids, queries, k, allowed))


@every(CASES)
def test_ties_go_to_the_lower_row_id(tmp_path, backend, kind):
    """Equal vectors come in order of row id, also where the tie is cut by k."""
    distinct = clustered(30, seed=3)
    vectors = np.repeat(distinct, 8, axis=0)
    ids = np.random.default_rng(4).permutation(240).astype(np.int64)
    index = make(backend, kind)
    index.build(batches(vectors, ids, size=50), dim=DIM, folder=tmp_path)
    for k in (3, 8, 11):
        agree(index.search(distinct[:5], k=k), oracle(vectors, ids, distinct[:5], k))


@every(CASES)
def test_a_tie_longer_than_any_candidate_list(tmp_path, ids, backend, kind):
    """500 equal vectors: the k lowest row ids, whatever the backend looks at first."""
    vectors = np.repeat(clustered(1), 500, axis=0)
    index = make(backend, kind)
    index.build(batches(vectors, ids), dim=DIM, folder=tmp_path)
    rows, _ = index.search(vectors[:2], k=5)
    assert rows.tolist() == [[7, 10, 13, 16, 19]] * 2


@every(CASES)
def test_k_larger_than_the_index(tmp_path, ids, backend, kind):
    """All rows come, then -1 and -inf."""
    vectors, queries = clustered(40), clustered(3, seed=1)
    index = make(backend, kind)
    index.build(batches(vectors, ids[:40]), dim=DIM, folder=tmp_path)
    agree(index.search(queries, k=60), oracle(vectors, ids[:40], queries, 60))


@every(CASES)
def test_empty_index(tmp_path, backend, kind):
    """Nothing is found in nothing, after building and after opening."""
    index = make(backend, kind)
    index.build([], dim=DIM, folder=tmp_path)
    again = make(backend, kind)
    again.open(tmp_path, dim=DIM)
    for opened in (index, again):
        rows, scores = opened.search(clustered(2), k=3)
        assert rows.tolist() == [[-1] * 3] * 2
        assert np.isneginf(scores).all()


@every(CASES)
def test_one_row_and_no_query(tmp_path, backend, kind):
    """One row is found at place one; no queries give no lines."""
    vectors = clustered(1)
    index = make(backend, kind)
    index.build([(np.array([41]), vectors)], dim=DIM, folder=tmp_path)
    rows, scores = index.search(vectors, k=2)
    assert rows.tolist() == [[41, -1]]
    assert scores[0, 0] == pytest.approx(1.0, abs=1e-5)
    assert index.search(vectors[:0], k=2)[0].shape == (0, 2)


@every(CASES)
def test_duplicate_row_id_is_refused(tmp_path, backend, kind):
    """The same row id in two batches is an error that names it, and leaves nothing to open."""
    vectors = clustered(6)
    two = [(np.array([1, 2, 3]), vectors[:3]), (np.array([4, 2, 5]), vectors[3:])]
    with pytest.raises((ConfigError, IndexFormatError), match="row id 2 stands twice"):
        make(backend, kind).build(two, dim=DIM, folder=tmp_path)
    with pytest.raises(IndexFormatError):
        make(backend, kind).open(tmp_path, dim=DIM)


@every(CASES)
def test_reopened_equals_built(tmp_path, backend, kind):
    """A reopened index gives the same rows and bits as the one that was just built."""
    vectors, queries = clustered(2_600), clustered(20, seed=1)
    ids = np.arange(2_600, dtype=np.int64)
    index = make(backend, kind)
    index.build(batches(vectors, ids, size=999), dim=DIM, folder=tmp_path)
    again = make(backend, kind)
    again.open(tmp_path, dim=DIM)
    for built, opened in zip(index.search(queries, k=7), again.search(queries, k=7), strict=True):
        np.testing.assert_array_equal(built, opened)


@every(CASES)
@pytest.mark.parametrize("share", [0.004, 0.3, 1.0])
def test_allowed_filters_before_ranking(tmp_path, ids, backend, kind, share):
    """k rows come back although the best are not allowed; unknown ids are no error."""
    vectors, queries = clustered(500), clustered(6, seed=1)
    index = make(backend, kind)
    index.build(batches(vectors, ids), dim=DIM, folder=tmp_path)
    best, _ = oracle(vectors, ids, queries, 5)
    others = np.setdiff1d(ids, best)
    allowed = np.sort(
        np.append(others[np.random.default_rng(5).random(len(others)) < share], [8, 99_999])
    )
    agree(index.search(queries, k=10, allowed=allowed), oracle(vectors, ids, queries, 10, allowed))
    nothing = index.search(queries, k=4, allowed=np.empty(0, dtype=np.int64))
    assert (nothing[0] == -1).all()


@every(CASES)
def test_wrong_shapes_are_refused(tmp_path, ids, backend, kind):
    """Queries, batches or an opening of another size or dtype are errors, not guesses."""
    vectors = clustered(500)
    index = make(backend, kind)
    index.build(batches(vectors, ids), dim=DIM, folder=tmp_path)
    for wrong in (vectors[:2, :-1], vectors[0], vectors[:2].astype(np.float64)):
        with pytest.raises(ShapeError):
            index.search(wrong, k=3)
    with pytest.raises(ShapeError):
        make(backend, kind).build([(ids[:2], vectors[:3])], dim=DIM, folder=tmp_path / "a")
    with pytest.raises(ShapeError):
        make(backend, kind).build([(ids[:3], vectors[:3])], dim=DIM + 1, folder=tmp_path / "b")
    with pytest.raises(IndexFormatError, match=f"{DIM + 1} dimensions"):
        make(backend, kind).open(tmp_path, dim=DIM + 1)


@every(CASES)
def test_values_that_are_not_finite_are_refused(tmp_path, ids, backend, kind):
    """NaN in a vector or a query is named, never ranked."""
    vectors = clustered(4)
    broken = vectors.copy()
    broken[2, 5] = np.nan
    with pytest.raises(EncoderError, match="row 13 "):
        make(backend, kind).build([(ids[:4], broken)], dim=DIM, folder=tmp_path / "a")
    index = make(backend, kind)
    index.build([(ids[:4], vectors)], dim=DIM, folder=tmp_path / "b")
    with pytest.raises(EncoderError):
        index.search(broken, k=1)


@every(CASES)
def test_missing_and_damaged_files_are_refused(tmp_path, ids, backend, kind):
    """Each file that is lost or cut gives an error with a fix, never a wrong answer."""
    vectors = clustered(500)
    with pytest.raises(IndexFormatError):
        make(backend, kind).open(tmp_path / "none", dim=DIM)
    make(backend, kind).build(batches(vectors, ids), dim=DIM, folder=tmp_path / "whole")
    files = [file for file in (tmp_path / "whole").iterdir() if file.is_file()]
    assert files
    for file in files:
        content = file.read_bytes()
        file.write_bytes(content[: len(content) // 2])
        with pytest.raises(LbrError):
            make(backend, kind).open(tmp_path / "whole", dim=DIM)
        file.write_bytes(content)
    make(backend, kind).open(tmp_path / "whole", dim=DIM)


@every(CASES)
def test_no_pickle_is_written(tmp_path, ids, backend, kind):
    """Every .npy file loads with pickles forbidden."""
    make(backend, kind).build(batches(clustered(500), ids), dim=DIM, folder=tmp_path)
    for file in tmp_path.rglob("*.npy"):
        np.load(file, allow_pickle=False)
    assert not list(tmp_path.rglob("*.pkl"))


@every(APPROXIMATE)
def test_approximate_search_is_near_exact(tmp_path, backend, kind):
    """Where an index is really approximate: recall@10 as stored, exact scores for what is found."""
    vectors, queries = clustered(2_600), clustered(100, seed=1)
    ids = np.arange(2_600, dtype=np.int64)
    index = make(backend, kind)
    settings = index.build(batches(vectors, ids, size=1_100), dim=DIM, folder=tmp_path)
    assert settings["recall_at_10"] >= 0.97
    rows, scores = index.search(queries, k=10)
    truth, _ = oracle(vectors, ids, queries, 10)
    found = sum(len(np.intersect1d(a, b)) for a, b in zip(rows, truth, strict=True))
    assert found >= 0.95 * truth.size
    exact = np.einsum("bkd,bd->bk", vectors[rows], queries)
    np.testing.assert_allclose(scores, exact, atol=1e-5, rtol=0)
    assert (np.diff(scores, axis=1) <= 0).all()


@every(APPROXIMATE)
def test_a_filter_on_an_approximate_index_keeps_its_recall(tmp_path, monkeypatch, backend, kind):
    """Allowed rows too many to read one by one are searched through the index, and found."""
    vectors, queries = clustered(2_600), clustered(50, seed=1)
    ids = np.arange(2_600, dtype=np.int64) * 2
    index = make(backend, kind)
    index.build(batches(vectors, ids), dim=DIM, folder=tmp_path)
    monkeypatch.setattr(f"{type(index).__module__}.SCAN_LIMIT", 10)
    allowed = ids[::3]
    rows, _ = index.search(queries, k=10, allowed=allowed)
    assert np.isin(rows, allowed).all()
    truth, _ = oracle(vectors, ids, queries, 10, allowed)
    found = sum(len(np.intersect1d(a, b)) for a, b in zip(rows, truth, strict=True))
    assert found >= 0.93 * truth.size


@every(FLAT)
def test_a_flat_filter_through_the_engine_is_exact(tmp_path, monkeypatch, ids, backend, kind):
    """The path for many allowed rows gives the oracle's answer too."""
    vectors, queries = clustered(500), clustered(3, seed=1)
    index = make(backend, kind)
    index.build(batches(vectors, ids), dim=DIM, folder=tmp_path)
    if backend != "exact":
        monkeypatch.setattr(f"{type(index).__module__}.SCAN_LIMIT", 0)
    allowed = ids[100:400:2]
    for query in queries:
        wanted = oracle(vectors, ids, query[None], 10, allowed)
        agree(index.search(query[None], k=10, allowed=allowed), wanted)


@pytest.mark.parametrize("backend", list(BACKENDS))
def test_unknown_kind_is_refused(backend):
    """A misspelt kind names the known ones."""
    with pytest.raises(ConfigError, match="kind"):
        make(backend, "flatt")
