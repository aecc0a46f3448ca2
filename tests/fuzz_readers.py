"""Coverage-guided fuzzing of the readers that parse in our own code, by atheris.

    pip install -c constraints.txt atheris
    python -m tests.fuzz_readers sdf -max_total_time=60

What follows the reader's name goes to libFuzzer. A crash is written to ``crash-*`` in the working
folder and shown; the seed is the sample file of the tests. Readers whose libraries run in
processes of their own (PDF, HTML, DOCX, Arrow) are fuzzed by mutation, in test_fuzz_readers.py.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["lbr_search.corpus"]):
    from lbr_search.config import ChunkConfig
    from lbr_search.corpus.chunking import chunk_documents
    from lbr_search.corpus.each import Parse, read_one
    from lbr_search.corpus.formats import office
    from lbr_search.corpus.rejects import Rejects
    from lbr_search.protocols import CorpusReader, ReadOptions, RejectSink
    from lbr_search.registry import READERS

    for _entry in READERS.values():
        __import__(_entry.target.partition(":")[0])

from tests.conftest import HashEncoder
from tests.written import source_for

READ = (
    *("jsonl", "csv", "tsv", "json", "sqlite", "text", "pubmed", "nbib", "jats", "trials"),
    *("obo", "sdf", "compounds", "cif", "notebook", "code", "python", "archive"),
)
"""By their readers."""
PARSED = {"epub": office.parse_epub}
"""Without the process that they run in otherwise, to see their coverage."""


def seed_of(name: str, folder: Path) -> Path:
    """A good file of the kind."""
    inner = folder / "sample"
    inner.mkdir()
    source = source_for(name, inner)
    files = [source] if source.is_file() else sorted(source.rglob("*"))
    return next(f for f in files if f.is_file() and not f.name.startswith("bad"))


def main() -> None:
    """Fuzz one reader."""
    name, arguments = sys.argv[1], sys.argv[2:]
    folder = Path(tempfile.mkdtemp(prefix="lbr-fuzz-"))
    seed = seed_of(name, folder)
    corpus = folder / "corpus"
    corpus.mkdir()
    shutil.copy(seed, corpus)
    target = folder / "target" / seed.name
    target.parent.mkdir()
    parse = PARSED.get(name) or _as_parse(READERS.resolve(name))

    def attempt(data: bytes) -> None:
        target.write_bytes(data)
        documents = list(
            read_one(
                target, parse, root=target.parent, options=ReadOptions(), rejects=Rejects(None)
            )
        )
        assert len({document.doc_id for document in documents}) == len(documents)
        config = ChunkConfig(chunk_tokens=32, overlap=4)
        spans = HashEncoder().token_spans
        for chunk in chunk_documents(documents[:20], token_spans=spans, config=config):
            assert 0 <= chunk.start <= chunk.end

    atheris.Setup(
        [sys.argv[0], *arguments, "-rss_limit_mb=2500", "-timeout=20", f"{corpus}"], attempt
    )
    atheris.Fuzz()


def _as_parse(reader: CorpusReader) -> Parse:
    def parse(file: Path, options: ReadOptions, rejects: RejectSink):
        return reader(file, options=options, rejects=rejects)

    return parse


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in (*READ, *PARSED):
        sys.exit(f"name one of {', '.join((*READ, *PARSED))}, then options of libFuzzer")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
