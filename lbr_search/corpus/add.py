"""An own BEIR folder -> ``corpora/<name>``: checked, copied, recorded, published by one rename."""

from __future__ import annotations

import datetime
import json
import re
import shutil
from pathlib import Path

from lbr_search.corpus.check import CheckReport, check, record_digests
from lbr_search.corpus.manifest import CorpusManifest, load_manifest
from lbr_search.corpus.sources import SOURCE_FILE, source_record
from lbr_search.errors import CorpusError

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")


def add_corpus(
    folder: Path, *, name: str, into: Path, domain: str = "", licence: str = ""
) -> CheckReport:
    """Take a folder into the corpora of a home, so that it is known by name.

    Where a manifest of that name lies in `into`, the folder has to be what it promises. What its
    own SOURCE.json says is kept unless said otherwise here.

    Args:
        folder: corpus.jsonl, and for a suite queries.jsonl and qrels/; may be compressed.
        name: small letters, digits, ``-``, ``.`` and ``_``.
        into: the home's ``corpora``.
        domain: e.g. medical.
        licence: of its texts.

    Raises:
        CorpusError: the name is taken or none, or the folder is not whole.
    """
    target = into / name
    if not _NAME.fullmatch(name):
        raise CorpusError(
            f"{name!r} is no name of small letters, digits, - . and _.", "--name my-suite"
        )
    if target.exists():
        raise CorpusError(f"{target} exists.", f"take another --name, or remove {target}")
    report = check(folder, _manifest(into, name))
    if not report.is_whole or not report.n_documents:
        problems = report.problems or ["it holds no documents"]
        raise CorpusError(
            f"{folder} cannot become {name}:\n  " + "\n  ".join(problems),
            "correct the files; `lbr-search corpora check DIR` reads them again",
        )
    _publish(folder, target, {"domain": domain, "licence": licence})
    report.folder = target
    return report


def _manifest(into: Path, name: str) -> CorpusManifest | None:
    file = into / f"{name}.toml"
    return load_manifest(file) if file.is_file() else None


def _publish(folder: Path, target: Path, given: dict[str, str]) -> None:
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        for entry in sorted(folder.iterdir()):
            if entry.name.startswith(("corpus.jsonl", "queries.jsonl")):
                shutil.copy2(entry, partial / entry.name)
        if (folder / "qrels").is_dir():
            shutil.copytree(folder / "qrels", partial / "qrels")
        write_record(partial, source_record(folder) | {k: v for k, v in given.items() if v})
        partial.replace(target)
    except OSError as error:
        raise CorpusError(
            f"{target} cannot be written: {error}.", "free space or make the folder writable"
        ) from error


def write_record(folder: Path, record: dict[str, object]) -> None:
    """Write SOURCE.json: `record`, when it was added, and the digests of the files."""
    added = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    whole = record | {"name": folder.name.strip(".").removesuffix(".partial")}
    whole |= {"added": added, "files": record_digests(folder)}
    text = json.dumps(whole, indent=2, ensure_ascii=False)
    (folder / SOURCE_FILE).write_text(text + "\n", encoding="utf-8")
