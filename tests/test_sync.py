"""An index is brought in step with its sources by what changed, and by nothing else."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from pathlib import Path

import pytest

from lbr_search import source_record
from lbr_search.config import ChunkConfig, IndexConfig
from lbr_search.corpus import inventory
from lbr_search.errors import CorpusError, IndexFormatError
from lbr_search.index.lock import single_writer
from lbr_search.index.opened import open_index
from lbr_search.index.verify import verify_index
from lbr_search.ingest import IngestOptions, build_index
from lbr_search.source_record import load_record
from lbr_search.upkeep.sync import SyncReport, sync

CONFIG = IndexConfig(backend="exact")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small repository with text, code and a table."""
    files = {
        "README.md": "# Project\n\nSorts things.\n\n## Use\n\nRun it.\n",
        "src/a.go": "package a\n\n// F adds.\nfunc F() {}\n\nfunc G() {}\n",
        "src/b.js": "function b() { return 1 }\n",
        "rows.jsonl": '{"_id": "1", "text": "one"}\n{"_id": "2", "text": "two"}\n',
    }
    for name, text in files.items():
        (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / name).write_text(text)
    return tmp_path / "tree"


@pytest.fixture
def index(tree: Path, tmp_path: Path, encoder) -> Path:
    build_index([tree], tmp_path / "index", encoder=encoder, config=CONFIG)
    encoder.n_encoded = 0
    return tmp_path / "index"


def ids(index: Path) -> list[str]:
    with open_index(index, encoder=None) as opened:
        return sorted(set(opened.doc_ids(opened._payload.row_ids[:])))


def assert_like_a_new_ingest(index: Path, tree: Path, tmp_path: Path, encoder) -> None:
    """The index holds what an ingest of the tree, as it is now, would hold."""
    build_index([tree], tmp_path / "fresh", encoder=encoder, config=CONFIG)
    assert contents(index) == contents(tmp_path / "fresh")
    shutil.rmtree(tmp_path / "fresh")


def contents(index: Path) -> list[tuple[object, ...]]:
    with open_index(index, encoder=None) as opened:
        chunks = opened.fetch(opened._payload.row_ids[:])
    return sorted((c.doc_id, c.chunk_no, c.title, c.text, str(c.metadata)) for c in chunks)


def test_a_second_run_reads_and_encodes_nothing(index, encoder, monkeypatch):
    """Without changes no file is opened, once its times are settled, and nothing is encoded."""
    monkeypatch.setattr(inventory, "RACE_NS", -1)
    sync(index, encoder=encoder)
    source, files = _first(index)
    monkeypatch.setattr(Path, "open", lambda *_, **__: pytest.fail("a file was opened"))
    before = inventory.take_inventory(source, files)
    monkeypatch.undo()
    assert inventory.compare(load_record(index).sources[0].files, before) == inventory.Changes()
    report = sync(index, encoder=encoder)
    assert (report.has_changes, report.build, encoder.n_encoded) == (False, None, 0)


def _first(index: Path):
    one = load_record(index).sources[0]
    return one.source, one.files


def test_changed_new_and_deleted_files(index, tree, tmp_path, encoder):
    """Only documents with other content are encoded; what is gone is removed."""
    (tree / "src/a.go").write_text("package a\n\n// F adds.\nfunc F() {}\n\nfunc H() {}\n")
    (tree / "new.md").write_text("# New\n\nText.\n")
    (tree / "src/b.js").unlink()
    (tree / "rows.jsonl").write_text('{"_id": "2", "text": "two"}\n{"_id": "3", "text": "3"}\n')
    report = sync(index, encoder=encoder)
    (plan,) = report.plans
    assert plan.changes.added == ("new.md",)
    assert plan.changes.changed == ("rows.jsonl", "src/a.go")
    assert plan.changes.deleted == ("src/b.js",)
    assert report.build is not None
    assert (report.build.n_added, report.build.n_updated, report.build.n_deleted) == (3, 0, 3)
    assert encoder.n_encoded == 3 + 5  # and the golden texts, to see that the encoder is the same
    assert "src/a.go::H" in ids(index)
    assert_like_a_new_ingest(index, tree, tmp_path, encoder)
    assert not sync(index, encoder=encoder).has_changes


def test_a_dry_run_changes_nothing(index, tree, encoder):
    """The plan is that of the run, and index and record stay as they are."""
    (tree / "new.md").write_text("# New\n\nText.\n")
    before = {p: p.read_bytes() for p in index.rglob("*") if p.is_file()}
    report = sync(index, encoder=encoder, dry_run=True)
    assert report.plans[0].changes.added == ("new.md",)
    assert report.build is None
    assert {p: p.read_bytes() for p in index.rglob("*") if p.is_file()} == before


def test_a_touched_file_is_hashed_and_left_alone(index, tree, encoder):
    """Other times and the same bytes are no change."""
    os.utime(tree / "README.md", (1, 1))
    report = sync(index, encoder=encoder)
    assert not report.has_changes
    assert encoder.n_encoded == 0


def test_a_moved_file_is_seen_as_such(index, tree, tmp_path, encoder):
    """The same bytes under another name: told, and the ids follow the name."""
    (tree / "docs").mkdir()
    (tree / "README.md").rename(tree / "docs/intro.md")
    report = sync(index, encoder=encoder)
    assert report.plans[0].changes.moved == (("README.md", "docs/intro.md"),)
    assert "docs/intro.md" in ids(index)
    assert_like_a_new_ingest(index, tree, tmp_path, encoder)


def test_deletions_alone_need_no_reading(index, tree, encoder):
    """An index can lose documents without any new one."""
    (tree / "src/b.js").unlink()
    report = sync(index, encoder=encoder)
    assert report.build is not None
    assert (report.build.n_deleted, encoder.n_encoded) == (1, 0)
    assert "src/b.js::b" not in ids(index)


def test_a_source_that_is_gone_deletes_nothing(index, tree, encoder):
    """An unmounted disk must not empty an index; giving the source up is another command."""
    tree.rename(tree.with_name("elsewhere"))
    with pytest.raises(CorpusError, match="is gone; nothing was changed"):
        sync(index, encoder=encoder)
    with pytest.raises(CorpusError, match="nothing would be left"):
        sync(index, encoder=encoder, drop=tree)
    with pytest.raises(IndexFormatError, match="is no source of"):
        sync(index, encoder=encoder, drop=Path("other"))


def test_one_of_two_sources_is_given_up(index, tree, tmp_path, encoder):
    """Its documents go, those of the other stay; and a source added later is on record too."""
    (tmp_path / "more.jsonl").write_text('{"_id": "m", "text": "more"}\n')
    build_index([tmp_path / "more.jsonl"], index, encoder=encoder, config=CONFIG)
    assert len(load_record(index).sources) == 2
    report = sync(index, encoder=encoder, drop=tree)
    assert report.plans[0].is_dropped
    assert ids(index) == ["m"]
    assert [one.source.path for one in load_record(index).sources] == [tmp_path / "more.jsonl"]


def test_a_changed_file_that_cannot_be_read_keeps_its_documents(index, tree, encoder):
    """A half-written file is no reason to lose what was known; it is counted."""
    (tree / "rows.jsonl").write_text('{"_id": "1", "text": "new"}\n{"_id": "2", "te')
    report = sync(index, encoder=encoder)
    assert report.n_kept == 1
    assert report.rejected == {"broken JSON": 1}
    assert {"rows.jsonl::1", "rows.jsonl::2"} <= set(ids(index))
    (tree / "rows.jsonl").write_text('{"_id": "1", "text": "new"}\n')
    assert sync(index, encoder=encoder).n_kept == 0
    assert "rows.jsonl::2" not in ids(index)


def test_a_new_file_that_cannot_be_read_is_no_work_each_time(index, tree, encoder):
    """It is put on record once, and looked at again when its bytes change."""
    (tree / "bad.txt").write_bytes(b"\x89PNG\r\n\x1a\n\x00\x01")
    report = sync(index, encoder=encoder)
    assert (report.build, report.rejected) == (None, {"not UTF-8": 1})
    assert not sync(index, encoder=encoder).has_changes


def test_single_files_and_linked_files_are_read_whole(tmp_path, encoder):
    """A table that changed is read again; unchanged rows are not encoded, missing ones go."""
    table = tmp_path / "rows.csv"
    table.write_text("id,text\n1,one\n2,two\n")
    index = tmp_path / "index"
    build_index([table], index, encoder=encoder, config=CONFIG)
    encoder.n_encoded = 0
    table.write_text("id,text\n1,one\n3,three\n")
    report = sync(index, encoder=encoder)
    assert report.build is not None
    assert (report.build.n_added, report.build.n_deleted, report.build.n_unchanged) == (1, 1, 1)
    assert ids(index) == ["1", "3"]


def test_an_ingest_with_delete_forgets_other_sources(index, tmp_path, encoder):
    """What the index no longer mirrors is no longer on record."""
    (tmp_path / "more.jsonl").write_text('{"_id": "m", "text": "more"}\n')
    options = IngestOptions(delete_missing=True)
    build_index([tmp_path / "more.jsonl"], index, encoder=encoder, config=CONFIG, options=options)
    assert [one.source.name for one in load_record(index).sources] == ["more"]


def test_a_race_between_write_and_hash_is_not_lost(tree, monkeypatch):
    """A file written just before it was hashed is hashed again, also under the same times."""
    from lbr_search.corpus.sources import resolve_source

    source = resolve_source(str(tree), tree)
    first = inventory.take_inventory(source, {})
    assert not first["README.md"].is_settled
    stat = (tree / "README.md").stat()
    text = (tree / "README.md").read_text()
    (tree / "README.md").write_text(text.replace("Sorts", "Mixes"))
    os.utime(tree / "README.md", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    second = inventory.take_inventory(source, first)
    assert inventory.compare(first, second).changed == ("README.md",)


def test_an_index_without_record_says_what_to_do(index, encoder):
    """One that an earlier version made gets its record by an ingest."""
    (index / "sources.json").unlink()
    with pytest.raises(IndexFormatError, match="no record of its sources"):
        sync(index, encoder=encoder)


def test_a_damaged_record_says_so(index, encoder):
    """Half a file is no record."""
    (index / "sources.json").write_text(json.dumps({"format": 2, "sources": [{"name": 1}]}))
    with pytest.raises(IndexFormatError, match="is damaged"):
        sync(index, encoder=encoder)
    (index / "sources.json").write_text(json.dumps({"format": 1, "sources": []}))
    with pytest.raises(IndexFormatError, match="this version reads format 2") as caught:
        sync(index, encoder=encoder)
    assert caught.value.fix.startswith("rm ")


def stop_before_publishing(index, encoder, monkeypatch):
    """A sync that has committed everything and published nothing."""
    from lbr_search.index import build as module

    def stopped(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(module, "build_generation", stopped)
        with pytest.raises(KeyboardInterrupt):
            sync(index, encoder=encoder)


def test_what_a_stopped_run_wrote_does_not_outlive_its_file(
    index, tree, tmp_path, encoder, monkeypatch
):
    """Files that a stopped sync read are put back as they were: so are their documents."""
    before = {name: (tree / name).read_text() for name in ("README.md", "src/b.js")}
    (tree / "README.md").write_text("# Project\n\nSomething else.\n")
    (tree / "src/b.js").unlink()
    (tree / "short-lived.md").write_text("# Never\n\nMeant to stay.\n")
    stop_before_publishing(index, encoder, monkeypatch)
    for name, text in before.items():
        (tree / name).write_text(text)
    (tree / "short-lived.md").unlink()
    (tree / "other.md").write_text("# Other\n\nA change elsewhere.\n")
    report = sync(index, encoder=encoder)
    assert report.plans[0].changes.changed == ("README.md", "src/b.js")
    assert_like_a_new_ingest(index, tree, tmp_path, encoder)
    assert not sync(index, encoder=encoder).has_changes


def test_what_a_stopped_run_encoded_is_not_encoded_again(index, tree, encoder, monkeypatch):
    """The same sync run again takes it from the table."""
    (tree / "new.md").write_text("# New\n\nText.\n")
    stop_before_publishing(index, encoder, monkeypatch)
    encoder.n_encoded = 0
    report = sync(index, encoder=encoder)
    assert (report.build.n_resumed, encoder.n_encoded) == (1, 0)


@pytest.mark.parametrize("first", [True, False])
def test_two_sources_cannot_hold_the_same_document(index, tmp_path, encoder, first):
    """Also where only one of them changed, and whichever was ingested first."""
    for name in ("a", "b"):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"_id": name, "text": name}) + "\n")
        build_index([tmp_path / f"{name}.jsonl"], index, encoder=encoder, config=CONFIG)
    changed, other = ("a", "b") if first else ("b", "a")
    (tmp_path / f"{changed}.jsonl").write_text(json.dumps({"_id": other, "text": "mine"}) + "\n")
    with pytest.raises(CorpusError, match=f"two files hold a document '{other}'"):
        sync(index, encoder=encoder)


def test_each_source_is_cut_as_it_was_ingested(index, tree, tmp_path, encoder):
    """A second source with other chunks does not change how the first is cut."""
    words = " ".join(f"word{n}" for n in range(90))
    (tmp_path / "more.jsonl").write_text(json.dumps({"_id": "m", "text": words}) + "\n")
    few = ChunkConfig(chunk_tokens=16, overlap=0)
    build_index([tmp_path / "more.jsonl"], index, encoder=encoder, config=CONFIG, chunk=few)
    (tree / "README.md").write_text(f"# Project\n\n{words}\n")
    (tmp_path / "more.jsonl").write_text(json.dumps({"_id": "m", "text": f"{words}."}) + "\n")
    sync(index, encoder=encoder)
    numbers = [doc_id for doc_id, *_ in contents(index)]
    assert (numbers.count("README.md"), numbers.count("m") >= 6) == (1, True)


def test_the_record_changes_in_one_step(index, tree, tmp_path, encoder, monkeypatch):
    """Killed between its two files, a record is the one before, and no source has another's."""
    (tmp_path / "more.jsonl").write_text('{"_id": "m", "text": "more"}\n')
    build_index([tmp_path / "more.jsonl"], index, encoder=encoder, config=CONFIG)
    before = load_record(index)
    with monkeypatch.context() as patched:
        patched.setattr(source_record, "write_json", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            sync(index, encoder=encoder, drop=tree)
    assert load_record(index) == before
    sync(index, encoder=encoder, drop=tree)
    assert ids(index) == ["m"]
    assert verify_index(index).notes == []


def test_a_second_writer_leaves_no_trace(index, tree, encoder):
    """It is refused before it reads a source, and what the first one rejected stays on record."""
    (index / "rejected.jsonl").write_text("of the first writer\n")
    (tree / "new.md").write_text("# New\n\nText.\n")
    refused = []

    def write() -> None:
        for run in (lambda: sync(index), lambda: build_index([tree], index, encoder=encoder)):
            with pytest.raises(IndexFormatError, match="another process is writing"):
                run()
            refused.append(run)

    with single_writer(index):
        other = threading.Thread(target=write)
        other.start()
        other.join()
    assert len(refused) == 2
    assert (index / "rejected.jsonl").read_text() == "of the first writer\n"


@pytest.mark.slow
def test_many_files_without_changes_take_little_time(tmp_path, encoder):
    """The second run over 20,000 files is a walk and a look at the times of each."""
    for number in range(20_000):
        if number % 500 == 0:
            folder = tmp_path / "tree" / f"{number}"
            folder.mkdir(parents=True)
        (folder / f"{number}.txt").write_text(f"text number {number}")
    index = tmp_path / "index"
    build_index([tmp_path / "tree"], index, encoder=encoder, config=CONFIG)
    time.sleep(2.1)
    sync(index, encoder=encoder)  # hashes once more what was written just before the ingest
    report: SyncReport = sync(index, encoder=encoder)
    assert not report.has_changes
    assert report.seconds < 5
