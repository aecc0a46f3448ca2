"""Indexes on S3 by their address, against moto's server on loopback."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from lbr_search import Searcher, build_index
from lbr_search.errors import IndexFormatError
from lbr_search.index import lease, mirror
from lbr_search.index.bucket import Bucket
from lbr_search.index.mirror import index_folder, mirror_folder
from lbr_search.upkeep.forget import forget
from lbr_search.upkeep.sync import sync
from tests.conftest import HashEncoder
from tests.hash_cli import run

boto3 = pytest.importorskip("boto3", reason="boto3 is not installed: extra s3")
pytest.importorskip("moto", reason="moto is not installed: extra dev")

URI = "s3://our-indexes/team/notes"
TEXTS = {"a": "aspirin thins the blood", "b": "benzene is aromatic", "c": "sort a list in place"}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Address of a server that speaks S3."""
    from moto.server import ThreadedMotoServer

    running = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    with contextlib.redirect_stderr(io.StringIO()):
        running.start()
        host, port = running.get_host_and_port()
        yield f"http://{host}:{port}"
        running.stop()


@pytest.fixture
def s3(server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """A client, with an empty bucket; its server is that of this process's environment."""
    for name, value in {
        "AWS_ENDPOINT_URL": server,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "LBR_CACHE": str(tmp_path / "cache"),
    }.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3")
    client.create_bucket(Bucket="our-indexes")
    yield client
    for found in client.list_objects_v2(Bucket="our-indexes").get("Contents", []):
        client.delete_object(Bucket="our-indexes", Key=found["Key"])
    client.delete_bucket(Bucket="our-indexes")


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    folder = tmp_path / "notes"
    folder.mkdir()
    for name, text in TEXTS.items():
        (folder / f"{name}.md").write_text(f"# {name}\n\n{text}, and so on for a while.\n")
    return folder


@contextlib.contextmanager
def other_machine(tmp_path: Path) -> Iterator[None]:
    """Work with a mirror of one's own."""
    with mock.patch.dict(os.environ, {"LBR_CACHE": str(tmp_path / "elsewhere")}):
        yield


def keys(s3: Any) -> set[str]:
    found = s3.list_objects_v2(Bucket="our-indexes").get("Contents", [])
    return {one["Key"].removeprefix("team/notes/") for one in found}


def ids(folder: str | Path, text: str, encoder: HashEncoder) -> list[str]:
    searcher = Searcher.open(folder, encoder=encoder)
    return [hit.doc_id for hit in searcher.search(text, k=3)]


def test_another_machine_reads_what_one_has_written(s3, notes, encoder, tmp_path):
    build_index([notes], URI, encoder=encoder)
    here = ids(URI, "aromatic benzene", encoder)
    with other_machine(tmp_path):
        assert ids(URI, "aromatic benzene", encoder) == here
        folder = mirror_folder(URI)
    assert here[0] == "b.md"
    assert folder.is_relative_to(tmp_path / "elsewhere")
    assert lease.WRITER not in keys(s3)


def test_where_nothing_changed_only_the_listing_is_asked_for(s3, notes, encoder):
    build_index([notes], URI, encoder=encoder)
    with mock.patch.object(Bucket, "download", side_effect=AssertionError("fetched again")):
        index_folder(URI)
    fetched = []
    index_folder(URI, on_fetch=lambda *numbers: fetched.append(numbers))
    assert fetched == []


def test_a_sync_is_seen_elsewhere_and_leaves_no_objects_behind(s3, notes, encoder, tmp_path):
    build_index([notes], URI, encoder=encoder)
    with other_machine(tmp_path):
        ids(URI, "warfarin", encoder)
    (notes / "d.md").write_text("# d\n\nwarfarin thins the blood too, and so on for a while.\n")
    sync(index_folder(URI), encoder=encoder)
    with other_machine(tmp_path):
        assert ids(URI, "warfarin", encoder)[0] == "d.md"
        folder = mirror_folder(URI)
        theirs = set(mirror._own_files(folder))
    listing = json.loads(
        s3.get_object(Bucket="our-indexes", Key="team/notes/index.json")["Body"].read()
    )
    named = {f"files/{row['sha256']}" for row in listing["files"]}
    assert keys(s3) == named | {"index.json"}
    assert theirs == {row["path"] for row in listing["files"]}


def test_what_is_forgotten_is_gone_from_the_storage(s3, notes, encoder, tmp_path):
    (notes / "secret.md").write_text("# secret\n\nzanthoxylum of the patient in room nine.\n")
    build_index([notes], URI, encoder=encoder)

    def holding() -> list[str]:
        bodies = {
            key: s3.get_object(Bucket="our-indexes", Key=f"team/notes/{key}")["Body"].read()
            for key in keys(s3)
        }
        return [key for key, body in bodies.items() if b"zanthoxylum" in body]

    assert holding()
    forget(index_folder(URI), ["secret.md"])
    assert holding() == []
    with other_machine(tmp_path):
        assert "secret.md" not in ids(URI, "zanthoxylum", encoder)


def test_the_commands_take_an_address(s3, notes):
    made = run("ingest", notes, "--index", URI, "--encoder", "hash:a")
    assert made.code == 0, made.err
    asked = run("query", "aromatic benzene", "--index", URI, "--encoder", "hash:a", "--json")
    assert json.loads(asked.out.splitlines()[0])["doc_id"] == "b.md", asked.err
    assert run("index", "verify", URI).code == 0
    (notes / "a.md").unlink()
    assert run("sync", URI).code == 0
    shown = run("index", "info", URI, "--json")
    info = json.loads(shown.out)
    assert (info["n_documents"], info["address"]) == (2, URI)


def test_a_second_writer_is_refused_with_the_holders_process_and_host(s3, notes, encoder):
    build_index([notes], URI, encoder=encoder)
    holder = {"pid": 4711, "host": "ward-seven", "since": "2026-01-01 10:00:00"}
    s3.put_object(
        Bucket="our-indexes", Key="team/notes/writer.json", Body=json.dumps(holder).encode()
    )
    with pytest.raises(IndexFormatError, match="process 4711 on ward-seven"):
        sync(index_folder(URI), encoder=encoder)
    assert ids(URI, "aspirin", encoder)  # readers are not concerned
    with mock.patch.object(lease, "STALE_S", -1.0):  # as if the holder had been silent long
        sync(index_folder(URI), encoder=encoder)
    assert lease.WRITER not in keys(s3)


def test_the_lease_of_an_ended_process_of_this_machine_is_taken_over(s3, notes, encoder):
    import socket

    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    holder = {"pid": ended.pid, "host": socket.gethostname(), "since": "2026-01-01 10:00:00"}
    s3.put_object(
        Bucket="our-indexes", Key="team/notes/writer.json", Body=json.dumps(holder).encode()
    )
    build_index([notes], URI, encoder=encoder)
    assert ids(URI, "benzene", encoder)[0] == "b.md"


def test_a_lease_is_renewed_and_a_lost_one_is_not_removed(s3):
    with mock.patch.object(lease, "RENEW_S", 0.05), lease.Lease(Bucket(URI)):
        body = s3.get_object(Bucket="our-indexes", Key="team/notes/writer.json")["Body"].read()
        assert json.loads(body)["pid"] == os.getpid()
        s3.put_object(Bucket="our-indexes", Key="team/notes/writer.json", Body=b"another's")
    assert lease.WRITER in keys(s3)


def test_an_upload_that_fails_loses_nothing(s3, notes, encoder, tmp_path):
    broken = IndexFormatError("the storage is out of reach", "check the network")
    with (
        mock.patch.object(Bucket, "upload", side_effect=broken),
        pytest.raises(IndexFormatError, match="nothing is lost"),
    ):
        build_index([notes], URI, encoder=encoder)
    n_encoded = encoder.n_encoded
    build_index([notes], URI, encoder=encoder)
    assert encoder.n_encoded - n_encoded <= 5  # the golden texts
    with other_machine(tmp_path):
        assert ids(URI, "benzene", encoder)[0] == "b.md"


def test_work_of_two_machines_is_not_mixed(s3, notes, encoder, tmp_path):
    build_index([notes], URI, encoder=encoder)
    before = index_folder(URI)
    (before / "search.toml").write_text("# written here, not uploaded\n")
    with other_machine(tmp_path):
        (notes / "d.md").write_text("# d\n\nwarfarin thins the blood too, and so on.\n")
        sync(index_folder(URI), encoder=encoder)
    with pytest.raises(IndexFormatError, match="changed from elsewhere while 1 files"):
        index_folder(URI)
    assert (before / "search.toml").is_file()


def test_a_state_published_in_between_is_not_overwritten(s3, notes, encoder, tmp_path):
    build_index([notes], URI, encoder=encoder)
    real = mirror._upload

    def slow(bucket: Bucket, folder: Path, state: mirror.MirrorState) -> None:
        s3.put_object(  # another machine, whose lease ours had taken over
            Bucket="our-indexes", Key="team/notes/index.json", Body=b'{"format": 1, "files": []}'
        )
        real(bucket, folder, state)

    (notes / "d.md").write_text("# d\n\nwarfarin thins the blood too, and so on.\n")
    folder = index_folder(URI)
    with (
        mock.patch.object(mirror, "_upload", slow),
        pytest.raises(IndexFormatError, match="changed from elsewhere"),
    ):
        sync(folder, encoder=encoder)
    body = s3.get_object(Bucket="our-indexes", Key="team/notes/index.json")["Body"].read()
    assert json.loads(body)["files"] == []


def test_a_fetch_that_was_cut_off_goes_on(s3, notes, encoder, tmp_path):
    build_index([notes], URI, encoder=encoder)
    real, n_left = Bucket.download, [3]

    def failing(bucket: Bucket, name: str, path: Path) -> None:
        n_left[0] -= 1
        if n_left[0] < 0:
            raise KeyboardInterrupt
        real(bucket, name, path)

    with other_machine(tmp_path):
        with mock.patch.object(Bucket, "download", failing), pytest.raises(KeyboardInterrupt):
            index_folder(URI)
        assert ids(URI, "benzene", encoder)[0] == "b.md"


def test_damaged_objects_and_hostile_listings_are_refused(s3, notes, encoder, tmp_path):
    build_index([notes], URI, encoder=encoder)
    some = next(key for key in sorted(keys(s3)) if key.startswith("files/"))
    whole = s3.get_object(Bucket="our-indexes", Key=f"team/notes/{some}")["Body"].read()
    s3.put_object(Bucket="our-indexes", Key=f"team/notes/{some}", Body=b"other bytes")
    with other_machine(tmp_path):
        with pytest.raises(IndexFormatError, match="holds other bytes"):
            index_folder(URI)
        s3.put_object(Bucket="our-indexes", Key=f"team/notes/{some}", Body=whole)
        assert ids(URI, "benzene", encoder)[0] == "b.md"
    row = {"path": "../../evil", "size_bytes": 1, "sha256": "0", "mtime_ns": 0}
    body = json.dumps({"format": 1, "files": [row]}).encode()
    s3.put_object(Bucket="our-indexes", Key="team/notes/index.json", Body=body)
    with pytest.raises(IndexFormatError, match="outside of it"):
        index_folder(URI)


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("s3://", "names no bucket"),
        ("s3://bucket-alone", "names no bucket"),
        ("s3://no-such-bucket/notes", "cannot be used"),
    ],
)
def test_wrong_addresses_say_what_is_wrong(s3, uri, message):
    with pytest.raises(IndexFormatError, match=message):
        index_folder(uri)


def test_an_index_that_is_gone_is_not_mistaken_for_a_new_one(s3, notes, encoder):
    build_index([notes], URI, encoder=encoder)
    for key in keys(s3):
        s3.delete_object(Bucket="our-indexes", Key=f"team/notes/{key}")
    with pytest.raises(IndexFormatError, match="is gone; its mirror"):
        index_folder(URI)
