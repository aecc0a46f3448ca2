"""The corpora of a home: those that are here, and those that a manifest could bring."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from lbr_search.bench.trec_io import read_qrels
from lbr_search.corpus.check import check
from lbr_search.corpus.convert import IR_PREFIX, convert_ir_datasets, convert_trec, only_known
from lbr_search.corpus.demo import READER
from lbr_search.corpus.manifest import (
    CorpusManifest,
    find_manifest,
    load_manifest,
    shipped_manifests,
)
from lbr_search.corpus.rejects import Rejects
from lbr_search.corpus.sources import (
    resolve_source,
    shipped_corpora,
    source_domain,
    source_record,
)
from lbr_search.corpus.suite import discover_suites, load_suite
from lbr_search.corpus.topics import read_topics
from lbr_search.errors import CorpusError


@dataclass(frozen=True, slots=True)
class KnownCorpus:
    """A corpus that `lbr-search` knows by name."""

    name: str
    state: str
    """shipped, fetched, here (put there by the user, or made), can be fetched (and whether
    unverified), or can be added."""
    domain: str
    licence: str
    where: str

    def row(self) -> dict[str, str]:
        """Column -> text."""
        return {
            "name": self.name,
            "state": self.state,
            "domain": self.domain,
            "licence": self.licence,
            "where": self.where,
        }


@dataclass(frozen=True, slots=True)
class CheckedCorpus:
    """The outcome of reading one corpus through."""

    folder: Path
    n_documents: int
    n_queries: dict[str, int]
    problems: tuple[str, ...]
    notes: tuple[str, ...]

    def row(self) -> dict[str, str]:
        """Column -> text."""
        return {
            "corpus": str(self.folder),
            "documents": f"{self.n_documents}",
            "queries": ", ".join(f"{split} {n}" for split, n in self.n_queries.items()),
            "whole": "no" if self.problems else "yes",
            "notes": "; ".join((*self.problems, *self.notes)),
        }


@dataclass(frozen=True, slots=True)
class Trec:
    """The files that make a suite of documents without queries."""

    topics: Path | None
    qrels: Path | None
    field: str
    """As for `topics.read_topics`."""
    split: str


@contextmanager
def as_beir(
    sources: Sequence[str], trec: Trec, *, home: Path, say: Callable[[str], None]
) -> Iterator[Path]:
    """A BEIR folder of what was named: itself, or converted, which is removed afterwards.

    Args:
        sources: one BEIR folder or source of documents, or ids of ir_datasets.
        trec: topics and qrels, both or none.
        home: whose corpora are known by name; the converted suite is written there.
        say: told what could not become a document.

    Raises:
        CorpusError: the arguments do not belong together, or something cannot be read.
        MissingExtraError: ir_datasets is asked for and not installed.
    """
    is_ir = [name.startswith(IR_PREFIX) for name in sources]
    is_trec = trec.topics is not None and trec.qrels is not None
    if (trec.topics is None) != (trec.qrels is None) or (is_trec and any(is_ir)):
        raise CorpusError(
            "TREC topics, TREC qrels and their documents make a suite together.",
            "lbr-search corpora add DOCUMENTS --topics FILE --qrels FILE --name NAME",
        )
    if not all(is_ir) and len(sources) > 1:
        raise CorpusError(
            f"{len(sources)} sources make no suite: {', '.join(sources)}.",
            "give one folder, or only ids of ir_datasets that share their documents",
        )
    if not is_trec and not any(is_ir):
        yield Path(sources[0])
        return
    (home / "corpora").mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".adding-", dir=home / "corpora") as name:
        folder = Path(name)
        if is_trec:
            assert trec.topics is not None and trec.qrels is not None
            queries = read_topics(trec.topics, field=trec.field)
            qrels = only_known(read_qrels(trec.qrels), queries, say=say)
            source = resolve_source(sources[0], home)
            with Rejects(None) as rejects:
                convert_trec(
                    source, folder, queries=queries, qrels={trec.split: qrels}, rejects=rejects
                )
            for reason, n in rejects.by_reason.items():
                say(f"{n:,} documents left out: {reason}")
        else:
            convert_ir_datasets([n.removeprefix(IR_PREFIX) for n in sources], folder, say=say)
        yield folder


def list_known(home: Path) -> list[KnownCorpus]:
    """Shipped corpora, then what else is under corpora/, then manifests not fetched yet.

    Raises:
        CorpusError: the home has no corpora/.
        ConfigError: a manifest is wrong.
    """
    manifests = {name: load_manifest(path) for name, path in shipped_manifests(home).items()}
    shipped = shipped_corpora(home) if (home / "corpora" / "demo").is_dir() else {}
    own = [path for path in discover_suites(home / "corpora") if path not in shipped.values()]
    known = [_known(path, "shipped") for path in shipped.values()]
    known += [_known(path, "fetched" if path.name in manifests else "here") for path in own]
    here = {path.name for path in own}
    known += [
        KnownCorpus(name, _state(found), found.domain, found.licence, found.source_page)
        for name, found in manifests.items()
        if name not in here
    ]
    return known


def _state(manifest: CorpusManifest) -> str:
    if not manifest.can_be_fetched:
        return "can be added"
    return "can be fetched" if manifest.has_digests else "can be fetched, unverified (no sha256)"


def check_all(names: Sequence[str], home: Path) -> list[CheckedCorpus]:
    """Check corpora by name or folder; none given = all that are under corpora/.

    Raises:
        CorpusError: a name is neither a folder nor a corpus that is here.
    """
    folders = [_find(name, home) for name in names] or discover_suites(home / "corpora")
    return [_check(folder, home) for folder in folders]


def refuse_broken(reports: Sequence[CheckedCorpus]) -> None:
    """Fail if a corpus is not whole.

    Raises:
        CorpusError: names all such corpora.
    """
    broken = [report for report in reports if report.problems]
    if broken:
        raise CorpusError(
            "\n".join(f"{r.folder}: {'; '.join(r.problems)}" for r in broken) + ".",
            f"correct the files, or remove {broken[0].folder} and fetch it again",
        )


def _known(folder: Path, state: str) -> KnownCorpus:
    record = source_record(folder)
    licence = str(record.get("licence", ""))
    return KnownCorpus(folder.name, state, source_domain(folder, record), licence, str(folder))


def _find(name: str, home: Path) -> Path:
    candidates = [Path(name), home / "corpora" / name, home / "corpora" / "demo" / name]
    folder = next((path for path in candidates if path.is_dir()), None)
    if folder is not None:
        return folder
    manifest = find_manifest(name, home)
    raise CorpusError(
        f"{manifest.name} is not here: {home / 'corpora' / manifest.name} does not exist.",
        f"lbr-search corpora fetch {manifest.name}",
    )


def _check(folder: Path, home: Path) -> CheckedCorpus:
    if source_record(folder).get("reader") == READER:
        suite = load_suite(folder, home=home)
        queries = {suite.split: len(suite.queries)}
        return CheckedCorpus(folder, suite.n_documents, queries, (), tuple(suite.warnings))
    manifests = shipped_manifests(home) if (home / "corpora").is_dir() else {}
    own = manifests.get(folder.name) if folder.parent == home / "corpora" else None
    report = check(folder, load_manifest(own) if own else None)
    problems, notes = tuple(report.problems), tuple(report.notes)
    return CheckedCorpus(folder, report.n_documents, report.n_queries, problems, notes)
