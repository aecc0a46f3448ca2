"""What ``corpora/<name>.toml`` says of a public suite: where it is, its licence, what to expect.

`fetch.fetch` downloads what a manifest names, `check.check` compares a folder with it.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from lbr_search.config import from_mapping, load_toml
from lbr_search.errors import ConfigError, CorpusError
from lbr_search.registry import nearest

LISTED = "listed"
FORMATS = ("beir-zip", "beir-tar", "parquet", "jsonl", LISTED)
"""A BEIR archive, or one file each for documents, queries and the judgements of a split. Listed:
the addresses of its files are not known, so that a user has to bring them."""

Record = TypeVar("Record")


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file to download."""

    url: str
    role: str = "archive"
    """archive, corpus, queries or qrels."""
    split: str = ""
    """Split that a qrels file judges; otherwise empty."""
    sha256: str = ""
    """Hex digest; empty = unknown, then the digest seen is recorded and reported."""
    md5: str = ""
    """Hex digest, where the publisher gives that one."""
    size_bytes: int = 0
    """0 = unknown."""

    @property
    def file_name(self) -> str:
        """Name to download to: role, split, and the suffix of the address."""
        suffix = "".join(Path(urlsplit(self.url).path).suffixes[-2:])
        return "-".join(part for part in (self.role, self.split) if part) + suffix


@dataclass(frozen=True, slots=True)
class Reference:
    """What somebody else measured on the test split."""

    system: str
    ndcg_10: float
    """nDCG@10, 0 to 1."""
    source: str
    """Who says so, and when it was read there."""
    recall_100: float = 0.0
    """Recall@100, 0 to 1; 0 = not known."""


@dataclass(frozen=True, slots=True)
class CorpusManifest:
    """A public suite that can be fetched."""

    name: str
    """Folder name under ``corpora/``."""
    title: str
    domain: str
    task_id: str
    """Name of the task in MTEB: several suites share a common name."""
    source_page: str
    licence: str
    format: str
    """One of `FORMATS`."""
    known: str
    """What was verified of this manifest, and where."""
    unknown: str = ""
    """What was not."""
    evaluation_only: bool = False
    """The licence lets it measure, not train, what we ship."""
    documents: int = 0
    """Expected number; 0 = unknown."""
    queries: dict[str, int] = field(default_factory=dict)
    """Split -> expected number of judged queries."""
    files: tuple[RemoteFile, ...] = ()
    reference: tuple[Reference, ...] = ()
    """Numbers to compare with; they depend on prompts, tokenizers and fields."""

    @property
    def can_be_fetched(self) -> bool:
        """Whether the addresses of its files are known."""
        return self.format != LISTED

    @property
    def has_digests(self) -> bool:
        """Whether the sha256 of every file is known, so that a download is verified."""
        return bool(self.files) and all(file.sha256 for file in self.files)

    def __post_init__(self) -> None:
        mistakes = _mistakes(self)
        if mistakes:
            raise ConfigError("\n".join(mistakes) + ".", f"edit corpora/{self.name}.toml")


def load_manifest(path: Path) -> CorpusManifest:
    """Read a manifest; unknown keys, wrong types and missing parts are errors.

    Raises:
        ConfigError: the mistakes of a section, each with the nearest known name.
    """
    values = load_toml(path)
    files = _tables(values, "files", RemoteFile, path)
    references = _tables(values, "reference", Reference, path)
    _require(CorpusManifest, values, str(path))
    lists = {"files": files, "reference": references}
    return from_mapping(CorpusManifest, values | lists, where=str(path))


def _tables(values: dict[str, Any], key: str, record: type[Record], path: Path) -> list[Record]:
    """The ``[[key]]`` sections of a manifest as records; takes them out of `values`."""
    raw_tables = values.pop(key, [])
    if not isinstance(raw_tables, list) or not all(isinstance(raw, dict) for raw in raw_tables):
        raise ConfigError(f"{path}: {key} is not a list of tables.", f"write [[{key}]] sections")
    records = []
    for number, raw in enumerate(raw_tables, start=1):
        _require(record, raw, f"{path} {key} {number}")
        records.append(from_mapping(record, raw, where=f"{path} {key} {number}"))
    return records


def shipped_manifests(home: Path) -> dict[str, Path]:
    """Manifest files under ``corpora/`` of the home, by name.

    Raises:
        CorpusError: there is no such folder.
    """
    folder = home / "corpora"
    if not folder.is_dir():
        raise CorpusError(
            f"{folder} does not exist.",
            "run inside the checkout of lbr-search, or give it with --home DIR",
        )
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def find_manifest(name: str, home: Path) -> CorpusManifest:
    """The manifest called `name`, or at the path `name`.

    Raises:
        CorpusError: there is none; names the nearest.
        ConfigError: it is wrong.
    """
    if name.endswith(".toml"):
        return load_manifest(Path(name))
    known = shipped_manifests(home)
    if name not in known:
        raise CorpusError(
            f"there is no manifest {name!r}; known: {', '.join(known) or 'none'}.",
            nearest(name, {key: None for key in known}) if known else "give the path of a .toml",
        )
    return load_manifest(known[name])


def _require(record: type, values: Mapping[str, Any], where: str) -> None:
    """Refuse a table that lacks a field without a default."""
    missing = [
        entry.name
        for entry in dataclasses.fields(record)
        if entry.default is MISSING
        and entry.default_factory is MISSING
        and entry.name not in values
    ]
    if missing:
        raise ConfigError(f"{where} lacks {', '.join(missing)}.", f"add it to {where.split()[0]}")


def _mistakes(manifest: CorpusManifest) -> list[str]:
    """What does not fit together, one sentence each."""
    found = []
    name = manifest.name
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]*", name):
        found.append(f"name = {name!r} is no folder name of small letters, digits, - . and _")
    if manifest.format not in FORMATS:
        found.append(f"format = {manifest.format!r} is not one of {', '.join(FORMATS)}")
    roles = [file.role for file in manifest.files]
    is_archive = manifest.format.startswith("beir-")
    expected = ["archive"] if is_archive else ["corpus", "queries", "qrels"]
    expected = expected if manifest.can_be_fetched else []
    if sorted(set(roles)) != sorted(expected) or (is_archive and len(roles) > 1):
        found.append(f"files have the roles {roles}; {manifest.format} needs {expected}")
    for each in manifest.reference:
        if not 0 < each.ndcg_10 <= 1 or not 0 <= each.recall_100 <= 1 or not each.source:
            found.append(f"reference {each.system!r} is not between 0 and 1, or has no source")
    return found + _file_mistakes(manifest)


def _file_mistakes(manifest: CorpusManifest) -> list[str]:
    found = []
    for file in manifest.files:
        if urlsplit(file.url).scheme not in ("http", "https"):
            found.append(f"url = {file.url!r} is neither http nor https")
        if (file.role == "qrels") != bool(file.split):
            found.append(f"split = {file.split!r} of {file.url}: qrels have one, others none")
        for field_name, length in (("sha256", 64), ("md5", 32)):
            digest = getattr(file, field_name)
            if digest and not re.fullmatch(rf"[0-9a-f]{{{length}}}", digest):
                found.append(f"{field_name} = {digest!r} is not {length} small hex digits")
    names = [file.file_name for file in manifest.files]
    if len(set(names)) < len(names):
        found.append(f"two files would have the same name: {', '.join(sorted(names))}")
    return found
