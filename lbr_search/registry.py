"""The only list of implementations: name -> "module:attribute". Listing imports nothing.

Help texts, "known names" in errors and the contract tests all read these tables.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lbr_search.errors import ConfigError, MissingExtraError


@dataclass(frozen=True, slots=True)
class Entry:
    """Where an implementation lives, what it is in one line, and the extra it needs."""

    target: str
    about: str
    extra: str | None = None


class Registry(Mapping[str, Entry]):
    """Names of one kind of implementation, resolved on first use."""

    def __init__(self, kind: str, entries: dict[str, Entry]) -> None:
        self.kind = kind
        self._entries = entries

    def __getitem__(self, name: str) -> Entry:
        """The entry of `name`."""
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        """Names in the order listed."""
        return iter(self._entries)

    def __len__(self) -> int:
        """How many names."""
        return len(self._entries)

    def resolve(self, name: str) -> Any:  # noqa: ANN401 - the callers know the Protocol
        """Import and return the implementation called `name`.

        Raises:
            ConfigError: no such name.
            MissingExtraError: its package is not installed.
        """
        if name not in self._entries:
            raise ConfigError(
                f"unknown {self.kind} {name!r}; known: {', '.join(self._entries)}.",
                nearest(name, self._entries),
            )
        entry = self._entries[name]
        module_name, _, attribute = entry.target.partition(":")
        try:
            return getattr(importlib.import_module(module_name), attribute)
        except ModuleNotFoundError as error:
            if entry.extra is None or (error.name or "").startswith("lbr_search"):
                raise
            raise MissingExtraError(
                f"{self.kind} {name!r} needs the package {error.name!r}, which is not installed.",
                f'pip install "lbr-search[{entry.extra}]"',
            ) from error


def nearest(name: str, known: Mapping[str, object] | list[str]) -> str:
    """The fix for a misspelt name: the nearest known one, or the list.

    >>> nearest("fais", ["faiss", "lancedb"])
    'use faiss'
    """
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"use {close[0]}" if close else f"use one of {', '.join(known)}"


BACKENDS = Registry(
    "index backend",
    {
        "exact": Entry("lbr_search.index.exact:ExactIndex", "numpy, every row; the oracle"),
        "faiss": Entry("lbr_search.index.faiss_index:FaissIndex", "FAISS flat, IVF-SQ8, HNSW"),
        "lancedb": Entry("lbr_search.index.lance_index:LanceIndex", "LanceDB flat, IVF, HNSW"),
    },
)

ENCODERS = Registry(
    "encoder kind",
    {
        "lbr": Entry("lbr_search.encoder.lbr:LbrEncoder", "a trained LBR checkpoint folder"),
        "st": Entry(
            "lbr_search.encoder.peer:SentenceTransformerEncoder",
            "any sentence-transformers folder or packaged model",
            extra="peers",
        ),
    },
)

READERS = Registry(
    "corpus reader",
    {
        "beir": Entry("lbr_search.corpus.readers:read_beir", "BEIR folder: corpus.jsonl[.gz]"),
        "jsonl": Entry("lbr_search.corpus.readers:read_jsonl", "one JSON object a line"),
        "csv": Entry("lbr_search.corpus.tables:read_csv", "table with a header, comma"),
        "tsv": Entry("lbr_search.corpus.tables:read_tsv", "table with a header, tab"),
        "parquet": Entry("lbr_search.corpus.tables:read_parquet", "Parquet file"),
        "json": Entry("lbr_search.corpus.formats.json_files:read_json_array", "array of objects"),
        "arrow": Entry(
            "lbr_search.corpus.formats.columnar:read_arrow", "Arrow file, or saved HF dataset"
        ),
        "sqlite": Entry("lbr_search.corpus.formats.columnar:read_sqlite", "SQLite database"),
        "sql": Entry(
            "lbr_search.corpus.formats.sql:read_sql", "query of a database, .sql.toml", extra="sql"
        ),
        "text": Entry("lbr_search.corpus.readers:read_text_folder", ".txt, .md, by headings"),
        "files": Entry("lbr_search.corpus.files:read_files", "folder of any of these, repository"),
        "archive": Entry(
            "lbr_search.corpus.formats.archive:read_archive", ".zip or .tar of any of these"
        ),
        "pubmed": Entry(
            "lbr_search.corpus.formats.pubmed:read_pubmed", "MEDLINE XML, deletions", extra="docs"
        ),
        "nbib": Entry("lbr_search.corpus.formats.pubmed:read_nbib", "PubMed's .nbib export"),
        "jats": Entry(
            "lbr_search.corpus.formats.jats:read_jats", "JATS full text, .nxml", extra="docs"
        ),
        "trials": Entry("lbr_search.corpus.formats.trials:read_trials", "ClinicalTrials.gov JSON"),
        "obo": Entry("lbr_search.corpus.formats.obo:read_obo", "OBO ontology"),
        "sdf": Entry("lbr_search.corpus.formats.chemistry:read_sdf", "SDF or MOL file"),
        "compounds": Entry(
            "lbr_search.corpus.formats.chemistry:read_compounds", "table of SMILES or InChI"
        ),
        "cif": Entry("lbr_search.corpus.formats.cif:read_cif", "CIF headers"),
        "pdf": Entry("lbr_search.corpus.formats.pdf:read_pdf", "PDF text", extra="docs"),
        "html": Entry("lbr_search.corpus.formats.html:read_html", "HTML main text", extra="docs"),
        "docx": Entry("lbr_search.corpus.formats.office:read_docx", "Word .docx", extra="docs"),
        "epub": Entry("lbr_search.corpus.formats.office:read_epub", "EPUB book", extra="docs"),
        "notebook": Entry("lbr_search.corpus.formats.json_files:read_notebook", "Jupyter notebook"),
        "code": Entry(
            "lbr_search.corpus.code.reader:read_code", "source code, 13 languages", extra="code"
        ),
        "python": Entry("lbr_search.corpus.python_source:read_python_tree", "Python source tree"),
        "python-stdlib": Entry("lbr_search.corpus.demo:read_stdlib", "this Python's own library"),
    },
)

PEERS = Registry(
    "peer",
    {
        "bm25s": Entry("lbr_search.bench.peers.bm25s_peer:Bm25sPeer", "bm25s at its defaults"),
        "faiss": Entry(
            "lbr_search.bench.peers.faiss_peer:FaissPeer", "raw FAISS flat over our vectors"
        ),
        "lancedb": Entry(
            "lbr_search.bench.peers.lancedb_peer:LancedbPeer", "raw LanceDB over our vectors"
        ),
    },
)
"""Other search engines, made as `Class()`."""

RERANKERS = Registry(
    "reranker",
    {
        "maxsim": Entry("lbr_search.rerank.maxsim:MaxSim", "stored vectors against the query's"),
        "likelihood": Entry(
            "lbr_search.rerank.likelihood:Likelihood", "log p(query | stored vectors)"
        ),
        "cross-encoder": Entry(
            "lbr_search.rerank.cross_encoder:CrossEncoderReranker",
            "a Hugging Face cross-encoder, cross-encoder:FOLDER",
            extra="peers",
        ),
        "llm": Entry(
            "lbr_search.rerank.llm:LlmReranker",
            "a language model at an OpenAI-compatible endpoint, llm:MODEL@URL",
        ),
    },
)
"""Made as `Class(encoder of the index, argument)`; the argument stands behind a colon."""
