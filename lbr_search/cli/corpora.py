"""`lbr-search corpora`: what is here, what can be fetched, whether it is whole."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lbr_search.cli.options import (
    DEFAULT_ENCODER,
    EncoderOption,
    IndexFolder,
    JsonLines,
    home_of,
)

corpora_app = typer.Typer(
    help="List, fetch and check corpora.",
    epilog="Example: lbr-search corpora list",
    no_args_is_help=True,
)


@corpora_app.command("list", epilog="Example: lbr-search corpora list")
def list_corpora(context: typer.Context, as_json: JsonLines = False) -> None:
    """Show the corpora under corpora/ and the public suites that can be fetched."""
    from lbr_search.cli.corpus_folders import list_known
    from lbr_search.cli.render import show_records

    show_records([known.row() for known in list_known(home_of(context))], as_json=as_json)


@corpora_app.command(epilog="Example: lbr-search corpora fetch scifact")
def fetch(
    context: typer.Context,
    names: Annotated[list[str], typer.Argument(help="Names from `corpora list`.", metavar="NAME")],
) -> None:
    """Download public suites into corpora/, check and unpack them; a stopped download goes on."""
    from lbr_search.cli.progress import FetchLine
    from lbr_search.cli.render import show_fetch
    from lbr_search.corpus.fetch import fetch as fetch_suite
    from lbr_search.corpus.manifest import find_manifest

    home = home_of(context)
    for manifest in [find_manifest(name, home) for name in names]:
        with FetchLine(manifest.name) as line:
            report = fetch_suite(manifest, into=home / "corpora", progress=line.update)
        show_fetch(report)


@corpora_app.command(epilog="Example: lbr-search corpora check medical")
def check(
    context: typer.Context,
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Names or folders. None: all under corpora/.", metavar="NAME", show_default=False
        ),
    ] = None,
    as_json: JsonLines = False,
) -> None:
    """Read corpora through and compare them with their manifests; exit 1 if one is not whole."""
    from lbr_search.cli.corpus_folders import check_all, refuse_broken
    from lbr_search.cli.render import show_records

    reports = check_all(names or [], home_of(context))
    show_records([report.row() for report in reports], as_json=as_json)
    refuse_broken(reports)


@corpora_app.command(epilog="Example: lbr-search corpora add ~/my-suite --name my-suite")
def add(
    context: typer.Context,
    sources: Annotated[
        list[str],
        typer.Argument(
            help="BEIR folder; ids of ir_datasets, e.g. ir:beir/scifact/test, one a split; or, with"
            " --topics and --qrels, documents of any kind that can be ingested.",
            metavar="SOURCE...",
        ),
    ],
    name: Annotated[str, typer.Option(help="What to call it.")],
    domain: Annotated[str, typer.Option(help="E.g. medical. Default: as its SOURCE.json.")] = "",
    licence: Annotated[str, typer.Option(help="Of its texts.")] = "",
    topics: Annotated[
        Path | None, typer.Option(help="TREC topics: SGML, XML, or number-tab-query lines.")
    ] = None,
    topic_field: Annotated[
        str, typer.Option(help="What of a topic asks, e.g. title+description. Default: its title.")
    ] = "",
    qrels: Annotated[Path | None, typer.Option(help="TREC qrels, with --topics.")] = None,
    split: Annotated[str, typer.Option(help="What --qrels judge.")] = "test",
) -> None:
    """Check an own suite and put it into corpora/ as a BEIR folder, so that it is known by name."""
    from lbr_search.cli.console import to_stderr
    from lbr_search.cli.corpus_folders import Trec, as_beir
    from lbr_search.corpus.add import add_corpus

    home = home_of(context)
    given = Trec(topics, qrels, topic_field, split)
    with as_beir(sources, given, home=home, say=to_stderr) as folder:
        report = add_corpus(
            folder, name=name, into=home / "corpora", domain=domain, licence=licence
        )
    queries = ", ".join(f"{split} {n}" for split, n in report.n_queries.items()) or "none"
    to_stderr(f"{report.folder}: {report.n_documents:,} documents; queries: {queries}")


@corpora_app.command(epilog="Example: lbr-search corpora export my-suite --out trec/")
def export(
    context: typer.Context,
    suite: Annotated[str, typer.Argument(help="Name under corpora/, or folder of a suite.")],
    out: Annotated[Path, typer.Option(help="Folder for topics.tsv and SPLIT.qrels.")],
) -> None:
    """Write the queries and judgements of a suite as TREC topics and qrels, for other tools."""
    from lbr_search.bench.trec_io import write_suite
    from lbr_search.cli.console import to_stderr

    written = write_suite(suite, out, home=home_of(context))
    to_stderr(f"{out}: topics.tsv, {', '.join(written)}")


@corpora_app.command(
    epilog="Example: lbr-search corpora make indexes/hospital --name hospital-made"
)
def make(
    context: typer.Context,
    index: IndexFolder,
    name: Annotated[str, typer.Option(help="What to call the suite.")],
    queries: Annotated[int, typer.Option(min=1, help="Most queries.")] = 500,
    seed: Annotated[int, typer.Option(help="Of the choice of documents.")] = 0,
) -> None:
    """Make a synthetic suite: titles, headings, docstrings and definitions ask for their rest."""
    from lbr_search.bench.known_items import make_suite
    from lbr_search.cli.console import to_stderr

    into = home_of(context) / "corpora"
    made = make_suite(index, name=name, into=into, n_queries=queries, seed=seed)
    kinds = ", ".join(f"{kind} {n}" for kind, n in made.by_kind.items())
    to_stderr(
        f"{made.folder}: {made.n_documents:,} documents; synthetic queries: {kinds};"
        f" {made.n_repeated} not asked, for another document has the same"
    )


@corpora_app.command(epilog="Example: lbr-search corpora speed --reader pdf --reader jsonl")
def speed(
    context: typer.Context,
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            help="Sources of your own. None: a sample of each format.",
            metavar="SOURCE",
            show_default=False,
        ),
    ] = None,
    reader: Annotated[
        list[str] | None, typer.Option(help="Sample of this reader alone; may be repeated.")
    ] = None,
    encoder: EncoderOption = DEFAULT_ENCODER,
    as_json: JsonLines = False,
) -> None:
    """Measure how fast sources are read and cut, beside how fast the encoder takes them."""
    from lbr_search.bench.reader_speed import measure_readers
    from lbr_search.cli.render_upkeep import show_reader_speeds
    from lbr_search.encoder.load import load_encoder

    opened = load_encoder(encoder or DEFAULT_ENCODER)
    speeds = measure_readers(
        opened, readers=reader or (), sources=sources or (), home=home_of(context)
    )
    show_reader_speeds(speeds, as_json=as_json)


def register(app: typer.Typer) -> None:
    """Add the group."""
    app.add_typer(corpora_app, name="corpora")
