"""FAISS in particular: cells and effort, threads, filters through selectors, devices, k-means."""

from __future__ import annotations

import threading

import faiss
import numpy as np
import pytest

from lbr_search.index import clustering, faiss_build, faiss_index
from lbr_search.index.clustering import nearest_cells, spherical_kmeans
from lbr_search.index.exact import ExactIndex
from lbr_search.index.faiss_index import FaissIndex

DIM = 16


def clustered(n: int, seed: int = 0) -> np.ndarray:
    centres = np.random.default_rng(99).standard_normal((60, DIM))
    generator = np.random.default_rng(seed)
    vectors = centres[generator.integers(0, 60, n)] + 0.5 * generator.standard_normal((n, DIM))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def build(kind: str, vectors: np.ndarray, folder, *, n_block=700) -> tuple[FaissIndex, dict]:
    ids = np.arange(len(vectors), dtype=np.int64) * 2
    index = FaissIndex(kind)
    starts = range(0, len(vectors), n_block)
    batches = [(ids[at : at + n_block], vectors[at : at + n_block]) for at in starts]
    return index, index.build(batches, dim=DIM, folder=folder)


def test_ivf_spreads_rows_over_cells(tmp_path, monkeypatch):
    """All rows are in the lists once, each in the cell of its nearest centre, over all blocks."""
    monkeypatch.setattr(faiss_build, "ADD_ROWS", 500)
    vectors = clustered(3_000)
    _, settings = build("ivf", vectors, tmp_path)
    assert settings["n_cells"] == 64
    index = faiss.read_index(str(tmp_path / faiss_index.INDEX_FILE))
    centres = index.quantizer.reconstruct_n(0, 64)
    wanted = nearest_cells(vectors, centres)
    cells = np.full(3_000, -1)
    for cell in range(64):
        size = index.invlists.list_size(cell)
        rows = faiss.rev_swig_ptr(index.invlists.get_ids(cell), size).copy()
        assert (cells[rows] == -1).all()
        cells[rows] = cell
    np.testing.assert_array_equal(cells, wanted)


def test_effort_is_raised_to_the_target_and_kept(tmp_path, monkeypatch):
    """The effort stored is the first in the list that reaches the target, and opening reads it."""
    vectors = clustered(3_000)
    _, settings = build("ivf", vectors, tmp_path / "a")
    assert settings["recall_at_10"] >= faiss_index.TARGET_RECALL
    opened = FaissIndex("ivf")
    opened.open(tmp_path / "a", dim=DIM)
    assert opened._effort == settings["effort"]
    monkeypatch.setitem(faiss_index.EFFORTS, "ivf", (1, 2))
    monkeypatch.setattr(faiss_index, "TARGET_RECALL", 1.01)
    _, low = build("ivf", vectors, tmp_path / "b")
    assert low["effort"] == 2
    assert low["recall_at_10"] < settings["recall_at_10"]


def test_one_query_equals_the_batch(tmp_path):
    """Flat answers by FAISS (one query) and by one matrix product (many) are the same bits."""
    vectors, queries = clustered(3_000), clustered(20, seed=1)
    index, _ = build("flat", vectors, tmp_path)
    rows, scores = index.search(queries, k=25)
    for number, query in enumerate(queries):
        one_rows, one_scores = index.search(query[None], k=25)
        np.testing.assert_array_equal(one_rows[0], rows[number])
        np.testing.assert_array_equal(one_scores[0], scores[number])


def test_a_filter_reads_more_cells(tmp_path, monkeypatch):
    """Few allowed rows, all through the index: recall stays near that of the whole index."""
    monkeypatch.setattr(faiss_index, "SCAN_LIMIT", 0)
    vectors, queries = clustered(6_000), clustered(60, seed=1)
    index, _ = build("ivf", vectors, tmp_path / "ivf")
    allowed = np.arange(0, 12_000, 2 * 25, dtype=np.int64)
    exact = ExactIndex()
    exact.build([(np.arange(6_000) * 2, vectors)], dim=DIM, folder=tmp_path / "exact")
    truth, _ = exact.search(queries, k=10, allowed=allowed)
    found, _ = index.search(queries, k=10, allowed=allowed)
    hits = sum(len(np.intersect1d(a, b)) for a, b in zip(found, truth, strict=True))
    assert hits >= 0.95 * truth.size


def test_threads_setting_is_put_back(tmp_path):
    """A single query leaves FAISS's thread count as it was, also when the search fails."""
    index, _ = build("flat", clustered(300), tmp_path)
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(3)
    try:
        index.search(clustered(1), k=3)
        assert faiss.omp_get_max_threads() == 3
        with pytest.raises(KeyError), faiss_index._threads_for(1):
            assert faiss.omp_get_max_threads() == 1
            raise KeyError
        assert faiss.omp_get_max_threads() == 3
    finally:
        faiss.omp_set_num_threads(before)


@pytest.mark.parametrize("kind", faiss_index.KINDS)
def test_threads_read_together(tmp_path, kind):
    """Six threads on one index get the answers of one."""
    index, _ = build(kind, clustered(3_000), tmp_path)
    queries = clustered(30, seed=1)
    wanted = [index.search(query[None], k=10) for query in queries]
    wrong: list[int] = []
    done: list[int] = []

    def read() -> None:
        for number, query in enumerate(queries):
            rows, scores = index.search(query[None], k=10)
            same = np.array_equal(rows, wanted[number][0])
            if not same or not np.array_equal(scores, wanted[number][1]):
                wrong.append(number)
        done.append(1)

    threads = [threading.Thread(target=read) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(done) == 6


def test_a_device_is_used_where_the_build_sees_one(tmp_path, monkeypatch):
    """With a device the copy on it proposes candidates; filters and scores stay with us."""
    vectors, queries = clustered(3_000), clustered(6, seed=1)
    index, _ = build("ivf", vectors, tmp_path)
    wanted = index.search(queries, k=10)
    moved: list[tuple[int, int]] = []

    def move(_resources, device, cpu_index):
        moved.append((device, cpu_index.ntotal))
        return faiss.clone_index(cpu_index)

    monkeypatch.setattr(faiss, "StandardGpuResources", lambda: "resources", raising=False)
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1, raising=False)
    monkeypatch.setattr(faiss, "index_cpu_to_gpu", move, raising=False)
    on_device = FaissIndex("ivf")
    on_device.open(tmp_path, dim=DIM)
    assert moved == [(0, 3_000)]
    asked: list[int] = []
    search = on_device._gpu_index.search

    def watched(*args, **kwargs):
        asked.append(len(args[0]))
        return search(*args, **kwargs)

    on_device._gpu_index.search = watched
    found = on_device.search(queries, k=10)
    assert asked == [6]
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(a, b)
    allowed = np.arange(0, 6_000, 4, dtype=np.int64)
    monkeypatch.setattr(faiss_index, "SCAN_LIMIT", 0)
    rows, _ = on_device.search(queries, k=5, allowed=allowed)
    assert np.isin(rows, allowed).all()
    assert asked == [6]


def test_an_index_too_large_for_the_device_stays(tmp_path, monkeypatch, caplog):
    """Where the device refuses the copy, search goes on without it, and the log says so."""
    vectors = clustered(300)
    build("flat", vectors, tmp_path)

    def refuse(_resources, _device, _index):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(faiss, "StandardGpuResources", lambda: "resources", raising=False)
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1, raising=False)
    monkeypatch.setattr(faiss, "index_cpu_to_gpu", refuse, raising=False)
    index = FaissIndex("flat")
    index.open(tmp_path, dim=DIM)
    assert "300 vectors stay on the CPU" in caplog.text
    assert index.search(vectors[:1], k=1)[0].tolist() == [[0]]


@pytest.mark.skipif(faiss.get_num_gpus() > 0, reason="this FAISS sees a device")
def test_without_a_device_nothing_is_moved(tmp_path):
    """The CPU build keeps everything where it is."""
    index, _ = build("flat", clustered(50), tmp_path)
    assert index._gpu_index is None


def test_kmeans_finds_separate_clusters():
    """Well separated clusters, each found as one cell; empty cells are given away."""
    axes = np.eye(DIM, dtype=np.float32)[:8]
    generator = np.random.default_rng(0)
    vectors = np.repeat(axes, 50, axis=0) + 0.05 * generator.standard_normal((400, DIM))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    centres = spherical_kmeans(vectors, 24)
    assert centres.shape == (24, DIM)
    np.testing.assert_allclose(np.linalg.norm(centres, axis=1), 1, atol=1e-6)
    cells = nearest_cells(vectors, centres).reshape(8, 50)
    groups = [set(line.tolist()) for line in cells]
    assert sum(map(len, groups)) == len(set().union(*groups))


def test_kmeans_gives_empty_cells_away():
    """Copies of one vector beside a few others: no centre is lost or undefined."""
    vectors = np.repeat(np.eye(DIM, dtype=np.float32)[:1], 100, axis=0)
    vectors[:3] = np.eye(DIM, dtype=np.float32)[1:4]
    centres = spherical_kmeans(vectors, 8)
    assert np.isfinite(centres).all()
    served = (vectors * centres[nearest_cells(vectors, centres)]).sum(axis=1)
    np.testing.assert_allclose(served, 1, atol=1e-6)


def test_cells_are_the_largest_product(monkeypatch):
    """Assignment in blocks equals one product."""
    monkeypatch.setattr(clustering, "ASSIGN_ROWS", 7)
    vectors, centres = clustered(100), clustered(9, seed=5)
    np.testing.assert_array_equal(
        nearest_cells(vectors, centres), (vectors @ centres.T).argmax(axis=1)
    )
