"""One writer an index: a lock that the system drops when its process ends, however it ends."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from filelock import FileLock, Timeout

from lbr_search.errors import IndexFormatError
from lbr_search.index.files import disk_errors, write_json
from lbr_search.index.manifest import IndexManifest, load_manifest
from lbr_search.index.mirror import is_mirror, uploading

LOCK_FILE = "lock"
HOLDER_FILE = "lock.holder.json"


@contextmanager
def single_writer(folder: Path) -> Iterator[None]:
    """Hold the right to write `folder`; fails at once when another process or thread holds it.

    The lock is the system's (flock), so one left by a killed process is no obstacle. Who holds it
    stands beside it, for the message only. A thread that holds it may ask again: a `sync` keeps
    it from its first look at the record to the last write, with a build in between. What is done
    to the mirror of an index on S3 is uploaded at the end.

    Raises:
        IndexFormatError: another writer holds it (its process and host are named), or the folder
            cannot be written.
    """
    lock = FileLock(str((folder / LOCK_FILE).absolute()), is_singleton=True)
    with disk_errors(folder):
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise IndexFormatError(
                f"another process is writing {folder}: {_holder(folder)}.",
                "wait until it ends, or stop it; readers are not affected",
            ) from None
    try:
        with disk_errors(folder):
            write_json(folder / HOLDER_FILE, _this_process())
        is_outermost = lock.lock_counter == 1
        with uploading(folder) if is_outermost and is_mirror(folder) else nullcontext():
            yield
    finally:
        lock.release()


@contextmanager
def writing(folder: Path) -> Iterator[IndexManifest]:
    """`single_writer` of a published index; gives its state as it is under the lock.

    Raises:
        IndexFormatError: no index, or a damaged one; another writer; a full or read-only disk.
    """
    load_manifest(folder)  # before a lock file is made in a folder that is no index
    with disk_errors(folder), single_writer(folder):
        yield load_manifest(folder)


def _this_process() -> dict[str, str | int]:
    started = time.strftime("%Y-%m-%d %H:%M:%S")
    return {"pid": os.getpid(), "host": socket.gethostname(), "since": started}


def _holder(folder: Path) -> str:
    """Words for the message; the holder may be writing its file at this moment."""
    try:
        holder = json.loads((folder / HOLDER_FILE).read_text("utf-8"))
        return f"process {holder['pid']} on {holder['host']}, since {holder['since']}"
    except (FileNotFoundError, json.JSONDecodeError, KeyError):
        return "it has just started"
