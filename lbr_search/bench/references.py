"""Numbers that others measured on a suite, shown only where the suite is surely the same task."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lbr_search.corpus.manifest import CorpusManifest, Reference, load_manifest
from lbr_search.corpus.suite import Suite


@dataclass(frozen=True, slots=True)
class Known:
    """What the manifest of a suite says of it."""

    task_id: str
    """Else the suite's own name."""
    references: tuple[Reference, ...] = ()
    warnings: tuple[str, ...] = ()


def known_of(suite: Suite, home: Path) -> Known:
    """The task and the reference numbers of the manifest that has the suite's name, and warnings.

    Several tasks share a name, so the number of documents and of judged queries has to be that of
    the manifest; else there are none, and a warning says why.
    """
    file = home / "corpora" / f"{suite.name}.toml"
    if not file.is_file() or suite.split != "test":
        return Known(suite.name)
    manifest = load_manifest(file)
    differences = _differences(suite, manifest)
    if differences:
        warning = (
            f"it is called like {manifest.task_id} and is not the same: {'; '.join(differences)}; "
            "reference numbers are not shown"
        )
        return Known(suite.name, (), (warning,))
    return Known(manifest.task_id, manifest.reference)


def _differences(suite: Suite, manifest: CorpusManifest) -> list[str]:
    pairs = [
        ("documents", suite.n_documents, manifest.documents),
        ("queries", len(suite.queries), manifest.queries.get("test", 0)),
    ]
    return [
        f"{here:,} {what} here, {there:,} there"
        for what, here, there in pairs
        if there and here != there
    ]
