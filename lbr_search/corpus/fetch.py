"""A manifest -> a checked corpus folder: download, unpack, compare, publish by one rename."""

from __future__ import annotations

import datetime
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from lbr_search.corpus.check import CheckReport, check, record_digests
from lbr_search.corpus.download import ProgressCallback, Retries, download
from lbr_search.corpus.manifest import CorpusManifest
from lbr_search.corpus.rejects import Rejects
from lbr_search.corpus.sources import SOURCE_FILE, source_record
from lbr_search.corpus.unpack import build_beir
from lbr_search.errors import CorpusError


@dataclass(frozen=True, slots=True)
class FetchReport:
    """What `fetch` did."""

    folder: Path
    is_new: bool
    """False: it was there already and whole; nothing was downloaded."""
    checked: CheckReport
    digests: dict[str, str]
    """Address -> sha256 of what was downloaded."""
    notes: tuple[str, ...]
    """What the user should know, e.g. digests that the manifest does not name."""


def fetch(
    manifest: CorpusManifest,
    *,
    into: Path,
    progress: ProgressCallback | None = None,
    retries: Retries | None = None,
) -> FetchReport:
    """Download a public suite into ``into/<name>``, as a BEIR folder with its SOURCE.json.

    Work is done in ``into/.<name>.partial`` and published by renaming, so that a folder called
    `name` is always whole; interrupted downloads are resumed by calling again.

    Raises:
        CorpusError: the download, its digest, its content or its counts are wrong; or the folder
            exists and is not whole; or another process is fetching it.
    """
    if not manifest.can_be_fetched:
        raise CorpusError(
            f"{manifest.name} is known by its numbers alone: the addresses of its files are not.",
            f"get it from {manifest.source_page} under its licence ({manifest.licence}), put it "
            f"into BEIR's layout, and: lbr-search corpora add DIR --name {manifest.name}",
        )
    folder, partial = into / manifest.name, into / f".{manifest.name}.partial"
    try:
        partial.mkdir(parents=True, exist_ok=True)
        with FileLock(partial / "lock", timeout=0):
            if folder.exists():
                report = _already_there(manifest, folder)
            else:
                report = _fetch(manifest, folder, partial, progress, retries)
    except Timeout as error:
        raise CorpusError(
            f"{manifest.name} is being fetched by another process ({partial}).", "wait for it"
        ) from error
    except OSError as error:
        raise CorpusError(
            f"cannot write {error.filename or partial}: {error.strerror}.",
            "free space or make the folder writable, and run the command again: it resumes",
        ) from error
    shutil.rmtree(partial)
    return report


def _already_there(manifest: CorpusManifest, folder: Path) -> FetchReport:
    report = check(folder, manifest)
    if not report.is_whole:
        raise CorpusError(
            f"{folder} exists and is not the suite of the manifest:\n  "
            + "\n  ".join(report.problems),
            f"rm -r {folder} and run the command again",
        )
    downloads = source_record(folder).get("downloads", {})
    return FetchReport(folder, False, report, downloads, ())


def _fetch(
    manifest: CorpusManifest,
    folder: Path,
    partial: Path,
    progress: ProgressCallback | None,
    retries: Retries | None,
) -> FetchReport:
    downloads, digests, notes = {}, {}, []
    for file in manifest.files:
        target = partial / "downloads" / file.file_name
        digests[file.url] = download(file, target, progress=progress, retries=retries)
        downloads[file.file_name] = target
        if not file.sha256:
            known = "md5 checked; " if file.md5 else ""
            notes.append(
                f"{file.file_name}: {known}sha256 not in the manifest: {digests[file.url]}"
            )
    ready = partial / "ready"
    shutil.rmtree(ready, ignore_errors=True)
    with Rejects(None) as rejects:
        build_beir(manifest, downloads, ready, rejects=rejects)
    notes += [f"{n:,} rows left out: {reason}" for reason, n in rejects.by_reason.items()]
    report = check(ready, manifest)
    if not report.is_whole:
        raise CorpusError(
            f"{manifest.name} is not what its manifest promises:\n  "
            + "\n  ".join(report.problems),
            f"check {manifest.source_page}; if the publisher changed the suite, correct "
            f"corpora/{manifest.name}.toml",
        )
    _write_record(manifest, ready, digests)
    ready.replace(folder)
    report.folder = folder
    return FetchReport(folder, True, report, digests, tuple(notes))


def _write_record(manifest: CorpusManifest, folder: Path, digests: dict[str, str]) -> None:
    record = {
        "name": manifest.name,
        "title": manifest.title,
        "domain": manifest.domain,
        "task_id": manifest.task_id,
        "licence": manifest.licence,
        "evaluation_only": manifest.evaluation_only,
        "source_page": manifest.source_page,
        "fetched": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "downloads": digests,
        "files": record_digests(folder),
    }
    text = json.dumps(record, indent=2, ensure_ascii=False)
    (folder / SOURCE_FILE).write_text(text + "\n", encoding="utf-8")
