"""Public suites: manifests are exact, downloads resume and are checked, nothing half is there."""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from lbr_search.cli.corpus_folders import list_known
from lbr_search.corpus.check import check
from lbr_search.corpus.download import DownloadProgress, Retries, download
from lbr_search.corpus.fetch import fetch
from lbr_search.corpus.manifest import (
    CorpusManifest,
    RemoteFile,
    find_manifest,
    load_manifest,
    shipped_manifests,
)
from lbr_search.corpus.suite import discover_suites, load_suite
from lbr_search.corpus.unpack import unpack_tar, unpack_zip
from lbr_search.errors import ConfigError, CorpusError

HOME = Path(__file__).parents[1]
NO_WAIT = Retries(attempts=3, wait_s=0.0)
ONE_TRY = Retries(attempts=1, wait_s=0.0)


@dataclass
class Site:
    """A web server of a few files that can be told to misbehave."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    cut_after: list[int] = field(default_factory=list)
    """Bytes after which the next responses break off, one entry a response."""
    statuses: list[int] = field(default_factory=list)
    """Status codes of the next responses, instead of an answer."""
    has_ranges: bool = True
    has_etag: bool = True
    requests: list[tuple[str, str]] = field(default_factory=list)
    """(path, Range header) of every request."""

    def file(self, path: str, **given: str) -> RemoteFile:
        return RemoteFile(url=f"{self.url}/{path}", **given)


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    state = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range", "")
            state.requests.append((self.path, asked))
            if state.statuses:
                self.send_error(state.statuses.pop(0))
                return
            if self.path[1:] not in state.files:
                self.send_error(404)
                return
            content = state.files[self.path[1:]]
            etag = f'"{hashlib.md5(content).hexdigest()}"'
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
            is_same = self.headers.get("If-Range") == etag
            if asked and state.has_ranges and is_same and start >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            if asked and state.has_ranges and is_same:
                self.send_response(206)
                self.send_header(
                    "Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}"
                )
            else:
                start = 0
                self.send_response(200)
            if state.has_etag:
                self.send_header("ETag", etag)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            body = content[start:]
            self.wfile.write(body[: state.cut_after.pop(0)] if state.cut_after else body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    yield state
    server.shutdown()
    server.server_close()
    thread.join()


CONTENT = bytes(range(256)) * 4000


# --- download -------------------------------------------------------------------------------


def test_a_broken_download_goes_on_where_it_stopped(site, tmp_path):
    """Two breaks and a resume: each byte is asked for once, and the whole is right."""
    site.files["a.bin"] = CONTENT
    site.cut_after = [300_000, 400_000]
    seen: list[DownloadProgress] = []
    target = tmp_path / "a.bin"
    digest = download(site.file("a.bin"), target, progress=seen.append, retries=NO_WAIT)
    assert target.read_bytes() == CONTENT
    assert digest == hashlib.sha256(CONTENT).hexdigest()
    assert [asked for _, asked in site.requests] == ["", "bytes=300000-", "bytes=700000-"]
    assert [p.n_bytes for p in seen] == sorted(p.n_bytes for p in seen)
    assert {p.total_bytes for p in seen} == {len(CONTENT)}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.bin"], "no part file stays"


def test_the_next_run_resumes_what_this_one_could_not(site, tmp_path):
    """When the tries are used up the error says how much is kept, and calling again goes on."""
    site.files["a.bin"] = CONTENT
    site.cut_after = [500_000]
    with pytest.raises(CorpusError, match=r"500,000 bytes are kept[\s\S]*it resumes"):
        download(site.file("a.bin"), tmp_path / "a.bin", retries=ONE_TRY)
    download(site.file("a.bin"), tmp_path / "a.bin", retries=ONE_TRY)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert site.requests[-1] == ("/a.bin", "bytes=500000-")


@pytest.mark.parametrize("change", ["content", "no ranges", "no validator"])
def test_parts_of_different_files_are_never_joined(site, tmp_path, change):
    """If the file changed meanwhile, or the server cannot resume, all of it is fetched anew."""
    site.has_etag = change != "no validator"
    site.files["a.bin"] = CONTENT
    site.cut_after = [500_000]
    with pytest.raises(CorpusError):
        download(site.file("a.bin"), tmp_path / "a.bin", retries=ONE_TRY)
    site.files["a.bin"] = now = CONTENT[::-1] if change == "content" else CONTENT
    site.has_ranges = change != "no ranges"
    download(site.file("a.bin"), tmp_path / "a.bin", retries=ONE_TRY)
    assert (tmp_path / "a.bin").read_bytes() == now


def test_a_part_that_is_already_whole_is_kept(site, tmp_path):
    """Stopped after the last byte and before the rename: nothing is sent again."""
    site.files["a.bin"] = CONTENT
    site.cut_after = [500_000]
    with pytest.raises(CorpusError):
        download(site.file("a.bin"), tmp_path / "a.bin", retries=ONE_TRY)
    (tmp_path / "a.bin.part").write_bytes(CONTENT)
    download(site.file("a.bin"), tmp_path / "a.bin", retries=ONE_TRY)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("status", [429, 500, 503])
def test_passing_refusals_are_tried_again(site, tmp_path, status):
    """A busy server is asked again; after the last try the error names its answer."""
    site.files["a.bin"] = CONTENT
    site.statuses = [status, status]
    download(site.file("a.bin"), tmp_path / "a.bin", retries=NO_WAIT)
    site.statuses = [status] * 3
    with pytest.raises(CorpusError, match=f"failed 3 times.*answers {status}"):
        download(site.file("a.bin"), tmp_path / "b.bin", retries=NO_WAIT)


def test_final_refusals_are_not_repeated(site, tmp_path):
    """A missing file is reported at once, with the page to look at."""
    with pytest.raises(CorpusError, match=r"answers 404[\s\S]*source page"):
        download(site.file("absent.bin"), tmp_path / "a.bin", retries=NO_WAIT)
    assert len(site.requests) == 1


def test_a_server_that_is_not_there_is_an_error(tmp_path):
    """No connection: the reason is given after the tries, nothing is left behind."""
    file = RemoteFile(url="http://127.0.0.1:1/a.bin")
    with pytest.raises(CorpusError, match=r"failed 3 times.*refused"):
        download(file, tmp_path / "a.bin", retries=NO_WAIT)


@pytest.mark.parametrize("kind", ["sha256", "md5"])
def test_a_wrong_digest_is_refused_and_removed(site, tmp_path, kind):
    """A file that is not the promised one is shown with both digests and is not kept."""
    site.files["a.bin"] = CONTENT
    expected = hashlib.new(kind, b"other").hexdigest()
    with pytest.raises(CorpusError) as caught:
        download(site.file("a.bin", **{kind: expected}), tmp_path / "a.bin", retries=ONE_TRY)
    assert expected in caught.value.message
    assert hashlib.new(kind, CONTENT).hexdigest() in caught.value.message
    assert list(tmp_path.iterdir()) == []


# --- unpacking ------------------------------------------------------------------------------


def zip_of(members: dict[str, bytes | str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def tar_of(members: dict[str, bytes], links: dict[str, str] | None = None) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            archive.addfile(info)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "name", ["../out.txt", "/out.txt", "a/../../out.txt", "..\\out.txt", "C:/x"]
)
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_archives_cannot_write_outside(tmp_path, name, kind):
    """A member that would leave the folder stops the unpacking before anything is written."""
    pack, unpack = {"zip": (zip_of, unpack_zip), "tar": (tar_of, unpack_tar)}[kind]
    archive = tmp_path / "a"
    archive.write_bytes(pack({"good.txt": b"x", name: b"x"}))
    with pytest.raises(CorpusError, match="not safe to unpack"):
        unpack(archive, tmp_path / "inner" / "folder")
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a"]


def test_links_in_archives_are_refused(tmp_path):
    """A link could make a later member land elsewhere."""
    (tmp_path / "a.tar").write_bytes(tar_of({"x": b"1"}, {"link": "/etc"}))
    with pytest.raises(CorpusError, match="is a link"):
        unpack_tar(tmp_path / "a.tar", tmp_path / "out")
    member = zipfile.ZipInfo("link")
    member.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(member, "/etc")
    with pytest.raises(CorpusError, match="is a link"):
        unpack_zip(tmp_path / "a.zip", tmp_path / "out")


@pytest.mark.parametrize("unpack", [unpack_zip, unpack_tar])
def test_damaged_archives_are_refused(tmp_path, unpack):
    """Neither half an archive nor something else passes for one."""
    pack = zip_of if unpack is unpack_zip else tar_of
    whole = pack({f"{n}.txt": bytes(str(n) * 1000, "ascii") for n in range(50)})
    for content in (whole[: len(whole) // 2], b"no archive"):
        (tmp_path / "a").write_bytes(content)
        with pytest.raises(CorpusError, match="is damaged"):
            unpack(tmp_path / "a", tmp_path / "out")


# --- fetch ----------------------------------------------------------------------------------

CORPUS = [{"_id": "d1", "title": "T", "text": "x"}, {"_id": "d2", "title": "", "text": "y"}]
QUERIES = [{"_id": "q1", "text": "first"}, {"_id": "q2", "text": "second"}]


def as_lines(rows: list[dict]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def beir_members(folder: str = "tiny/") -> dict[str, bytes]:
    return {
        f"{folder}corpus.jsonl": as_lines(CORPUS),
        f"{folder}queries.jsonl": as_lines(QUERIES),
        f"{folder}qrels/test.tsv": b"query-id\tcorpus-id\tscore\nq1\td1\t1\n",
        f"{folder}qrels/dev.tsv": b"query-id\tcorpus-id\tscore\nq2\td2\t2\n",
    }


def manifest_for(*files: RemoteFile, **changes: object) -> CorpusManifest:
    values = {
        "name": "tiny",
        "title": "Tiny",
        "domain": "medical",
        "task_id": "TinyTask",
        "source_page": "https://example.org/tiny",
        "licence": "CC0",
        "format": "beir-zip",
        "known": "made here",
        "documents": 2,
        "queries": {"test": 1, "dev": 1},
        "files": files,
    }
    return CorpusManifest(**(values | changes))


@pytest.mark.parametrize("kind", ["beir-zip", "beir-tar"])
@pytest.mark.parametrize("folder", ["tiny/", ""])
def test_an_archive_becomes_a_suite(site, tmp_path, kind, folder):
    """Download, unpack, check, publish: the result opens, measures and records its origin."""
    pack = zip_of if kind == "beir-zip" else tar_of
    site.files["tiny.pack"] = packed = pack(beir_members(folder))
    digest = hashlib.sha256(packed).hexdigest()
    manifest = manifest_for(site.file("tiny.pack", sha256=digest), format=kind)
    report = fetch(manifest, into=tmp_path, retries=NO_WAIT)
    assert (report.is_new, report.folder, report.notes) == (True, tmp_path / "tiny", ())
    assert report.checked.n_documents == 2 and report.checked.n_queries == {"dev": 1, "test": 1}
    suite = load_suite(tmp_path / "tiny", home=tmp_path)
    assert (suite.domain, suite.qrels) == ("medical", {"q1": {"d1": 1}})
    record = json.loads((tmp_path / "tiny" / "SOURCE.json").read_text())
    assert record["licence"] == "CC0" and record["task_id"] == "TinyTask"
    assert record["downloads"] == {f"{site.url}/tiny.pack": digest}
    assert [p.name for p in tmp_path.iterdir()] == ["tiny"], "no partial folder stays"


def test_fetching_again_downloads_nothing(site, tmp_path):
    """A whole folder is checked and kept; the server is not asked."""
    site.files["tiny.zip"] = zip_of(beir_members())
    manifest = manifest_for(site.file("tiny.zip"))
    first = fetch(manifest, into=tmp_path, retries=NO_WAIT)
    again = fetch(manifest, into=tmp_path, retries=NO_WAIT)
    assert first.is_new and not again.is_new
    assert again.digests == first.digests
    assert len(site.requests) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["tiny"]


def test_an_unknown_sha256_is_recorded_and_said(site, tmp_path):
    """Without a digest in the manifest the one seen is reported, and checked ever after."""
    site.files["tiny.zip"] = packed = zip_of(beir_members())
    digest = hashlib.sha256(packed).hexdigest()
    report = fetch(manifest_for(site.file("tiny.zip")), into=tmp_path, retries=NO_WAIT)
    assert report.notes == (f"archive.zip: sha256 not in the manifest: {digest}",)
    assert check(report.folder).is_whole
    with (report.folder / "queries.jsonl").open("a") as stream:
        stream.write("\n")
    assert check(report.folder).problems == [
        "queries.jsonl has changed since it was fetched (sha256)"
    ]


def test_an_interrupted_fetch_is_resumed_by_fetching_again(site, tmp_path):
    """Nothing is published before all is there; the next call continues the same file."""
    site.files["tiny.zip"] = packed = zip_of(beir_members())
    manifest = manifest_for(site.file("tiny.zip"))
    site.cut_after = [len(packed) // 2]
    with pytest.raises(CorpusError, match="it resumes"):
        fetch(manifest, into=tmp_path, retries=ONE_TRY)
    assert not (tmp_path / "tiny").exists()
    assert discover_suites(tmp_path) == []
    assert fetch(manifest, into=tmp_path, retries=ONE_TRY).is_new
    assert site.requests[-1][1] == f"bytes={len(packed) // 2}-"


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"documents": 3}, "documents: 2 here, 3 expected"),
        ({"queries": {"test": 5}}, "queries of test: 1 here, 5 expected"),
        ({"queries": {"train": 5}}, "queries of train: 0 here, 5 expected"),
    ],
)
def test_counts_that_differ_from_the_manifest_are_refused(site, tmp_path, changes, problem):
    """A suite of another size is another suite: it is not published under this name."""
    site.files["tiny.zip"] = zip_of(beir_members())
    with pytest.raises(CorpusError, match=problem):
        fetch(manifest_for(site.file("tiny.zip"), **changes), into=tmp_path, retries=NO_WAIT)
    assert not (tmp_path / "tiny").exists()


def test_unsafe_archives_publish_nothing(site, tmp_path):
    """A zip that climbs out of its folder writes no file anywhere."""
    site.files["tiny.zip"] = zip_of(beir_members() | {"../../../evil.txt": b"x"})
    with pytest.raises(CorpusError, match="not safe"):
        fetch(manifest_for(site.file("tiny.zip")), into=tmp_path / "corpora", retries=NO_WAIT)
    assert not list(tmp_path.rglob("evil.txt")) and not (tmp_path / "corpora" / "tiny").exists()


def test_a_folder_of_that_name_is_never_overwritten(site, tmp_path):
    """What stands there and is not the suite stays; the error says how to remove it."""
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "corpus.jsonl").write_bytes(as_lines(CORPUS[:1]))
    with pytest.raises(CorpusError, match=r"documents: 1 here, 2 expected[\s\S]*rm -r"):
        fetch(manifest_for(site.file("tiny.zip")), into=tmp_path, retries=NO_WAIT)
    assert (tmp_path / "tiny" / "corpus.jsonl").read_bytes() == as_lines(CORPUS[:1])


def test_two_fetches_at_once_are_refused(site, tmp_path):
    """Two processes writing one part file would mix it."""
    from filelock import FileLock

    partial = tmp_path / ".tiny.partial"
    partial.mkdir()
    with (
        FileLock(partial / "lock"),
        pytest.raises(CorpusError, match="being fetched by another process"),
    ):
        fetch(manifest_for(site.file("tiny.zip")), into=tmp_path, retries=NO_WAIT)


def test_a_folder_that_cannot_be_written_is_an_error(site, tmp_path):
    """A file in the way, a read-only folder or a full disk: one clear error."""
    (tmp_path / "file").write_text("")
    with pytest.raises(CorpusError, match="cannot write"):
        fetch(manifest_for(site.file("tiny.zip")), into=tmp_path / "file", retries=NO_WAIT)


def parquet_of(columns: dict[str, list]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
@pytest.mark.parametrize(
    "names", [("_id", "query-id", "corpus-id"), ("id", "query_id", "corpus_id")]
)
def test_tables_of_the_hub_become_beir(site, tmp_path, kind, names):
    """Documents, queries and judgements in three tables are rewritten; float scores are whole."""
    id_name, query_name, doc_name = names
    tables = {
        "corpus": {
            id_name: ["d1", "d2"],
            "title": ["T", ""],
            "text": ["x", "y"],
            "lang": ["p"] * 2,
        },
        "queries": {id_name: ["q1", "q2"], "text": ["first", "second"]},
        "test": {query_name: ["q1", "q2"], doc_name: ["d1", "d2"], "score": [1.0, 0.0]},
    }
    for name, table in tables.items():
        rows = [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]
        packed = parquet_of(table) if kind == "parquet" else as_lines(rows)
        site.files[f"{name}.{kind}"] = packed
    manifest = manifest_for(
        site.file(f"corpus.{kind}", role="corpus"),
        site.file(f"queries.{kind}", role="queries"),
        site.file(f"test.{kind}", role="qrels", split="test"),
        format=kind,
        queries={"test": 2},
    )
    folder = fetch(manifest, into=tmp_path, retries=NO_WAIT).folder
    suite = load_suite(folder, home=tmp_path)
    assert suite.qrels == {"q1": {"d1": 1}, "q2": {"d2": 0}}
    assert [q.text for q in suite.queries] == ["first", "second"]
    documents = list(suite.documents())
    assert [(d.doc_id, d.title, d.text) for d in documents] == [("d1", "T", "x"), ("d2", "", "y")]
    assert documents[0].metadata == {"lang": "p"}


# --- check ----------------------------------------------------------------------------------


def write_members(folder: Path, members: dict[str, bytes]) -> Path:
    for name, content in members.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("corpus.jsonl", as_lines([*CORPUS, CORPUS[0]]), "holds the id 'd1' twice"),
        ("queries.jsonl", as_lines([QUERIES[0], QUERIES[0]]), "repeats the query id"),
        ("qrels/test.tsv", b"q1\tdX\t1\nq1\tdY\t1\n", "2 judged documents are not in the corpus"),
        ("qrels/test.tsv", b"q1\td1\t1\nq9\td1\t1\n", "1 of 2 queries are unknown"),
        ("qrels/test.tsv", b"q1\td1\tgood\n", "whole score"),
    ],
)
def test_check_names_what_is_wrong(tmp_path, name, content, problem):
    """Repeated ids, unknown ids and unreadable lines each make a corpus not whole."""
    folder = write_members(tmp_path / "tiny", beir_members("") | {name: content})
    report = check(folder)
    assert not report.is_whole
    assert any(problem in sentence for sentence in report.problems), report.problems


def test_check_of_a_whole_corpus(tmp_path):
    """A corpus as it should be has counts and no problem; one without qrels is noted as such."""
    folder = write_members(tmp_path / "tiny", beir_members(""))
    report = check(folder, manifest_for(RemoteFile("http://x/tiny.zip")))
    assert report.is_whole and report.notes == []
    assert (report.n_documents, report.n_queries) == (2, {"dev": 1, "test": 1})
    for file in (folder / "qrels").iterdir():
        file.unlink()
    assert check(folder).notes == ["no qrels: a corpus to search, not a suite to measure"]


def test_documents_without_text_still_count(tmp_path):
    """Publishers count rows that hold no text; they are noted, not taken for a wrong count."""
    corpus = as_lines([CORPUS[0], {"_id": "d2", "title": "", "text": ""}])
    members = beir_members("") | {"corpus.jsonl": corpus, "qrels/dev.tsv": b"q2\td1\t1\n"}
    report = check(
        write_members(tmp_path / "tiny", members), manifest_for(RemoteFile("http://x/a"))
    )
    assert report.is_whole and report.notes == ["1 documents rejected: empty text"]


# --- manifests ------------------------------------------------------------------------------


def test_shipped_manifests_are_complete():
    """Each shipped manifest loads, is called as its file, and says what is known and unknown."""
    manifests = {name: load_manifest(path) for name, path in shipped_manifests(HOME).items()}
    assert {"scifact", "nfcorpus", "trec-covid", "cosqa", "chemrxiv"} <= set(manifests)
    for name, manifest in manifests.items():
        assert manifest.name == name
        assert manifest.domain in ("medical", "chemistry", "code")
        assert manifest.licence and manifest.known and manifest.documents > 0
        assert manifest.queries["test"] > 0
        assert all(file.url.startswith("https://") for file in manifest.files)
        if not all(file.sha256 for file in manifest.files):
            assert "sha256" in manifest.unknown, f"{name}: say that a digest is not known"
    assert len({manifest.task_id for manifest in manifests.values()}) == len(manifests)


MANIFEST = """
name = "tiny"
title = "Tiny"
domain = "medical"
task_id = "Tiny"
source_page = "https://example.org"
licence = "CC0"
format = "beir-zip"
known = "all"
[[files]]
url = "https://example.org/tiny.zip"
"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("licence =", "license =", "lacks licence"),
        ("known =", "knwon = 1\nknown =", "use known"),
        ('"beir-zip"', '"rar"', "not one of beir-zip"),
        ('"beir-zip"', '"parquet"', "needs ['corpus', 'queries', 'qrels']"),
        ("https://example.org/tiny.zip", "ftp://example.org/tiny.zip", "neither http nor https"),
        ('tiny.zip"', 'tiny.zip"\nsha256 = "abc"', "not 64 small hex digits"),
        ('tiny.zip"', 'tiny.zip"\nsplit = "test"', "qrels have one"),
        ('name = "tiny"', 'name = "../tiny"', "no folder name"),
        ('url = "https://example.org/tiny.zip"', "role = 'archive'", "lacks url"),
        ("[[files]]", "[files]", "not a list of tables"),
    ],
)
def test_wrong_manifests_are_refused(tmp_path, old, new, message):
    """Every way to write a manifest wrongly is named, before anything is downloaded."""
    file = tmp_path / "tiny.toml"
    file.write_text(MANIFEST)
    assert load_manifest(file).files == (RemoteFile("https://example.org/tiny.zip"),)
    assert old in MANIFEST
    file.write_text(MANIFEST.replace(old, new))
    with pytest.raises(ConfigError) as caught:
        load_manifest(file)
    assert message in str(caught.value)


def test_the_list_says_which_downloads_are_not_verified(tmp_path):
    """With the sha256 of every file, without, and a suite whose files are not known."""
    listed = (HOME / "corpora/mbpp-mteb.toml").read_text()
    whole = (HOME / "corpora/scifact.toml").read_text()
    (tmp_path / "corpora").mkdir()
    bare = "\n".join(line for line in whole.splitlines() if not line.startswith("sha256"))
    for name, text in (("a", whole), ("b", bare), ("c", listed)):
        text = re.sub(r'^name = ".*"', f'name = "{name}"', text, flags=re.MULTILINE)
        (tmp_path / "corpora" / f"{name}.toml").write_text(text)
    states = {known.name: known.state for known in list_known(tmp_path)}
    assert states == {
        "a": "can be fetched",
        "b": "can be fetched, unverified (no sha256)",
        "c": "can be added",
    }


def test_manifests_are_found_by_name_or_path(home, tmp_path):
    """A name is looked up under corpora/, a path is taken as it is, a typo gets the nearest."""
    (home / "corpora" / "tiny.toml").write_text(MANIFEST)
    assert find_manifest("tiny", home).name == "tiny"
    assert find_manifest(str(home / "corpora" / "tiny.toml"), tmp_path).name == "tiny"
    with pytest.raises(CorpusError, match="use tiny"):
        find_manifest("tny", home)
    with pytest.raises(CorpusError, match="--home"):
        find_manifest("tiny", tmp_path)
