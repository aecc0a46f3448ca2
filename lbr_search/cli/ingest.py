"""`lbr-search ingest`: sources -> indexes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lbr_search.cli.console import to_stderr
from lbr_search.cli.options import DEFAULT_ENCODER, EncoderOption, JsonLines, home_of, index_path
from lbr_search.config import ANN_KINDS, ChunkConfig, IndexConfig
from lbr_search.errors import CorpusError
from lbr_search.registry import BACKENDS, READERS

if TYPE_CHECKING:
    from lbr_search.ingest import IngestOptions

SHIPPED = ("medical", "chemistry", "code")

Column = str | None
INDEX = IndexConfig()
CHUNK = ChunkConfig()


def ingest(
    context: typer.Context,
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            help="File, folder or repository of any known kind (see --reader), or the name of a"
            " shipped corpus. None: the three shipped corpora.",
            metavar="SOURCE",
            show_default=False,
        ),
    ] = None,
    index: Annotated[
        Path | None,
        typer.Option(
            help="Index folder, or s3://BUCKET/PATH, for all sources. Default: indexes/NAME for"
            " each source.",
            parser=index_path,
        ),
    ] = None,
    domain: Annotated[
        str | None, typer.Option(help="medical, chemistry, code or any name; sets the analyser.")
    ] = None,
    encoder: EncoderOption = DEFAULT_ENCODER,
    backend: Annotated[str, typer.Option(help=" | ".join(BACKENDS) + ".")] = INDEX.backend,
    ann: Annotated[
        str, typer.Option(help=" | ".join(ANN_KINDS) + "; auto goes by size.")
    ] = INDEX.ann,
    multi_vector: Annotated[
        bool,
        typer.Option(
            "--multi-vector", help="Keep the encoder's k vectors of each chunk, for --rerank."
        ),
    ] = INDEX.multi_vector,
    chunk_tokens: Annotated[
        int, typer.Option(help="Longest chunk, in tokens; 0 = whole documents.")
    ] = CHUNK.chunk_tokens,
    overlap: Annotated[
        int | None, typer.Option(help="Tokens repeated from the chunk before.", show_default=False)
    ] = None,
    id_column: Annotated[Column, typer.Option(help="Column of the document id.")] = None,
    title_column: Annotated[Column, typer.Option(help="Column of the title.")] = None,
    text_column: Annotated[Column, typer.Option(help="Column of the text.")] = None,
    reader: Annotated[
        Column, typer.Option(help=" | ".join(READERS) + ". Default: by the file.")
    ] = None,
    delete: Annotated[
        bool, typer.Option("--delete", help="Remove documents that the sources no longer hold.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at the first line that cannot be read.")
    ] = False,
    as_json: JsonLines = False,
) -> None:
    """Read, chunk, encode and index documents; those that did not change are left alone."""
    from lbr_search.cli.progress import IngestLine
    from lbr_search.cli.render import show_ingest
    from lbr_search.encoder.load import load_encoder
    from lbr_search.ingest import IngestOptions, build_index
    from lbr_search.protocols import ReadOptions

    home = home_of(context)
    read = ReadOptions(id_column, title_column, text_column, domain or "")
    options = IngestOptions(read, reader, home, delete_missing=delete, strict=strict)
    jobs = plan(sources or SHIPPED, index, options)
    opened = load_encoder(encoder or DEFAULT_ENCODER)
    for folder, names in jobs.items():
        to_stderr(f"{', '.join(names)} -> {folder}")
        with IngestLine() as line:
            report = build_index(
                names,
                folder,
                encoder=opened,
                chunk=chunk_config(chunk_tokens, overlap),
                config=IndexConfig(backend=backend, ann=ann, multi_vector=multi_vector),
                options=options,
                progress=line.update,
            )
        show_ingest(report, as_json=as_json)


def plan(
    sources: Sequence[str], index: Path | None, options: IngestOptions
) -> dict[Path, list[str]]:
    """Which sources go into which index: all into one, or each into indexes/NAME.

    Raises:
        CorpusError: a source is not found, or two would share an index by their names.
    """
    from lbr_search.corpus.sources import resolve_source

    if index is not None:
        return {index: list(sources)}
    jobs: dict[Path, list[str]] = {}
    for source in sources:
        name = resolve_source(source, options.home, reader=options.reader).name
        folder = options.home / "indexes" / name
        if folder in jobs:
            raise CorpusError(
                f"{jobs[folder][0]} and {source} would both go into {folder}.",
                "give --index DIR to put them into one index, or ingest them one at a time",
            )
        jobs[folder] = [source]
    return jobs


def chunk_config(chunk_tokens: int, overlap: int | None) -> ChunkConfig:
    """Chunk settings; an overlap that was not given fits small chunks too."""
    if overlap is None:
        overlap = min(CHUNK.overlap, chunk_tokens // 8)
    return ChunkConfig(chunk_tokens=chunk_tokens, overlap=overlap)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        epilog="Example: lbr-search ingest notes.jsonl --index indexes/notes --domain medical"
    )(ingest)
