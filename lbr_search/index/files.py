"""Files of an index folder: atomic JSON, hashes, and disk errors a user can act on."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lbr_search.errors import IndexFormatError

DISK_FULL = ("no space left on device", "os error 28", "disk quota exceeded", "os error 122")
NOT_WRITABLE = (
    "read-only file system",
    "os error 30",
    "permission denied",
    "os error 13",
    "operation not permitted",
    "os error 1)",
)


def write_json(path: Path, values: Mapping[str, Any], *, is_compact: bool = False) -> None:
    """Write `values` so that a reader sees the old file or the new one, never a part.

    The bytes are on disk (fsync) before the name points to them. Compact is ten times as fast, and
    takes names of files that are no Unicode.
    """
    temporary = path.with_name(path.name + ".tmp")
    text = json.dumps(values, ensure_ascii=is_compact, indent=None if is_compact else 1)
    with temporary.open("w", encoding="utf-8") as handle:
        handle.write(text + "\n")
        handle.flush()
        os.fsync(handle.fileno())
    temporary.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames and new names in `folder` durable; a no-op where folders cannot be opened."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_json(path: Path, *, fix: str) -> dict[str, Any]:
    """The object in a JSON file of an index.

    Raises:
        IndexFormatError: the file is not a JSON object.
    """
    try:
        values = json.loads(path.read_text("utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise IndexFormatError(f"{path} is damaged: {error}.", fix) from error
    if not isinstance(values, dict):
        raise IndexFormatError(f"{path} is damaged: not a JSON object.", fix)
    return values


def file_hash(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def list_files(folder: Path) -> list[Path]:
    """Every file under `folder`, sorted by name so that manifests are stable."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def folder_bytes(folder: Path) -> int:
    """Bytes of all files under `folder`."""
    return sum(path.stat().st_size for path in list_files(folder))


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turn a full or read-only disk, whichever library met it, into an error with a fix.

    LanceDB and FAISS raise RuntimeError with the text of the system's error, Python raises OSError.

    Raises:
        IndexFormatError: the disk is full, or the folder cannot be written.
    """
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        if _is_elsewhere(error, folder):
            raise
        text = str(error).lower()
        code = error.errno if isinstance(error, OSError) else None
        if code in (errno.ENOSPC, errno.EDQUOT) or any(sign in text for sign in DISK_FULL):
            raise IndexFormatError(
                f"no space left on the disk of {folder}; what was committed is kept.",
                "free space there and run the same command again: it goes on where it stopped",
            ) from error
        is_denied = code in (errno.EROFS, errno.EACCES, errno.EPERM)
        if is_denied or any(sign in text for sign in NOT_WRITABLE):
            raise IndexFormatError(
                f"{folder} cannot be written: {_first_line(error)}.",
                "give a folder that you may write with --index DIR",
            ) from error
        raise


def _is_elsewhere(error: Exception, folder: Path) -> bool:
    """Whether the system named a file outside of `folder`, such as a source that is read."""
    name = error.filename if isinstance(error, OSError) else None
    if not isinstance(name, str):
        return False
    path, inside = Path(name).absolute(), folder.absolute()
    return path != inside and inside not in path.parents and path not in inside.parents


def _first_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).splitlines()[0][:200]
