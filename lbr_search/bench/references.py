"""Numbers that others measured on a suite, shown only where the suite is surely the same task."""

from __future__ import annotations

from pathlib import Path

from lbr_search.corpus.manifest import CorpusManifest, Reference, load_manifest
from lbr_search.corpus.suite import Suite


def references_of(suite: Suite, home: Path) -> tuple[tuple[Reference, ...], list[str]]:
    """The reference numbers of the manifest that has the suite's name, and warnings.

    Several tasks share a name, so the number of documents and of judged queries has to be that of
    the manifest; else there are none, and a warning says why.
    """
    file = home / "corpora" / f"{suite.name}.toml"
    if not file.is_file() or suite.split != "test":
        return (), []
    manifest = load_manifest(file)
    differences = _differences(suite, manifest)
    if differences:
        return (), [
            f"it is called like {manifest.task_id} and is not the same: {'; '.join(differences)}; "
            "reference numbers are not shown"
        ]
    return manifest.reference, []


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
