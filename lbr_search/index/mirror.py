"""An index on S3-compatible storage, through a copy of it on this machine.

Search maps files into memory and FAISS reads files, so an index at ``s3://BUCKET/PATH`` is used
through a folder of this machine, its mirror, which holds the same files. Opening the index brings
the mirror up to date (one small request where nothing changed); a writer works on the mirror and
uploads what it changed when it ends.

On the storage: ``files/SHA256``, the content of files, never changed, and ``index.json``, which
names the files of the published state and is replaced in one step. So a reader gets a whole state
or the one before, and a file that two states share is stored and fetched once.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from lbr_search.errors import IndexFormatError
from lbr_search.index.bucket import NEW, SCHEME, Bucket, MissingObjectError, OutOfDateError
from lbr_search.index.files import file_hash, list_files, read_json, write_json
from lbr_search.index.lease import Lease
from lbr_search.index.manifest import MANIFEST_FILE, FileEntry

LISTING = "index.json"
OBJECTS = "files"
MIRROR_FILE = "mirror.json"
"""In the folder: what it mirrors, and the files as they were when last fetched or uploaded."""
FETCHED = ".fetched"
PASSING = {MIRROR_FILE, "lock", "lock.holder.json"}
"""Files of this machine or of one process, which are not uploaded."""
FORMAT = 1
N_THREADS = 8
N_TRIES = 3
"""A state that is replaced while it is fetched is fetched anew, so many times."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class MirrorState:
    """What a mirror knows of its index."""

    uri: str
    etag: str = NEW
    """Of the listing that the files were fetched from, or uploaded as; `NEW` = there was none."""
    files: dict[str, FileEntry] = field(default_factory=dict)
    is_partial: bool = False
    """A fetch was cut off; no file of the folder is anybody's work."""


def index_folder(index: str | Path, *, on_fetch: Callable[[int, int], None] | None = None) -> Path:
    """The folder of an index: the path itself, or the mirror of ``s3://BUCKET/PATH``, up to date.

    Args:
        index: a path, or an address on S3.
        on_fetch: called with the number of files and bytes before they are fetched.

    Raises:
        IndexFormatError: the storage cannot be reached, or the index was changed there while
            work done on the mirror is not uploaded.
        MissingExtraError: boto3 is not installed.
    """
    if not isinstance(index, str) or not index.startswith(SCHEME):
        return Path(index)
    bucket = Bucket(index)
    folder = mirror_folder(bucket.uri)
    folder.mkdir(parents=True, exist_ok=True)
    # a writer of this machine works on the mirror: it is as it should be, and not to be touched
    with FileLock(folder.parent / "fetch.lock"), _unless_written(folder) as is_free:
        if is_free:
            _fetch(bucket, folder, on_fetch)
    return folder


def mirror_folder(uri: str) -> Path:
    """Where the mirror of `uri` lies: below LBR_CACHE, else the user's folder for caches."""
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lbr-search"
    root = Path(os.environ.get("LBR_CACHE") or caches)
    key = hashlib.sha256(uri.encode()).hexdigest()[:12]
    return root / "mirrors" / key / uri.rsplit("/", 1)[1]


def is_mirror(folder: Path) -> bool:
    """Whether `folder` is the mirror of an index on S3."""
    return (folder / MIRROR_FILE).is_file()


def mirrored_address(folder: Path) -> str:
    """The address of the index that `folder` mirrors; "" where it is an index of its own."""
    return _load(folder).uri if is_mirror(folder) else ""


@contextlib.contextmanager
def uploading(folder: Path) -> Iterator[None]:
    """Hold the right to write the index that `folder` mirrors; upload what the block changed.

    Where the block or the upload fails, the mirror keeps what was done, and the next command that
    writes the index goes on from there.

    Raises:
        IndexFormatError: another process holds it, the index was changed since it was fetched, or
            the storage cannot be reached.
    """
    state = _load(folder)
    bucket = Bucket(state.uri)
    with Lease(bucket):
        if _listing(bucket)[0] != state.etag:
            raise _changed_meanwhile(state.uri)
        yield
        _upload(bucket, folder, state)


@contextlib.contextmanager
def _unless_written(folder: Path) -> Iterator[bool]:
    """Hold the lock of writers, or say that one is at work."""
    from lbr_search.index.lock import LOCK_FILE  # which imports this module

    lock = FileLock(str((folder / LOCK_FILE).absolute()), is_singleton=True)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def _fetch(bucket: Bucket, folder: Path, on_fetch: Callable[[int, int], None] | None) -> None:
    for _ in range(N_TRIES):
        state = _load(folder) if is_mirror(folder) else MirrorState(bucket.uri, is_partial=True)
        etag, wanted = _listing(bucket)
        n_changed = 0 if state.is_partial else len(_changed(folder, state.files))
        if etag == state.etag and not state.is_partial:
            if n_changed:
                log.warning(
                    "%s: %d files of its mirror %s are not uploaded yet; the next command that"
                    " writes the index does it",
                    *(bucket.uri, n_changed, folder),
                )
            return
        if n_changed:
            raise _parted(bucket.uri, folder, n_changed)
        if etag == NEW and state.etag != NEW:
            raise IndexFormatError(
                f"{bucket.uri} is gone; its mirror {folder} still holds it.",
                f"check the address; to begin anew: rm -r {folder}",
            )
        try:
            _bring(bucket, folder, state, etag, wanted, on_fetch)
            return
        except MissingObjectError:
            continue  # replaced by a newer state, whose listing is there by now
    raise IndexFormatError(
        f"{bucket.uri} names files that it does not hold.", "write it anew from a whole copy"
    )


def _bring(
    bucket: Bucket,
    folder: Path,
    state: MirrorState,
    etag: str,
    wanted: Mapping[str, FileEntry],
    on_fetch: Callable[[int, int], None] | None,
) -> None:
    """Make the files of `folder` those of a listing: new ones first, the manifest last of them."""
    _save(folder, MirrorState(bucket.uri, state.etag, state.files, is_partial=True))
    here = set() if state.is_partial else {p for p in wanted if state.files.get(p) == wanted[p]}
    here |= {p for p in wanted if state.is_partial and _is_same(folder / p, wanted[p])}
    lacking = {entry.sha256: entry for path, entry in wanted.items() if path not in here}
    if on_fetch is not None and lacking:
        on_fetch(len(lacking), sum(entry.size_bytes for entry in lacking.values()))
    fetched = folder / FETCHED
    shutil.rmtree(fetched, ignore_errors=True)
    fetched.mkdir()
    with ThreadPoolExecutor(N_THREADS) as pool:
        for _ in pool.map(lambda entry: _download(bucket, entry, fetched), lacking.values()):
            pass
    for path in sorted(wanted.keys() - here, key=lambda path: (path == MANIFEST_FILE, path)):
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        placed = fetched / "placed"
        shutil.copyfile(fetched / wanted[path].sha256, placed)
        os.utime(placed, ns=(wanted[path].mtime_ns, wanted[path].mtime_ns))
        placed.replace(target)
    shutil.rmtree(fetched)
    for path in _own_files(folder).keys() - wanted.keys():
        (folder / path).unlink()
    for below in sorted((p for p in folder.rglob("*") if p.is_dir()), reverse=True):
        if not any(below.iterdir()):
            below.rmdir()
    _save(folder, MirrorState(bucket.uri, etag, dict(wanted)))


def _download(bucket: Bucket, entry: FileEntry, fetched: Path) -> None:
    path = fetched / entry.sha256
    bucket.download(f"{OBJECTS}/{entry.sha256}", path)
    if file_hash(path) != entry.sha256:
        raise IndexFormatError(
            f"{bucket.uri} is damaged: {OBJECTS}/{entry.sha256} ({entry.path}) holds other bytes.",
            "restore the object, or write the index anew from a whole copy",
        )


def _upload(bucket: Bucket, folder: Path, state: MirrorState) -> None:
    """Upload the files that changed, then the listing; then remove what it does not name."""
    changed = _changed(folder, state.files)
    if not changed:
        return
    files = dict(state.files)
    for path, found in changed.items():
        if found is None:
            files.pop(path)
        else:
            files[path] = FileEntry(path, *found[:1], file_hash(folder / path), found[1])
    try:
        stored = bucket.names(OBJECTS)
        new = {e.sha256: e.path for e in files.values() if _object(e.sha256) not in stored}
        with ThreadPoolExecutor(N_THREADS) as pool:
            jobs = [
                pool.submit(bucket.upload, folder / path, _object(key)) for key, path in new.items()
            ]
            for job in jobs:
                job.result()
        rows = [asdict(files[path]) for path in sorted(files)]
        body = json.dumps({"format": FORMAT, "files": rows}).encode()
        etag = bucket.put(LISTING, body, instead_of=state.etag)
    except OutOfDateError as error:
        raise _parted(bucket.uri, folder, len(changed)) from error
    except IndexFormatError as error:
        raise IndexFormatError(
            f"{error.message}\n{folder} holds what was done; nothing is lost.",
            f"{error.fix}; then run the same command again",
        ) from error
    _save(folder, MirrorState(bucket.uri, etag, files))
    # at once, and not with the next state: what `forget` removes must be gone
    bucket.delete(sorted((stored | {_object(k) for k in new}) - _objects(files)))


def _listing(bucket: Bucket) -> tuple[str, dict[str, FileEntry]]:
    """ETag and files of the published state; `NEW` and none where nothing was published yet."""
    try:
        found = bucket.get(LISTING)
    except MissingObjectError:
        return NEW, {}
    fix = "give the address of an index, or update lbr-search"
    try:
        values = json.loads(found.body)
        if values["format"] != FORMAT:
            raise IndexFormatError(f"{bucket.uri} has format {values['format']!r}.", fix)
        files = {row["path"]: FileEntry(**row) for row in values["files"]}
    except (ValueError, KeyError, TypeError) as error:
        raise IndexFormatError(f"{bucket.uri}/{LISTING} is damaged: {error}.", fix) from error
    outside = [path for path in files if Path(path).is_absolute() or ".." in Path(path).parts]
    if outside:
        raise IndexFormatError(f"{bucket.uri} names a file outside of it: {outside[0]!r}.", fix)
    return found.etag, files


def _own_files(folder: Path) -> dict[str, tuple[int, int]]:
    """Path below `folder` -> size and time of its files, without those of one process."""
    found = {}
    for path in list_files(folder):
        name = path.relative_to(folder).as_posix()
        is_passing = name in PASSING or name.endswith(".tmp") or name.startswith(FETCHED)
        if not is_passing:
            status = path.stat()
            found[name] = (status.st_size, status.st_mtime_ns)
    return found


def _changed(folder: Path, files: Mapping[str, FileEntry]) -> dict[str, tuple[int, int] | None]:
    """Files that differ from `files`, with size and time; None = gone."""
    now = _own_files(folder)
    changed: dict[str, tuple[int, int] | None] = {p: None for p in files if p not in now}
    for path, found in now.items():
        known = files.get(path)
        if known is None or (known.size_bytes, known.mtime_ns) != found:
            changed[path] = found
    return changed


def _is_same(path: Path, entry: FileEntry) -> bool:
    if not path.is_file():
        return False
    status = path.stat()
    return (status.st_size, status.st_mtime_ns) == (entry.size_bytes, entry.mtime_ns) and (
        file_hash(path) == entry.sha256
    )


def _object(sha256: str) -> str:
    return f"{OBJECTS}/{sha256}"


def _objects(files: Mapping[str, FileEntry]) -> set[str]:
    return {_object(entry.sha256) for entry in files.values()}


def _load(folder: Path) -> MirrorState:
    values = read_json(folder / MIRROR_FILE, fix=f"rm -r {folder}   (it is fetched again)")
    files = {row["path"]: FileEntry(**row) for row in values["files"]}
    return MirrorState(values["uri"], values["etag"], files, values["is_partial"])


def _save(folder: Path, state: MirrorState) -> None:
    rows = [asdict(state.files[path]) for path in sorted(state.files)]
    write_json(folder / MIRROR_FILE, {**asdict(state), "files": rows})


def _changed_meanwhile(uri: str) -> IndexFormatError:
    return IndexFormatError(
        f"{uri} was changed from elsewhere a moment ago.", "run the same command again"
    )


def _parted(uri: str, folder: Path, n_changed: int) -> IndexFormatError:
    return IndexFormatError(
        f"{uri} was changed from elsewhere while {n_changed} files of its mirror {folder}"
        " were changed here and not uploaded.",
        f"to give up what was done here and take what is there: rm -r {folder}",
    )
