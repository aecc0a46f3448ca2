"""What is made to harm costs a line in rejected.jsonl: no crash, no hang, nothing outside."""

from __future__ import annotations

import gzip
import io
import os
import sys
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from lbr_search.corpus import compressed, guarded
from lbr_search.corpus.formats import archive
from lbr_search.corpus.rejects import Rejects
from lbr_search.errors import MissingExtraError
from lbr_search.ingest import build_index
from lbr_search.protocols import ReadOptions
from lbr_search.registry import READERS
from lbr_search.types import Document
from lbr_search.upkeep.sync import sync
from tests import written
from tests.conftest import HashEncoder


def read(name: str, path: Path) -> tuple[list[Document], Rejects]:
    rejects = Rejects(None)
    return list(READERS.resolve(name)(path, options=ReadOptions(), rejects=rejects)), rejects


LAUGHS = """<?xml version="1.0"?><!DOCTYPE article [<!ENTITY a "ha">
<!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">]>
<article><front><article-meta><title-group><article-title>&c;</article-title></title-group>
</article-meta></front></article>"""
FILE_READER = """<?xml version="1.0"?><!DOCTYPE article [<!ENTITY alpha SYSTEM "{file}">]>
<article><body><p>&alpha;</p></body></article>"""


@pytest.mark.parametrize("reader", ["jats", "pubmed"])
def test_entities_of_a_document_are_never_expanded(tmp_path, reader):
    """Neither a bomb nor a file of the machine comes in through an entity, whatever its name."""
    secret = tmp_path / "secret.txt"
    secret.write_text("TOP SECRET")
    for number, text in enumerate((LAUGHS, FILE_READER.format(file=secret.as_uri()))):
        if reader == "pubmed":
            text = text.replace("article-title", "ArticleTitle").replace(
                "<article>", "<PubmedArticle><PMID>1</PMID>"
            )
            text = text.replace("</article>", "</PubmedArticle>").replace(
                "front>", "MedlineCitation>"
            )
            text = (
                text.replace("article-meta>", "Article>")
                .replace("<title-group>", "")
                .replace("</title-group>", "")
            )
        (tmp_path / f"{number}.xml").write_text(text)
        documents, rejects = read(reader, tmp_path / f"{number}.xml")
        assert "SECRET" not in repr(documents)
        assert "haha" not in repr(documents)
        assert rejects.n_rejected == 1


def test_nested_and_cut_xml_is_rejected(tmp_path):
    """Depth is limited by the parser; what ends early is no article."""
    deep = "<article><body>" + "<sec>" * 5_000 + "</sec>" * 5_000 + "</body></article>"
    (tmp_path / "deep.nxml").write_text(deep)
    (tmp_path / "cut.nxml").write_text(written.JATS[: len(written.JATS) // 2])
    documents, rejects = read("jats", tmp_path)
    assert (documents, rejects.by_reason) == ([], {"broken XML": 2})


def test_zip_bombs_are_refused(tmp_path):
    """By what the directory promises, and by what comes out where it lies."""
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("a.txt", b"0" * 50_000_000)
    assert read("archive", tmp_path / "bomb.zip")[1].by_reason == {"archive bomb": 1}
    written.write_tar(tmp_path / "bomb.tgz", {"a.txt": b"0" * 50_000_000})
    assert read("archive", tmp_path / "bomb.tgz")[1].by_reason == {"archive bomb": 1}
    with zipfile.ZipFile(tmp_path / "bomb.docx", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("word/document.xml", b"0" * 50_000_000)
    assert read("docx", tmp_path / "bomb.docx")[1].by_reason == {"archive bomb": 1}


def test_archives_have_limits_of_size_and_number(tmp_path, monkeypatch):
    """An honest archive that is too much is refused too."""
    monkeypatch.setattr(archive, "MAX_MEMBERS", 3)
    written.write_tar(tmp_path / "many.tar", {f"{n}.txt": b"x" for n in range(9)}, mode="w")
    assert read("archive", tmp_path / "many.tar")[1].by_reason == {"archive too large": 1}
    monkeypatch.setattr(archive, "MAX_UNPACKED_BYTES", 1000)
    written.write_tar(tmp_path / "big.tar", {"a.txt": os.urandom(2000)}, mode="w")
    assert read("archive", tmp_path / "big.tar")[1].by_reason == {"archive too large": 1}


def test_members_cannot_leave_their_folder(tmp_path):
    """Parents, absolute paths, drives and links are refused one by one; the rest is read."""
    import tarfile

    with tarfile.open(tmp_path / "a.tar", "w") as packed:
        for name in ("../up.txt", "/tmp/lbr-abs.txt", "C:\\x.txt", "a/../../b.txt", "ok.txt"):
            member = tarfile.TarInfo(name)
            member.size = 2
            packed.addfile(member, io.BytesIO(b"hi"))
        link = tarfile.TarInfo("link.txt")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        packed.addfile(link)
    documents, rejects = read("archive", tmp_path / "a.tar")
    assert [d.doc_id for d in documents] == ["a.tar::ok.txt"]
    assert rejects.by_reason == {"unsafe member": 5}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.tar"]
    assert not Path("/tmp/lbr-abs.txt").exists()


def test_members_without_a_name_are_unsafe(tmp_path):
    """Found by fuzzing: the standard library ends in an IndexError."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as packed:
        packed.writestr("a.txt", "text")
        nameless = zipfile.ZipInfo("b.txt")
        nameless.filename = ""
        with packed.open(nameless, "w") as stream:
            stream.write(b"text")
    (tmp_path / "a.zip").write_bytes(data.getvalue())
    documents, rejects = read("archive", tmp_path / "a.zip")
    assert [d.doc_id for d in documents] == ["a.zip::a.txt"]
    assert rejects.by_reason == {"unsafe member": 1}


def test_archives_in_archives_end(tmp_path):
    """A quine of a zip would go on forever: the second level is not unpacked."""
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as packed:
        packed.writestr("a.txt", "inside")
    with zipfile.ZipFile(tmp_path / "outer.zip", "w") as packed:
        packed.writestr("inner.zip", inner.getvalue())
        packed.writestr("b.txt", "outside")
    documents, rejects = read("archive", tmp_path / "outer.zip")
    assert [d.text for d in documents] == ["outside"]
    assert rejects.by_reason == {"archive in an archive": 1}


def test_encrypted_and_cut_archives_are_rejected(tmp_path):
    """They are damaged to us, and say so."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        packed.writestr("a.txt", "text" * 100)
    whole = bytearray((tmp_path / "a.zip").read_bytes())
    (tmp_path / "cut.zip").write_bytes(whole[:-30])
    for at in (whole.find(b"PK\x03\x04") + 6, whole.find(b"PK\x01\x02") + 8):
        whole[at] |= 1  # the flag of encryption
    (tmp_path / "locked.zip").write_bytes(whole)
    assert read("archive", tmp_path / "cut.zip")[1].by_reason == {"damaged": 1}
    assert read("archive", tmp_path / "locked.zip")[1].by_reason == {"encrypted": 1}


def test_json_nested_deep_is_rejected(tmp_path):
    """Python's parser gives up; the file is put on record."""
    for name in ("a.json", "a.ipynb"):
        (tmp_path / name).write_text("[" * 200_000)
    assert read("json", tmp_path / "a.json")[1].by_reason == {"broken JSON": 1}
    assert read("notebook", tmp_path / "a.ipynb")[1].by_reason == {"broken JSON": 1}


def test_nul_bytes_and_one_long_line(tmp_path):
    """Binary data under a name of text is rejected; a line of 20 MB is a text like any other."""
    (tmp_path / "a.txt").write_bytes(b"abc\0def")
    (tmp_path / "b.txt").write_text("word " * 4_000_000)
    documents, rejects = read("text", tmp_path)
    assert [d.doc_id for d in documents] == ["b.txt"]
    assert rejects.by_reason == {"binary": 1}


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.sdf", "a.obo", "a.nbib", "a.smi", "a.cif"])
def test_a_line_without_end_is_refused_before_it_fills_the_memory(tmp_path, monkeypatch, name):
    """Also one that unpacks from a few bytes; what stands in other files is read."""
    monkeypatch.setattr(compressed, "MAX_LINE_BYTES", 100_000)
    (tmp_path / f"{name}.gz").write_bytes(gzip.compress(b"x" * 10_000_000))
    (tmp_path / "b.txt").write_text("text")
    tracemalloc.start()
    documents, rejects = read("files", tmp_path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [d.doc_id for d in documents] == ["b.txt"]
    assert rejects.by_reason == {"damaged": 1}
    assert peak < 5_000_000


def test_a_folder_of_links_ends(tmp_path):
    """A loop of links is not followed, broken ones are passed over, odd names are no obstacle."""
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "broken.txt").symlink_to(tmp_path / "absent")
    (tmp_path / "na\u00efve name.txt").write_text("text")
    deep = tmp_path / ("d" * 200) / ("e" * 200)
    deep.mkdir(parents=True)
    (deep / "f.txt").write_text("deep")
    (tmp_path / os.fsdecode(b"odd\xff.txt")).write_text("text")
    documents, rejects = read("files", tmp_path)
    assert sorted(d.metadata["path"] for d in documents) == [
        f"{'d' * 200}/{'e' * 200}/f.txt",
        "na\u00efve name.txt",
    ]
    assert rejects.by_reason == {"not valid Unicode": 1}


# --- processes with limits ----------------------------------------------------------------------


def sleeping(file, options, rejects):
    import time

    time.sleep(60)
    yield


def eating(file, options, rejects):
    yield Document("a", "x" * len(bytearray(10 << 30)))


def dying(file, options, rejects):
    yield Document("first", "text")
    os._exit(3)


def raising(file, options, rejects):
    print("noise that a library writes")
    rejects.skip(file, "pages without text: 1")
    raise KeyError("/Root")
    yield


@pytest.mark.parametrize(
    ("function", "reason", "n_documents"),
    [
        ("sleeping", "time limit: over 0.5 s", 0),
        ("eating", "memory limit: the file needs more", 0),
        ("dying", "reader ended: its process stopped with code 3", 1),
        ("raising", "damaged: KeyError: '/Root'", 0),
    ],
)
def test_a_parser_apart_has_limits(tmp_path, monkeypatch, function, reason, n_documents):
    """Time, memory, a sudden end and any exception become a reason; the next file is read."""
    from lbr_search.corpus.each import read_each

    guarded.close_idle()
    monkeypatch.setattr(guarded, "TIME_LIMIT_S", 0.5 if function == "sleeping" else 30)
    monkeypatch.setattr(sys, "path", [str(Path(__file__).parents[1]), *sys.path])
    (tmp_path / "a.bin").write_text("")
    rejects = Rejects(tmp_path / "rejected.jsonl")
    parse = guarded.guarded(f"tests.test_hostile_files:{function}")
    found = list(
        read_each(tmp_path / "a.bin", parse, (".bin",), options=ReadOptions(), rejects=rejects)
    )
    rejects.close()
    assert len(found) == n_documents
    assert reason in (tmp_path / "rejected.jsonl").read_text()
    monkeypatch.setattr(guarded, "TIME_LIMIT_S", 30)
    assert len(read("pdf", written.write_pdf(tmp_path / "a.pdf", ["Text."]))[0]) == 1
    guarded.close_idle()


def test_a_missing_package_names_its_extra(tmp_path, monkeypatch):
    """Also from the process apart: the fix is the command to type."""
    from lbr_search.corpus.code.languages import parser_of

    guarded.close_idle()
    blocker = tmp_path / "blocked"
    blocker.mkdir()
    for name in ("pypdf", "tree_sitter_go"):
        (blocker / f"{name}.py").write_text(f"raise ModuleNotFoundError(name={name!r})")
    monkeypatch.setattr(sys, "path", [str(blocker), *sys.path])
    with pytest.raises(MissingExtraError, match=r"lbr-search\[docs\]"):
        read("pdf", _empty(tmp_path / "a.pdf"))
    guarded.close_idle()
    parser_of.cache_clear()
    monkeypatch.delitem(sys.modules, "tree_sitter_go", raising=False)
    (tmp_path / "a.go").write_text("package a\nfunc F() {}\n")
    with pytest.raises(MissingExtraError, match=r"lbr-search\[code\]"):
        read("code", tmp_path / "a.go")
    parser_of.cache_clear()


def _empty(path: Path) -> Path:
    path.write_text("")
    return path


def test_a_file_that_vanishes_while_its_folder_is_read_is_put_on_record(tmp_path):
    for name in ("a.txt", "b.txt", "c.txt"):
        (tmp_path / name).write_text(name)
    rejects = Rejects(None)
    documents = READERS.resolve("text")(tmp_path, options=ReadOptions(), rejects=rejects)
    assert next(documents).doc_id == "a.txt"
    (tmp_path / "b.txt").unlink()
    assert [d.doc_id for d in documents] == ["c.txt"]
    assert rejects.by_reason == {"unreadable": 1}


def test_a_source_that_changes_while_it_is_read_is_read_again_by_sync(tmp_path):
    """What is recorded of a file is its state before it was opened."""
    source = tmp_path / "notes.jsonl"
    source.write_text('{"_id": "a", "text": "first"}\n')

    class Slow(HashEncoder):
        def encode_passages(self, texts, *, report=None):
            if "first" in texts:
                source.write_text('{"_id": "b", "text": "second"}\n')
            return super().encode_passages(texts, report=report)

    assert build_index([source], tmp_path / "i", encoder=Slow()).build.n_added == 1
    report = sync(tmp_path / "i", encoder=HashEncoder())
    assert report.build is not None
    assert (report.build.n_added, report.build.n_deleted) == (1, 1)


def test_a_path_of_four_thousand_characters(tmp_path, monkeypatch):
    """As long as the system takes at all; deeper ones are refused with a message."""
    monkeypatch.chdir(tmp_path)
    folder, part = Path.cwd(), "\u00e9 " + "d" * 190
    while len(os.fsencode(folder)) < 3_700:
        Path(part).mkdir()
        os.chdir(part)
        folder /= part
    (folder / "a b.txt").write_text("text")
    (folder / "c.html").write_text(
        "<html><body><p>" + "words of a page " * 30 + "</p></body></html>"
    )
    monkeypatch.chdir(tmp_path)
    documents, rejects = read("files", tmp_path)
    assert len(documents) == 2
    assert rejects.n_rejected == 0


def test_a_read_only_source_stays_as_it_is(tmp_path):
    """No journal, cache or lock is written beside it."""
    for name in ("sqlite", "text", "pdf"):
        (tmp_path / name).mkdir()
        written.source_for(name, tmp_path / name)
    before = sorted((f, f.stat().st_mtime_ns) for f in tmp_path.rglob("*"))
    for folder in (tmp_path, *(f for f in tmp_path.iterdir() if f.is_dir())):
        folder.chmod(0o500)
    try:
        assert len(read("files", tmp_path)[0]) >= 6
        assert sorted((f, f.stat().st_mtime_ns) for f in tmp_path.rglob("*")) == before
    finally:
        for folder in (tmp_path, *(f for f in tmp_path.iterdir() if f.is_dir())):
            folder.chmod(0o700)
