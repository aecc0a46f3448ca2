"""Chunks to a published index: idempotent, resumable, whatever happens in between."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lbr_search.config import IndexConfig
from lbr_search.errors import CorpusError, EncoderError, IndexFormatError, SealError
from lbr_search.index import build as build_module
from lbr_search.index import generation as generation_module
from lbr_search.index.analysis import VERSIONS, versioned
from lbr_search.index.build import build, build_from_vectors
from lbr_search.index.info import index_info
from lbr_search.index.journal import Journal
from lbr_search.index.manifest import STORE_FOLDER, load_manifest
from lbr_search.index.opened import open_index
from lbr_search.index.report import BuildProgress, BuildReport
from lbr_search.index.store import ChunkStore
from lbr_search.index.verify import verify_index
from lbr_search.types import Chunk, Document
from tests.conftest import HashEncoder

SMALL = IndexConfig(commit_rows=4, encode_batch=2)


def chunks_of(documents: dict[str, str], *, width: int = 12) -> Iterator[Chunk]:
    """Each document cut every `width` characters."""
    for doc_id, text in documents.items():
        made = Document(doc_id, text, title=f"title {doc_id}", metadata={"length": len(text)})
        for number, start in enumerate(range(0, max(len(text), 1), width)):
            yield Chunk(
                doc_id=doc_id,
                chunk_no=number,
                text=text[start : start + width],
                start=start,
                end=min(start + width, len(text)),
                title=made.title,
                metadata=made.metadata,
                doc_hash=made.content_hash,
            )


def texts(n: int, version: int = 0) -> dict[str, str]:
    return {f"d{i}": f"document {i} version {version} " + "word " * (i % 5) for i in range(n)}


def ingest(folder: Path, documents: dict[str, str], encoder: HashEncoder, **options) -> BuildReport:
    config = options.pop("config", SMALL)
    width = options.pop("width", 12)
    made = chunks_of(documents, width=width)
    return build(made, encoder=encoder, folder=folder, config=config, **options)


def content(folder: Path) -> dict[str, str]:
    """What a reader of the published index finds: document -> text; vectors checked on the way."""
    manifest = load_manifest(folder)
    store = ChunkStore.open_version(folder / STORE_FOLDER, manifest.store_version)
    encoder = HashEncoder()
    found: dict[str, str] = {}
    rows = []
    for batch in store.scan(["doc_id", "chunk_no", "title", "text", "vector"]):
        for row in batch.to_pylist():
            whole = found.setdefault(row["doc_id"], "")
            assert row["chunk_no"] == len(whole) // 12, "a chunk is lost, repeated or out of order"
            found[row["doc_id"]] = whole + row["text"]
            expected = encoder.encode_passages([f"{row['title']} {row['text']}".strip()])[0]
            np.testing.assert_allclose(row["vector"], expected, atol=1e-6)
            rows.append(row["row_id"])
    with open_index(folder, encoder=encoder) as index:
        every, _ = index.dense(encoder.encode_queries(["document"]), k=len(rows) + 1)
        assert sorted(every[0].tolist()) == [-1, *rows]
        assert index.n_chunks == len(rows)
        assert index.n_documents == len(found)
    return found


class Killed(BaseException):
    """Stands for a process that ends where it is thrown."""


@contextmanager
def killed_at(owner: object, name: str, call: int = 1, *, after: bool = False) -> Iterator[None]:
    """End the block at the `call`th call of a function, before it runs or after."""
    original = getattr(owner, name)
    calls = 0

    def dying(*args, **options):
        nonlocal calls
        calls += 1
        if calls == call and not after:
            raise Killed
        result = original(*args, **options)
        if calls == call:
            raise Killed
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, dying)
        with pytest.raises(Killed):
            yield


def test_a_build_holds_every_chunk_and_counts_what_it_did(
    tmp_path: Path, encoder: HashEncoder
) -> None:
    """The report, the manifest and the table agree, value by value."""
    documents = texts(10)
    report = ingest(tmp_path / "ix", documents, encoder, domain="medical")
    n_chunks = len(list(chunks_of(documents)))
    assert content(tmp_path / "ix") == documents
    assert (report.n_documents, report.n_added, report.n_updated, report.n_deleted) == (
        10,
        10,
        0,
        0,
    )
    assert (report.n_chunks, report.n_encoded, report.n_skipped) == (n_chunks, n_chunks, 0)
    assert report.vectors == f"faiss flat ({n_chunks} chunks, at most flat_limit = 100,000)"
    assert report.recall_at_10 == 1.0
    assert encoder.n_encoded == n_chunks + 5  # the golden texts
    phases = {"source", "encode", "store", "payload", "vectors", "recall", "lexical", "publish"}
    assert set(report.seconds) == phases | {"total"}
    assert sum(report.seconds[phase] for phase in phases) <= report.seconds["total"]
    assert verify_index(tmp_path / "ix").problems == []


def test_the_same_ingest_again_does_nothing(tmp_path: Path, encoder: HashEncoder) -> None:
    """A second run encodes nothing, commits nothing and publishes nothing."""
    ingest(tmp_path / "ix", texts(10), encoder)
    manifest = (tmp_path / "ix" / "manifest.json").read_bytes()
    before = encoder.n_encoded
    report = ingest(tmp_path / "ix", texts(10), encoder)
    assert report.is_noop
    assert (report.n_unchanged, report.n_skipped, report.n_encoded) == (10, 10, 0)
    assert encoder.n_encoded == before
    assert (tmp_path / "ix" / "manifest.json").read_bytes() == manifest


def test_changed_documents_are_replaced_and_only_they_encoded(
    tmp_path: Path, encoder: HashEncoder
) -> None:
    """An update encodes the changed document alone; its old chunks are gone from every leg."""
    ingest(tmp_path / "ix", texts(10), encoder)
    changed = texts(10) | {"d4": "zebra"}
    report = ingest(tmp_path / "ix", changed, encoder)
    assert (report.n_updated, report.n_added, report.n_unchanged, report.n_encoded) == (1, 0, 9, 1)
    assert content(tmp_path / "ix") == changed
    with open_index(tmp_path / "ix", encoder=encoder) as index:
        rows, _ = index.lexical(["zebra"], k=3)
        assert index.doc_ids(rows[0][rows[0] >= 0]) == ["d4"]


def test_other_cuts_replace_a_document_of_the_same_text(
    tmp_path: Path, encoder: HashEncoder
) -> None:
    """Unchanged means the same content in the same chunks: another chunk size is an update."""
    ingest(tmp_path / "ix", texts(3), encoder)
    report = ingest(tmp_path / "ix", texts(3), encoder, width=1000)
    assert (report.n_updated, report.n_chunks) == (3, 3)


def test_missing_documents_go_only_when_asked(tmp_path: Path, encoder: HashEncoder) -> None:
    """`delete_missing` removes what this ingest lacks; without it nothing is removed."""
    ingest(tmp_path / "ix", texts(10), encoder)
    assert ingest(tmp_path / "ix", texts(3), encoder).is_noop
    report = ingest(tmp_path / "ix", texts(3), encoder, delete_missing=True)
    assert (report.n_deleted, report.n_unchanged) == (7, 3)
    assert content(tmp_path / "ix") == texts(3)


def test_nothing_to_ingest_is_refused_and_removes_nothing(
    tmp_path: Path, encoder: HashEncoder
) -> None:
    """An empty source makes no folder, and empties no index, even with `delete_missing`."""
    with pytest.raises(CorpusError, match="hold no documents"):
        ingest(tmp_path / "ix", {}, encoder)
    assert not (tmp_path / "ix").exists()
    ingest(tmp_path / "ix", texts(2), encoder)
    with pytest.raises(CorpusError, match="hold no documents"):
        ingest(tmp_path / "ix", {}, encoder, delete_missing=True)
    assert content(tmp_path / "ix") == texts(2)


def test_one_document_of_empty_text_is_an_index(tmp_path: Path, encoder: HashEncoder) -> None:
    """The smallest index can be searched; k beyond its size is filled with -1."""
    ingest(tmp_path / "ix", {"only": ""}, encoder)
    with open_index(tmp_path / "ix", encoder=encoder) as index:
        rows, scores = index.dense(encoder.encode_queries(["title"]), k=3)
        assert rows.tolist() == [[0, -1, -1]]
        assert scores[0, 1:].tolist() == [-np.inf, -np.inf]
        assert index.fetch(rows[0, :1])[0].text == ""


def test_large_texts_are_committed_before_many_gather(
    tmp_path: Path, encoder: HashEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory is bounded by characters as well as by chunks."""
    monkeypatch.setattr("lbr_search.index.writer.BATCH_CHARACTERS", 500)
    large = {f"d{i}": f"word{i} " * 30 for i in range(10)}  # 180 to 190 characters each
    many = IndexConfig(commit_rows=1000, encode_batch=1000)
    ingest(tmp_path / "ix", large, encoder, config=many, width=1000)
    # three documents reach the limit: 3 + 3 + 3 + 1
    assert index_info(tmp_path / "ix")["store"]["fragments"] == 4


def test_large_vectors_are_committed_before_many_gather(
    tmp_path: Path, encoder: HashEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Vectors wait for a commit up to so many bytes, however few rows they are."""
    monkeypatch.setattr("lbr_search.index.writer.COMMIT_BYTES", 4 * encoder.dim * 5)
    many = IndexConfig(commit_rows=1000, encode_batch=2)
    ingest(tmp_path / "ix", {f"d{i}": f"word{i}" for i in range(10)}, encoder, config=many)
    # batches of two rows: three of them reach the bytes of five rows, so 6 + 4
    assert index_info(tmp_path / "ix")["store"]["fragments"] == 2


def test_a_document_twice_in_one_ingest_is_refused(tmp_path: Path, encoder: HashEncoder) -> None:
    """The second source must not silently replace what the first gave."""
    both = [*chunks_of({"a": "one", "b": "two"}), *chunks_of({"a": "three"})]
    with pytest.raises(CorpusError, match="'a' occurs twice"):
        build(both, encoder=encoder, folder=tmp_path / "ix", config=SMALL)


def test_chunks_out_of_order_are_refused(tmp_path: Path, encoder: HashEncoder) -> None:
    """A document whose chunks are not 0, 1, 2, ... would be taken for half a document later."""
    made = list(chunks_of({"a": "x" * 30}))
    with pytest.raises(CorpusError, match="chunk a#2 comes where chunk 1"):
        build([made[0], made[2]], encoder=encoder, folder=tmp_path / "ix", config=SMALL)


def test_chunks_without_a_hash_are_compared_by_content(
    tmp_path: Path, encoder: HashEncoder
) -> None:
    """Chunks made by hand are idempotent too, and updated when their metadata changes."""
    bare = [replace(chunk, doc_hash="") for chunk in chunks_of(texts(3))]
    build(bare, encoder=encoder, folder=tmp_path / "ix", config=SMALL)
    assert build(bare, encoder=encoder, folder=tmp_path / "ix", config=SMALL).is_noop
    bare[0] = replace(bare[0], metadata={"length": 99})
    report = build(bare, encoder=encoder, folder=tmp_path / "ix", config=SMALL)
    assert (report.n_updated, report.n_unchanged) == (1, 2)


def test_truncated_chunks_are_counted_for_life(tmp_path: Path) -> None:
    """Tokens that the encoder cut are in the report, and add up in the manifest."""
    encoder = HashEncoder(max_tokens=4)
    long = {"a": "one two three four five six"}  # title a = 2 tokens, 8 in all, 4 lost
    report = ingest(tmp_path / "ix", long, encoder, width=1000)
    assert (report.n_truncated, report.n_tokens_lost) == (1, 4)
    report = ingest(tmp_path / "ix", long | {"b": "one two three"}, encoder, width=1000)
    assert (report.n_truncated, report.n_tokens_lost) == (1, 1)
    totals = load_manifest(tmp_path / "ix").totals
    assert (totals["n_encoded"], totals["n_truncated"], totals["n_tokens_lost"]) == (2, 2, 5)


def test_a_vector_that_is_no_number_is_refused(tmp_path: Path, encoder: HashEncoder) -> None:
    """NaN from an encoder stops the build, naming the chunk, before it is stored."""
    made = list(chunks_of({"a": "x", "b": "y"}))
    vectors = np.ones((2, encoder.dim), dtype=np.float32)
    vectors[1, 3] = np.nan
    with pytest.raises(EncoderError, match="'b#0'"):
        build_from_vectors([(made, vectors)], encoder=encoder, folder=tmp_path / "ix", config=SMALL)


def test_known_vectors_are_stored_as_given(tmp_path: Path, encoder: HashEncoder) -> None:
    """`build_from_vectors` encodes the golden texts and nothing else."""
    made = list(chunks_of(texts(4)))
    vectors = encoder.encode_passages([chunk.passage for chunk in made])
    before = encoder.n_encoded
    halves = [(made[:3], vectors[:3]), (made[3:], vectors[3:])]
    build_from_vectors(halves, encoder=encoder, folder=tmp_path / "ix", config=SMALL)
    assert encoder.n_encoded == before + 5
    assert content(tmp_path / "ix") == texts(4)


def test_progress_tells_phases_and_counts(tmp_path: Path, encoder: HashEncoder) -> None:
    """The callback sees every phase, and counts that never fall."""
    told: list[BuildProgress] = []
    ingest(tmp_path / "ix", texts(10), encoder, progress=told.append)
    phases = list(dict.fromkeys(each.phase for each in told))
    assert phases == ["encode", "store", "payload", "vectors", "recall", "lexical", "publish"]
    assert [each.n_chunks for each in told] == sorted(each.n_chunks for each in told)
    assert told[-1].n_documents == 10


def test_another_backend_or_kind_is_a_new_generation_without_encoding(
    tmp_path: Path, encoder: HashEncoder
) -> None:
    """Changing how vectors are searched reads them from the store."""
    ingest(tmp_path / "ix", texts(10), encoder)
    before = encoder.n_encoded
    report = ingest(
        tmp_path / "ix", texts(10), encoder, config=replace(SMALL, backend="exact", ann="flat")
    )
    assert (report.generation, report.is_noop, encoder.n_encoded) == (2, False, before)
    assert report.vectors == "exact flat (asked for)"
    assert content(tmp_path / "ix") == texts(10)


def test_auto_takes_ivf_above_the_limit(tmp_path: Path, encoder: HashEncoder) -> None:
    """The choice, its reason and the measured recall are in the manifest."""
    config = replace(SMALL, flat_limit=300, commit_rows=1000, encode_batch=1000)
    ingest(tmp_path / "ix", texts(200), encoder, config=config)
    manifest = load_manifest(tmp_path / "ix")
    assert manifest.ann == "ivf"
    assert manifest.reason == f"{manifest.n_chunks} chunks, above flat_limit = 300"
    assert 0.9 <= manifest.recall_at_10 <= 1.0


def test_old_generations_go_and_the_last_two_stay(tmp_path: Path, encoder: HashEncoder) -> None:
    """A reader that opened the generation before keeps its files through one more ingest."""
    folder = tmp_path / "ix"
    ingest(folder, texts(3), encoder)
    reader = open_index(folder, encoder=encoder)
    reader.filter("length > 0")
    ingest(folder, texts(4), encoder)
    rows, _ = reader.dense(encoder.encode_queries(["document 1 version 0"]), k=100)
    assert set(reader.doc_ids(rows[0][rows[0] >= 0])) == {"d0", "d1", "d2"}
    ingest(folder, texts(5), encoder)
    assert sorted(path.name for path in folder.glob("gen-*")) == ["gen-000002", "gen-000003"]


def test_row_ids_are_never_used_twice(tmp_path: Path, encoder: HashEncoder) -> None:
    """The highest rows may be deleted and the index opened anew: their ids stay retired."""
    folder = tmp_path / "ix"
    ingest(folder, {"a": "one", "b": "two"}, encoder)
    ingest(folder, {"a": "one"}, encoder, delete_missing=True)
    ingest(folder, {"a": "one", "c": "three"}, encoder)
    with open_index(folder, encoder=encoder) as index:
        assert index.filter("doc_id = 'c'").tolist() == [2]


def test_another_domain_is_refused(tmp_path: Path, encoder: HashEncoder) -> None:
    """The analyser depends on the domain, so an index keeps the one it began with."""
    ingest(tmp_path / "ix", texts(2), encoder, domain="medical")
    with pytest.raises(IndexFormatError, match="another domain") as refused:
        ingest(tmp_path / "ix", texts(2), encoder, domain="code")
    assert "'medical'" in refused.value.message
    assert ingest(tmp_path / "ix", texts(2), encoder).is_noop


def test_a_changed_analyser_makes_new_terms_without_encoding(
    tmp_path: Path, encoder: HashEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An index of an older version is not searched lexically until its next ingest."""
    folder = tmp_path / "ix"
    ingest(folder, {"a": "readFile"}, encoder, domain="code")
    assert load_manifest(folder).analyser == str(versioned("code"))
    monkeypatch.setitem(VERSIONS, "code", 99)
    with (
        open_index(folder, encoder=None) as index,
        pytest.raises(IndexFormatError, match="another analyser"),
    ):
        index.lexical(["file"], k=1)
    report = ingest(folder, {"a": "readFile"}, encoder, domain="code")
    assert (report.is_noop, report.n_encoded) == (False, 0)
    assert load_manifest(folder).analyser == "code-99"
    with open_index(folder, encoder=None) as index:
        assert index.lexical(["file"], k=1)[0].tolist() == [[0]]


def test_another_encoder_cannot_continue_an_index(
    tmp_path: Path, encoder: HashEncoder, other_encoder: HashEncoder
) -> None:
    """Neither a finished nor a half-built index takes vectors of two encoders."""
    ingest(tmp_path / "done", texts(3), encoder)
    with killed_at(encoder, "encode_passages", 4):
        ingest(tmp_path / "half", texts(9), encoder)
    for name in ("done", "half"):
        with pytest.raises(SealError, match="do not match"):
            ingest(tmp_path / name, texts(9), other_encoder)


def test_a_folder_of_other_things_is_left_alone(tmp_path: Path, encoder: HashEncoder) -> None:
    """`--index` pointed at a folder of files is a mistake, not a place to write."""
    (tmp_path / "thesis.txt").write_text("do not touch")
    with pytest.raises(IndexFormatError, match="not an index and not empty: it holds 'thesis"):
        ingest(tmp_path, texts(2), encoder)


KILLS = {
    "encoding": lambda encoder: killed_at(encoder, "encode_passages", 5),
    "before the commit, journal written": lambda _: killed_at(ChunkStore, "add", 3),
    "after the commit": lambda _: killed_at(ChunkStore, "add", 3, after=True),
    "journal not written": lambda _: killed_at(Journal, "announce", 3),
    "writing the payload": lambda _: killed_at(generation_module, "write_payload", after=True),
    "choosing the vector index": lambda _: killed_at(generation_module, "choose_kind"),
    "hashing": lambda _: killed_at(generation_module, "file_entry", 2),
    "before publishing": lambda _: killed_at(generation_module, "publish"),
}


@pytest.mark.parametrize("point", KILLS)
def test_an_ingest_that_died_goes_on_without_loss_or_repeat(tmp_path: Path, point: str) -> None:
    """Wherever it died: no index is seen, the rerun encodes only the rest, the end is the same."""
    folder, encoder = tmp_path / "ix", HashEncoder()
    documents = texts(12)
    with KILLS[point](encoder):
        ingest(folder, documents, encoder)
    with pytest.raises(IndexFormatError, match="half written") as half:
        open_index(folder, encoder=None)
    assert "lbr-search ingest" in half.value.fix
    encoder = HashEncoder()
    report = ingest(folder, documents, encoder)
    assert content(folder) == documents
    assert report.n_resumed + report.n_added == 12
    assert encoder.n_encoded - 5 * (report.n_encoded > 0) == report.n_encoded
    assert load_manifest(folder).totals["n_encoded"] == report.n_chunks
    assert ingest(folder, documents, encoder).is_noop


@pytest.mark.parametrize("point", [*KILLS, "between adding and deleting"])
def test_an_update_that_died_leaves_the_old_index_in_use(tmp_path: Path, point: str) -> None:
    """Readers see the published documents until the rerun publishes the new ones."""
    folder, encoder = tmp_path / "ix", HashEncoder()
    old, new = texts(12), texts(12, version=1) | {"d3": texts(12)["d3"], "x": "added"}
    del new["d7"]
    ingest(folder, old, encoder)
    # the first call heals, the second is the first commit's
    kills = KILLS | {
        "between adding and deleting": lambda _: killed_at(ChunkStore, "delete_rows", 2)
    }
    with kills[point](encoder):
        ingest(folder, new, encoder, delete_missing=True)
    assert content(folder) == old
    report = ingest(folder, new, encoder, delete_missing=True)
    assert content(folder) == new
    assert report.n_unchanged == 1
    assert report.n_resumed + report.n_updated + report.n_added == 11
    assert verify_index(folder).problems == []


def test_ctrl_c_keeps_what_was_committed_and_says_how_to_go_on(
    tmp_path: Path, encoder: HashEncoder
) -> None:
    """KeyboardInterrupt passes through, with the command as a note, and the lock is free."""

    def interrupted() -> Iterator[Chunk]:
        yield from chunks_of(texts(6))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as stopped:
        build(interrupted(), encoder=encoder, folder=tmp_path / "ix", config=SMALL)
    assert "lbr-search ingest SOURCE... --index" in stopped.value.__notes__[0]
    report = ingest(tmp_path / "ix", texts(9), encoder)
    assert report.n_resumed >= 4
    assert content(tmp_path / "ix") == texts(9)


def test_damaged_derived_files_are_built_again(tmp_path: Path, encoder: HashEncoder) -> None:
    """A cut file below the generation costs no encoding: the store has everything."""
    folder = tmp_path / "ix"
    ingest(folder, texts(5), encoder)
    path = folder / "gen-000001" / "payload" / "payload.arrow"
    path.write_bytes(path.read_bytes()[:100])
    before = encoder.n_encoded
    report = ingest(folder, texts(5), encoder)
    assert not report.is_noop
    assert "gen-000001/payload/payload.arrow" in report.warnings[0]
    assert encoder.n_encoded == before
    assert content(folder) == texts(5)


def test_info_tells_rows_that_no_search_sees_yet(tmp_path: Path, encoder: HashEncoder) -> None:
    """After a cut-off ingest the summary counts what waits to be published."""
    folder = tmp_path / "ix"
    ingest(folder, {"a": "one"}, encoder)
    assert index_info(folder)["store"]["rows_not_published"] == 0
    with killed_at(build_module, "build_generation"):
        ingest(folder, {"a": "one", "b": "two", "c": "three"}, encoder)
    info = index_info(folder)
    assert info["store"]["rows_not_published"] == 2
    assert (info["n_documents"], info["n_chunks"], info["vectors"]["kind"]) == (1, 1, "flat")
    assert info["last_build"]["n_added"] == 1
    assert info["size_bytes"]["total"] >= sum(
        info["size_bytes"][part] for part in ("store", "vectors", "lexical", "payload")
    )


DOCUMENTS = st.dictionaries(
    st.sampled_from([f"d{i}" for i in range(6)]), st.integers(0, 2), min_size=1, max_size=6
)
STEPS = st.lists(
    st.tuples(DOCUMENTS, st.booleans(), st.sampled_from([None, "after the commit", "hashing"])),
    min_size=1,
    max_size=4,
)


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=STEPS)
def test_any_sequence_of_ingests_equals_a_dict(
    tmp_path_factory: pytest.TempPathFactory, steps: list
) -> None:
    """Adding, updating, deleting and dying in any order leaves what a dict would hold."""
    folder = tmp_path_factory.mktemp("any") / "ix"
    encoder = HashEncoder()
    model: dict[str, str] = {}
    for versions, is_deleting, death in steps:
        given_now = {name: f"text {name} of version {v} " * (v + 1) for name, v in versions.items()}
        if death is not None:
            point = (ChunkStore, "add", 1) if death == "after the commit" else None
            owner, name, call = point or (generation_module, "file_entry", 1)
            try:
                with killed_at(owner, name, call, after=True):
                    ingest(folder, given_now, encoder, delete_missing=is_deleting)
            except pytest.fail.Exception:
                pass  # nothing to do, so the point was not reached
            else:
                assert not model or content(folder) == model
        ingest(folder, given_now, encoder, delete_missing=is_deleting)
        model = given_now if is_deleting else model | given_now
        assert content(folder) == model
