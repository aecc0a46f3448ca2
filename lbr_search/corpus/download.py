"""One address -> one file: resumed where it stopped, checked against its digests."""

from __future__ import annotations

import hashlib
import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from lbr_search.corpus.manifest import RemoteFile
from lbr_search.errors import CorpusError

_BLOCK_BYTES = 1 << 18
_TIMEOUT_S = 60.0
_USER_AGENT = "lbr-search (corpora fetch)"


@dataclass(frozen=True, slots=True)
class DownloadProgress:
    """How far a download is."""

    name: str
    n_bytes: int
    """Bytes here, those of earlier runs included."""
    total_bytes: int
    """0 = the server does not say."""


ProgressCallback = Callable[[DownloadProgress], None]


@dataclass(frozen=True, slots=True)
class Retries:
    """How often a broken connection is taken up again."""

    attempts: int = 5
    wait_s: float = 1.0
    """Pause after the first failure; it doubles each time."""


def download(
    file: RemoteFile,
    target: Path,
    *,
    progress: ProgressCallback | None = None,
    retries: Retries | None = None,
) -> str:
    """Fetch `file` to `target` and check it; a file that is there already is only checked.

    What has arrived stays in ``target.part`` when the connection or the program ends; the next
    call asks the server for the rest, and starts over when the file there has changed.

    Returns:
        The sha256 of the file, 64 hex digits.

    Raises:
        CorpusError: the server refuses or keeps failing, the disk is full, or the digests differ
            (the wrong file is removed).
    """
    if not target.is_file():
        part = target.with_name(f"{target.name}.part")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            _fetch_all(file, part, progress, retries or Retries())
            part.replace(target)
            _validator_file(part).unlink(missing_ok=True)
        except OSError as error:
            raise CorpusError(
                f"cannot write {part}: {error.strerror}.",
                "free space or make the folder writable, and run the command again: it resumes",
            ) from error
    return _check_digests(file, target)


def _fetch_all(
    file: RemoteFile, part: Path, progress: ProgressCallback | None, retries: Retries
) -> None:
    """Ask until the whole file is in `part`."""
    wait_s = retries.wait_s
    for attempt in range(1, retries.attempts + 1):
        reason = _fetch_rest(file, part, progress)
        if reason is None:
            return
        if attempt < retries.attempts:
            time.sleep(wait_s)
            wait_s *= 2
    n_bytes = part.stat().st_size if part.is_file() else 0
    raise CorpusError(
        f"{file.url} failed {retries.attempts} times, the last time: {reason}.\n"
        f"  {n_bytes:,} bytes are kept in {part}",
        "run the command again: it resumes",
    )


def _fetch_rest(file: RemoteFile, part: Path, progress: ProgressCallback | None) -> str | None:
    """One request for what is missing; None = complete, else why it ended early.

    Raises:
        CorpusError: the server refuses, so that asking again is of no use.
    """
    n_before, headers = _resume_point(file, part)
    request = urllib.request.Request(file.url, headers={"User-Agent": _USER_AGENT} | headers)
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        return _refusal(file, part, error)
    except (urllib.error.URLError, TimeoutError, http.client.HTTPException) as error:
        return f"{getattr(error, 'reason', error) or type(error).__name__}"
    except ConnectionError as error:
        return str(error)
    with response:
        if response.status != HTTPStatus.PARTIAL_CONTENT:
            n_before = 0  # the server sends the whole file: it cannot resume, or it has changed
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {n_before}-"):
            _validator_file(part).unlink(missing_ok=True)  # the next attempt starts over
            return "the server sent another part than was asked for"
        _keep_validator(file, part, response.headers)
        return _receive(file, part, response, n_before, progress)


def _receive(
    file: RemoteFile,
    part: Path,
    response: Any,  # noqa: ANN401 - urllib's response has no public class
    n_before: int,
    progress: ProgressCallback | None,
) -> str | None:
    length = response.headers.get("Content-Length")
    total = n_before + int(length) if length else 0
    n_bytes = n_before
    with part.open("ab" if n_before else "wb") as stream:
        while True:
            try:
                block = response.read(_BLOCK_BYTES)
            except (http.client.IncompleteRead, TimeoutError, ConnectionError) as error:
                return str(error) or type(error).__name__
            if not block:
                break
            stream.write(block)
            n_bytes += len(block)
            if progress is not None:
                progress(DownloadProgress(file.file_name, n_bytes, total))
    if total and n_bytes < total:
        return f"the connection ended after {n_bytes:,} of {total:,} bytes"
    return None


def _resume_point(file: RemoteFile, part: Path) -> tuple[int, dict[str, str]]:
    """Bytes already here, and the headers that ask for the rest of the same file only."""
    state = _validator_file(part)
    if not part.is_file() or not state.is_file() or not part.stat().st_size:
        return 0, {}
    try:
        kept = json.loads(state.read_text("utf-8"))
    except json.JSONDecodeError:  # killed while writing it: start over
        return 0, {}
    if kept.get("url") != file.url or not kept.get("validator"):
        return 0, {}
    n_bytes = part.stat().st_size
    return n_bytes, {"Range": f"bytes={n_bytes}-", "If-Range": kept["validator"]}


def _keep_validator(file: RemoteFile, part: Path, headers: Any) -> None:  # noqa: ANN401
    """Remember which version of the file this is, so that only its rest is ever appended."""
    etag = headers.get("ETag", "")
    strong = etag if etag and not etag.startswith("W/") else ""  # RFC 9110, 13.1.5
    validator = strong or headers.get("Last-Modified", "")
    _validator_file(part).write_text(
        json.dumps({"url": file.url, "validator": validator}), encoding="utf-8"
    )


def _validator_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _refusal(file: RemoteFile, part: Path, error: urllib.error.HTTPError) -> str | None:
    """Why to ask again; None when the file is complete already.

    Raises:
        CorpusError: asking again is of no use.
    """
    with error:
        if error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            total = error.headers.get("Content-Range", "").rpartition("/")[2]
            if part.is_file() and total == str(part.stat().st_size):
                return None
            _validator_file(part).unlink(missing_ok=True)  # the next attempt starts over
            return "the file on the server has changed"
        is_passing = error.code >= HTTPStatus.INTERNAL_SERVER_ERROR or error.code in (
            HTTPStatus.REQUEST_TIMEOUT,
            HTTPStatus.TOO_MANY_REQUESTS,
        )
        if is_passing:
            return f"the server answers {error.code} {error.reason}"
        raise CorpusError(
            f"{file.url} cannot be fetched: the server answers {error.code} {error.reason}.",
            "open the source page of the manifest; the file may have moved or need a log-in",
        ) from error


def _check_digests(file: RemoteFile, target: Path) -> str:
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    with target.open("rb") as stream:
        while block := stream.read(_BLOCK_BYTES):
            sha256.update(block)
            md5.update(block)
    for kind, expected, seen in (
        ("sha256", file.sha256, sha256.hexdigest()),
        ("md5", file.md5, md5.hexdigest()),
    ):
        if expected and expected != seen:
            target.unlink()
            raise CorpusError(
                f"{file.url} is not the file that the manifest names ({kind}).\n"
                f"  expected  {expected}\n  seen      {seen}",
                "run the command again; if it repeats, the publisher changed the file: check "
                "its source page, then correct the manifest",
            )
    return sha256.hexdigest()
