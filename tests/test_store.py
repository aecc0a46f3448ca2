"""The LanceDB table: rows, metadata columns, filters, versions, tidying."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from lbr_search.errors import FilterError, IndexFormatError, ShapeError
from lbr_search.index.columns import MetadataColumns
from lbr_search.index.documents import document_states
from lbr_search.index.multi_vectors import CODES, SCALES, from_columns, quantise
from lbr_search.index.store import COMPACT_FRAGMENTS, ChunkStore
from lbr_search.types import Chunk

DIM = 4


def chunk(doc_id: str, number: int = 0, text: str = "text", **metadata: object) -> Chunk:
    return Chunk(
        doc_id=doc_id,
        chunk_no=number,
        text=text,
        start=number * 10,
        end=number * 10 + len(text),
        title=f"title of {doc_id}",
        domain="medical",
        metadata=metadata,  # type: ignore[arg-type]
        doc_hash=f"hash of {doc_id}",
    )


def vectors(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, DIM)).astype(np.float32)


def rows_of(store: ChunkStore, *columns: str) -> list[dict]:
    return [row for batch in store.scan(columns) for row in batch.to_pylist()]


@pytest.fixture
def store(tmp_path: Path) -> ChunkStore:
    return ChunkStore.create(tmp_path / "store", dim=DIM)


def test_rows_come_back_as_they_were_added(store: ChunkStore) -> None:
    """Every reserved column and the vector survive, in the order of row ids."""
    given = vectors(3)
    store.add([chunk("a"), chunk("a", 1, "näxt \U0001f9ea")], given[:2], first_row=5)
    store.add([chunk("b")], given[2:], first_row=9)
    names = ("doc_id", "chunk_no", "title", "text", "domain", "start", "end", "doc_hash")
    assert rows_of(store, *names)[1] == {
        "row_id": 6,
        "doc_id": "a",
        "chunk_no": 1,
        "title": "title of a",
        "text": "näxt \U0001f9ea",
        "domain": "medical",
        "start": 10,
        "end": 16,
        "doc_hash": "hash of a",
    }
    batches = list(store.scan_vectors())
    assert np.concatenate([ids for ids, _ in batches]).tolist() == [5, 6, 9]
    np.testing.assert_array_equal(np.concatenate([part for _, part in batches]), given)


def test_several_vectors_a_row(tmp_path: Path) -> None:
    """A store made for k vectors a row gives them back, and takes no row without them."""
    store = ChunkStore.create(tmp_path / "store", dim=DIM, n_vectors=3)
    several = quantise(vectors(6, seed=1).reshape(2, 3, DIM))
    store.add([chunk("a"), chunk("b")], vectors(2), first_row=0, multi=several)
    again = ChunkStore.open_latest(tmp_path / "store")
    assert again.n_vectors == 3
    (batch,) = again.scan([CODES, SCALES])
    np.testing.assert_array_equal(from_columns(batch).floats(), several.floats())
    with pytest.raises(ShapeError, match="0 vectors were given to a table of 3"):
        store.add([chunk("c")], vectors(1), first_row=2)


def test_wrong_vector_shape_is_refused(store: ChunkStore) -> None:
    """Vectors of another number or size than the chunks say so, with both shapes."""
    with pytest.raises(ShapeError, match=r"2 chunks of 4 dimensions.*\(3, 4\)"):
        store.add([chunk("a"), chunk("b")], vectors(3), first_row=0)


def test_metadata_is_filtered_where_it_is_stored(store: ChunkStore) -> None:
    """Columns appear with their first value, null before; filters see numbers as numbers."""
    store.add([chunk("a"), chunk("b", year=2014)], vectors(2), first_row=0)
    store.add([chunk("c", year=2016, tag="x"), chunk("d", year=2020)], vectors(2), first_row=2)
    assert store.filter("year > 2015").tolist() == [2, 3]
    assert store.filter("year IS NULL").tolist() == [0]
    assert store.filter("tag = 'x' AND doc_id <> 'z'").tolist() == [2]
    assert store.filter("year > 3000").tolist() == []


def test_int_column_becomes_float(store: ChunkStore) -> None:
    """A float among ints widens the column; older rows keep their numbers."""
    store.add([chunk("a", dose=2)], vectors(1), first_row=0)
    store.add([chunk("b", dose=2.5)], vectors(1), first_row=1)
    assert [row["dose"] for row in rows_of(store, "dose")] == [2.0, 2.5]
    assert store.filter("dose > 2.2").tolist() == [1]
    assert store.columns.warnings == []


def test_conflicting_types_become_text_and_are_told(store: ChunkStore) -> None:
    """A number and a word under one key are kept as text, with a warning that names the key."""
    store.add([chunk("a", dose=2, on=True)], vectors(1), first_row=0)
    store.add([chunk("b", dose="two", on=3)], vectors(1), first_row=1)
    assert [(row["dose"], row["on"]) for row in rows_of(store, "dose", "on")] == [
        ("2", "true"),
        ("two", "3"),
    ]
    assert [warning.split(" holds ")[0] for warning in store.columns.warnings] == [
        "metadata 'dose'",
        "metadata 'on'",
    ]


def test_reserved_and_impossible_names_are_renamed(store: ChunkStore) -> None:
    """A key that clashes with a store column, or that Lance cannot name, gets a told name."""
    store.add(
        [chunk("a", title="x", **{"a.b": 1, "a_b": 2, "pub date": 3})], vectors(1), first_row=0
    )
    assert [(c.key, c.column) for c in store.columns.by_key.values()] == [
        ("title", "meta_title"),
        ("a.b", "a_b"),
        ("a_b", "a_b_"),
        ("pub date", "pub date"),
    ]
    assert store.filter(
        "meta_title = 'x' AND a_b = 1 AND a_b_ = 2 AND `pub date` = 3"
    ).tolist() == [0]
    assert len(store.columns.warnings) == 3


@pytest.mark.parametrize("done", ["add_columns", "drop_columns"])
def test_a_retyping_that_was_cut_off_is_completed(
    store: ChunkStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, done: str
) -> None:
    """Dying after either commit of a type change loses no value."""
    store.add([chunk("a", dose=2)], vectors(1), first_row=0)

    class DiesAfter:
        def __init__(self, table):
            self.table = table

        def __getattr__(self, name):
            method = getattr(self.table, name)
            if name != done:
                return method

            def dying(*args):
                method(*args)
                raise KeyboardInterrupt

            return dying

    monkeypatch.setattr(store, "_table", DiesAfter(store._table))
    with pytest.raises(KeyboardInterrupt):
        store.add([chunk("b", dose="two")], vectors(1), first_row=1)
    again = ChunkStore.open_latest(tmp_path / "store")
    again.add([chunk("b", dose="two")], vectors(1), first_row=1)
    assert [row["dose"] for row in rows_of(again, "dose")] == ["2", "two"]


def test_filter_errors_name_the_nearest_column(store: ChunkStore) -> None:
    """A typo, a broken condition and a condition that is none are refused with a way on."""
    store.add([chunk("a", year=2014)], vectors(1), first_row=0)
    with pytest.raises(FilterError, match="no column 'yeer'") as typo:
        store.filter("yeer > 2015")
    assert typo.value.fix == "use year"
    for expression in ("year >", "", "year + 1", "year > 'soon'", "nofunction(year) > 1"):
        with pytest.raises(FilterError, match="cannot be used") as broken:
            store.filter(expression)
        assert "year" in broken.value.fix


def test_a_version_stays_readable_after_changes(store: ChunkStore, tmp_path: Path) -> None:
    """A reader at a version sees neither later rows, deletions nor columns."""
    store.add([chunk("a", year=1), chunk("b", year=2)], vectors(2), first_row=0)
    version = store.version
    store.delete_rows([0])
    store.add([chunk("c", year="x")], vectors(1), first_row=2)
    reader = ChunkStore.open_version(tmp_path / "store", version)
    assert rows_of(reader, "year") == [{"row_id": 0, "year": 1}, {"row_id": 1, "year": 2}]
    with pytest.raises(IndexFormatError, match="lacks version 99"):
        ChunkStore.open_version(tmp_path / "store", 99)


def test_tidying_keeps_rows_order_and_the_version_in_use(store: ChunkStore, tmp_path: Path) -> None:
    """Many small fragments become one; ids stay in order; the kept version is still readable."""
    for number in range(COMPACT_FRAGMENTS + 4):
        store.add([chunk(f"d{number}")], vectors(1), first_row=number)
        if number == 20:
            kept = store.version
    store.delete_rows([3, 30])
    assert store.is_untidy
    store.tidy(keep=kept)
    assert not store.is_untidy
    left = [row for row in range(COMPACT_FRAGMENTS + 4) if row not in (3, 30)]
    assert [row["row_id"] for row in rows_of(store)] == left
    reader = ChunkStore.open_version(tmp_path / "store", kept)
    assert [row["row_id"] for row in rows_of(reader)] == list(range(21))


def test_a_table_that_lost_many_rows_is_written_anew(store: ChunkStore) -> None:
    """Few fragments and many deleted rows: tidying pays, and frees their space."""
    store.add([chunk(f"d{number}") for number in range(40)], vectors(40), first_row=0)
    store.delete_rows(range(9))
    assert not store.is_untidy
    store.delete_rows(range(9, 20))
    assert store.deleted_share == 0.5
    assert store.is_untidy
    store.tidy(keep=None)
    assert (store.deleted_share, store.count()) == (0, 20)
    assert [row["row_id"] for row in rows_of(store)] == list(range(20, 40))


def test_a_table_of_many_commits_drops_old_versions(
    store: ChunkStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Versions are removed from some number on, whatever the table holds."""
    monkeypatch.setattr("lbr_search.index.store.MAX_VERSIONS", 6)
    for number in range(6):
        assert not store.is_untidy
        store.add([chunk(f"d{number}")], vectors(1), first_row=number)
    assert store.is_untidy
    store.tidy(keep=None)
    assert not store.is_untidy


def test_tidying_a_first_build_keeps_the_latest_version_alone(store: ChunkStore) -> None:
    """Before anything is published no older version is worth its disk."""
    for number in range(COMPACT_FRAGMENTS + 2):
        store.add([chunk(f"d{number}")], vectors(1), first_row=number)
    store.tidy(keep=None)
    assert [row["version"] for row in store._table.list_versions()] == [store.version]
    assert (store.fragments(), store.count()) == (1, COMPACT_FRAGMENTS + 2)


def test_a_large_table_may_have_more_fragments(
    store: ChunkStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One more for so many rows, up to a limit: a large ingest is not written twice."""
    for number in range(COMPACT_FRAGMENTS + 2):
        store.add([chunk(f"d{number}")], vectors(1), first_row=number)
    assert store.is_untidy
    monkeypatch.setattr("lbr_search.index.store.FRAGMENT_ROWS", 17)  # 34 rows: two more
    assert not store.is_untidy
    monkeypatch.setattr("lbr_search.index.store.MAX_FRAGMENTS", COMPACT_FRAGMENTS + 1)
    assert store.is_untidy


def test_vectors_are_read_by_row_id(store: ChunkStore) -> None:
    """Each row's own vector, in ascending order, whatever was deleted; none that is gone."""
    first, second = vectors(6), vectors(3, seed=1)
    store.add([chunk(f"d{i}") for i in range(6)], first, first_row=0)
    store.add([chunk(f"e{i}") for i in range(3)], second, first_row=10)
    store.delete_rows([1, 4])
    assert store.row_ids().tolist() == [0, 2, 3, 5, 10, 11, 12]
    found = store.vectors(np.array([2, 5, 11]))
    np.testing.assert_array_equal(found, np.stack([first[2], first[5], second[1]]))
    with pytest.raises(KeyError):
        store.vectors(np.array([2, 4]))


def test_batches_of_large_texts_are_small(
    store: ChunkStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scan reads fewer rows at a time where rows are large, and every row once."""
    monkeypatch.setattr("lbr_search.index.store.SCAN_BYTES", 50_000)
    large = [chunk(f"d{i}", text=os.urandom(10_000).hex()) for i in range(12)]
    store.add(large, vectors(12), first_row=0)
    batches = list(store.scan(["text"]))
    assert max(batch.num_rows for batch in batches) <= 4
    assert [text for batch in batches for text in batch["text"].to_pylist()] == [
        each.text for each in large
    ]


def test_document_states_tell_whole_documents_from_stale_rows(store: ChunkStore) -> None:
    """The last group from chunk 0 on is the document; older groups and headless rests are stale."""
    store.add([chunk("a"), chunk("a", 1), chunk("b"), chunk("b", 1)], vectors(4), first_row=0)
    store.add([chunk("a", 0, "new"), chunk("c"), chunk("c", 1)], vectors(3), first_row=4)
    store.delete_rows([2, 5])
    states, stale = document_states(store)
    assert {name: list(state.rows) for name, state in states.items()} == {"a": [4]}
    assert sorted(stale) == [0, 1, 3, 6]


def test_a_deletion_of_many_rows_goes_lowest_first(
    store: ChunkStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut off between commits, a deletion leaves headless rests, never documents without an end."""
    monkeypatch.setattr("lbr_search.index.store.DELETE_ROWS", 2)
    store.add([chunk("a", number) for number in range(5)], vectors(5), first_row=0)
    deleted: list[str] = []
    delete = store._table.delete
    monkeypatch.setattr(
        store._table, "delete", lambda where: (deleted.append(where), delete(where))[1]
    )
    store.delete_rows([4, 3, 2, 1, 0])
    assert deleted == ["row_id IN (0, 1)", "row_id IN (2, 3)", "row_id IN (4)"]
    assert store.count() == 0


def test_columns_survive_writing_and_reading() -> None:
    """What `to_list` gives, `from_list` reads."""
    columns = MetadataColumns()
    columns.learn([{"year": 1, "title": "x", "empty": None}])
    assert MetadataColumns.from_list(columns.to_list()).by_key == columns.by_key
    assert not columns.learn([{"year": 2, "empty": None}])
