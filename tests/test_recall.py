"""Recall against exact search: a number that can be checked by hand, and a fair sample."""

from __future__ import annotations

import numpy as np
import pytest

from lbr_search.index.exact import ExactIndex, scan
from lbr_search.index.recall import (
    MAX_QUERIES,
    measure_recall,
    neighbours,
    raise_effort,
    sample_rows,
    true_neighbours,
)
from lbr_search.index.rows import no_hits

DIM = 8


def unit(n: int, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((n, DIM)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def batches(vectors, size=37):
    ids = np.arange(len(vectors), dtype=np.int64) * 3
    return [(ids[at : at + size], vectors[at : at + size]) for at in range(0, len(ids), size)]


class Forgetful(ExactIndex):
    """Exact, but never returns rows whose id is a multiple of `hidden`."""

    hidden = 2

    def search(self, queries, *, k, allowed=None):
        rows, scores = super().search(queries, k=len(self._rows), allowed=allowed)
        kept_rows, kept_scores = no_hits(len(queries), k)
        for line, (found, values) in enumerate(zip(rows, scores, strict=True)):
            keep = found % self.hidden != 0
            n = min(k, int(keep.sum()))
            kept_rows[line, :n], kept_scores[line, :n] = found[keep][:n], values[keep][:n]
        return kept_rows, kept_scores


def opened(kind, vectors, folder):
    index = kind()
    index.build(batches(vectors), dim=DIM, folder=folder)
    return index


@pytest.mark.parametrize("own", [False, True])
def test_exact_search_has_recall_one(tmp_path, own):
    """The oracle finds all there is, own rows counted or not."""
    vectors = unit(120)
    rows = sample_rows(np.arange(120) * 3, n=30)
    queries = vectors[rows // 3]
    index = opened(ExactIndex, vectors, tmp_path)
    found = measure_recall(index, batches(vectors), queries, own_rows=rows if own else None)
    assert found == 1.0


def test_recall_is_the_share_of_true_rows_returned(tmp_path):
    """A backend that hides every even row id has exactly the share of odd true neighbours."""
    vectors, queries = unit(120), unit(25, seed=1)
    index = opened(Forgetful, vectors, tmp_path)
    truth = np.argsort(-(queries @ vectors.T), axis=1)[:, :10] * 3
    wanted = float((truth % 2 == 1).mean())
    assert 0.2 < wanted < 0.8
    assert measure_recall(index, batches(vectors), queries) == pytest.approx(wanted)


def test_own_rows_do_not_flatter(tmp_path):
    """A backend that finds only the row itself has recall 0 once own rows are left out."""
    vectors = unit(60)
    ids = np.arange(60, dtype=np.int64) * 3

    class OnlyItself(ExactIndex):
        def search(self, queries, *, k, allowed=None):
            rows, scores = super().search(queries, k=k, allowed=allowed)
            rows[:, 1:], scores[:, 1:] = -1, -np.inf
            return rows, scores

    index = opened(OnlyItself, vectors, tmp_path)
    assert measure_recall(index, batches(vectors), vectors, k=10) == pytest.approx(0.1)
    assert measure_recall(index, batches(vectors), vectors, k=10, own_rows=ids) == 0.0


@pytest.mark.parametrize("size", [1, 7, 200])
def test_true_neighbours_do_not_depend_on_batches(size):
    """Streaming gives the neighbours of one big product."""
    vectors, queries = unit(120), unit(9, seed=2)
    truth = np.argsort(-(queries @ vectors.T), axis=1)[:, :5] * 3
    found = true_neighbours(batches(vectors, size), queries, k=5)
    np.testing.assert_array_equal(found, truth)


def test_floors_leave_out_what_is_not_wanted_and_nothing_else():
    """Above the floors all is found as without them, also what ties with a floor."""
    vectors, queries = unit(300), unit(9, seed=2)
    vectors[200:203] = vectors[7]  # ties
    ids = np.arange(300)
    rows, scores = scan(queries, vectors, ids, k=20)
    floors = scores[:, 12].copy()
    found, _ = scan(queries, vectors, ids, k=20, floors=floors)
    np.testing.assert_array_equal(found[:, :13], rows[:, :13])
    assert (scan(queries, vectors, ids, k=20, floors=scores[:, 0] + 1)[0] == -1).all()


def test_fewer_rows_than_k_and_none(tmp_path):
    """Three rows can give three neighbours; no rows leave nothing to miss."""
    three = opened(ExactIndex, unit(3), tmp_path / "three")
    assert measure_recall(three, batches(unit(3)), unit(5, seed=1), k=10) == 1.0
    none = opened(ExactIndex, unit(0), tmp_path / "none")
    assert measure_recall(none, [], unit(5, seed=1), k=10) == 1.0


def test_only_the_first_200_queries_count(tmp_path):
    """More queries do not make the measurement longer."""
    vectors = unit(50)
    index = opened(Forgetful, vectors, tmp_path)
    many = unit(MAX_QUERIES + 100, seed=3)
    assert measure_recall(index, batches(vectors), many) == measure_recall(
        index, batches(vectors), many[:MAX_QUERIES]
    )


def test_sample_is_fair_and_depends_on_the_seed_alone():
    """Each row is drawn about equally often, once a draw; fewer rows than wanted are all drawn."""
    ids = np.arange(100) * 3
    times = np.zeros(100)
    for seed in range(400):
        rows = sample_rows(ids, n=20, seed=seed)
        assert len(set(rows.tolist())) == 20
        assert np.all(np.diff(rows) > 0)
        times[rows // 3] += 1
    # 400 draws with chance 0.2: mean 80, standard deviation 8
    assert times.sum() == 8_000
    assert np.abs(times - 80).max() < 5 * 8
    assert sample_rows(ids, n=20, seed=3).tolist() == sample_rows(ids, n=20, seed=3).tolist()
    assert sample_rows(ids[:5], n=20).tolist() == ids[:5].tolist()


def test_raise_effort_stops_at_the_target():
    """The first effort that suffices, else the last, with what it reached."""
    curve = {4: 0.5, 8: 0.9, 16: 0.95, 32: 0.99}
    assert raise_effort([4, 8, 16, 32], curve.__getitem__, target=0.95) == (16, 0.95)
    assert raise_effort([4, 8, 16, 32], curve.__getitem__, target=0.999) == (32, 0.99)
    assert raise_effort([4, 8], curve.__getitem__, target=0.1) == (4, 0.5)


def test_pages_are_released_after_every_few_queries(tmp_path):
    """A build that is measured never holds the pages of many queries at once."""
    vectors = unit(60)
    searched: list[int] = []

    class Counting(ExactIndex):
        def search(self, queries, *, k, allowed=None):
            searched.append(len(queries))
            return super().search(queries, k=k, allowed=allowed)

        def release(self):
            searched.append(0)
            super().release()

    index = opened(Counting, vectors, tmp_path)
    found = neighbours(index, vectors[:20], k=3)
    assert searched == [8, 0, 8, 0, 4, 0]
    np.testing.assert_array_equal(found, index.search(vectors[:20], k=3)[0])
    assert neighbours(index, vectors[:0], k=3).shape == (0, 3)
