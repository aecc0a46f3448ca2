"""What was downloaded -> a BEIR folder: archives unpacked with care, tables rewritten as lines."""

from __future__ import annotations

import json
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any

from lbr_search.corpus.compressed import find_compressed, open_bytes
from lbr_search.corpus.manifest import CorpusManifest
from lbr_search.corpus.readers import read_objects
from lbr_search.errors import CorpusError
from lbr_search.protocols import ReadOptions, RejectSink
from lbr_search.registry import READERS

QRELS_HEADER = "query-id\tcorpus-id\tscore\n"

_QUERY_COLUMNS = ("query-id", "query_id", "qid")
_DOCUMENT_COLUMNS = ("corpus-id", "corpus_id", "doc_id", "docid")


def build_beir(
    manifest: CorpusManifest, downloads: dict[str, Path], folder: Path, *, rejects: RejectSink
) -> None:
    """Make `folder` a BEIR folder from the downloaded files.

    Args:
        manifest: says what the files are.
        downloads: `RemoteFile.file_name` -> file.
        folder: new or empty.
        rejects: gets the rows that are no documents or queries.

    Raises:
        CorpusError: an archive is damaged, would write outside `folder`, or is not BEIR.
    """
    if manifest.format in ("beir-zip", "beir-tar"):
        (archive,) = downloads.values()
        unpack = unpack_zip if manifest.format == "beir-zip" else unpack_tar
        unpacked = folder.with_name(f"{folder.name}.unpacked")
        shutil.rmtree(unpacked, ignore_errors=True)
        unpack(archive, unpacked)
        _beir_root(unpacked, archive).replace(folder)
        return
    (folder / "qrels").mkdir(parents=True)
    for file in manifest.files:
        source = downloads[file.file_name]
        if file.role == "qrels":
            _write_qrels(source, folder / "qrels" / f"{file.split}.tsv", manifest.format)
        else:
            _write_records(source, folder / f"{file.role}.jsonl", manifest.format, rejects)


def unpack_zip(archive: Path, folder: Path) -> None:
    """Unpack a zip below `folder`; nothing is written when a member would land elsewhere.

    Raises:
        CorpusError: damaged, or a member is a link or leaves the folder.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            members = [m for m in opened.infolist() if not m.is_dir()]
            for member in members:
                is_link = stat.S_ISLNK(member.external_attr >> 16)
                _check_member(archive, member.filename, is_regular=not is_link)
            for member in members:
                with opened.open(member) as stream:
                    _write(stream, folder / member.filename)
    except (zipfile.BadZipFile, EOFError) as error:
        raise _damaged(archive, error) from error


def unpack_tar(archive: Path, folder: Path) -> None:
    """Unpack a tar (plain, gzip, bzip2 or xz) below `folder`; refusals as `unpack_zip`.

    Raises:
        CorpusError: as `unpack_zip`.
    """
    try:
        with tarfile.open(archive, "r:*") as opened:
            members = [m for m in opened.getmembers() if not m.isdir()]
            for member in members:
                _check_member(archive, member.name, is_regular=member.isfile())
            for member in members:
                stream = opened.extractfile(member)
                assert stream is not None, "regular members have content"
                _write(stream, folder / member.name)
    except (tarfile.TarError, EOFError) as error:
        raise _damaged(archive, error) from error


def _check_member(archive: Path, name: str, *, is_regular: bool) -> None:
    path = PurePosixPath(name.replace("\\", "/"))
    leaves = path.is_absolute() or ".." in path.parts or ":" in path.parts[0]
    if leaves or not is_regular:
        why = "would be written outside the folder" if leaves else "is a link or a device"
        raise CorpusError(
            f"{archive} is not safe to unpack: {name!r} {why}.",
            "do not use this file; tell its publisher",
        )


def _write(stream: IO[bytes], target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as output:
        shutil.copyfileobj(stream, output)


def _beir_root(unpacked: Path, archive: Path) -> Path:
    """The one folder of an unpacked archive that holds a corpus."""
    folders = [unpacked, *sorted(p for p in unpacked.rglob("*") if p.is_dir())]
    roots = [p for p in folders if find_compressed(p, "corpus.jsonl") is not None]
    if len(roots) != 1:
        raise CorpusError(
            f"{archive} holds {len(roots)} folders with a corpus.jsonl, not one.",
            "correct the url of the manifest",
        )
    return roots[0]


def _write_records(source: Path, target: Path, reader: str, rejects: RejectSink) -> None:
    """Documents and queries have the same columns: id, text, perhaps a title, and others."""
    read = READERS.resolve(reader)
    with target.open("w", encoding="utf-8") as output:
        for document in read(source, options=ReadOptions(), rejects=rejects):
            record: dict[str, object] = {"_id": document.doc_id}
            if document.title or target.name == "corpus.jsonl":
                record["title"] = document.title
            record["text"] = document.text
            if document.metadata:
                record["metadata"] = dict(document.metadata)
            output.write(json.dumps(record, ensure_ascii=False) + "\n")


def _write_qrels(source: Path, target: Path, kind: str) -> None:
    if source.name.endswith((".tsv", ".tsv.gz")):
        with open_bytes(source) as stream:
            _write(stream, target)
        return
    rows = _parquet_rows(source) if kind == "parquet" else _json_rows(source)
    with target.open("w", encoding="utf-8") as output:
        output.write(QRELS_HEADER)
        for line, row in rows:
            query_id = _value(row, _QUERY_COLUMNS, source, line)
            doc_id = _value(row, _DOCUMENT_COLUMNS, source, line)
            score = row.get("score", 1)
            if not isinstance(score, int | float) or score != int(score):
                raise CorpusError(
                    f"{source}:{line} has the score {score!r}, not a whole number.",
                    "correct the manifest: this is no qrels file",
                )
            output.write(f"{query_id}\t{doc_id}\t{int(score)}\n")


def _json_rows(source: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    from lbr_search.corpus.rejects import Rejects

    yield from read_objects(source, Rejects(None, strict=True))


def _parquet_rows(source: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(source) as file:
            number = 0
            for batch in file.iter_batches():
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except (pa.ArrowException, OSError) as error:
        raise _damaged(source, error) from error


def _value(row: dict[str, Any], names: tuple[str, ...], source: Path, line: int) -> str:
    found = next((row[name] for name in names if row.get(name) is not None), None)
    if found is None:
        raise CorpusError(
            f"{source}:{line} has none of {', '.join(names)}; it has {', '.join(row)}.",
            "correct the manifest: this is no qrels file",
        )
    return str(found)


def _damaged(archive: Path, error: Exception) -> CorpusError:
    return CorpusError(
        f"{archive} is damaged: {error}.", f"delete {archive} and run the command again"
    )
