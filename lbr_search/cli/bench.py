"""`lbr-search bench`: how well suites are searched, by every arm."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lbr_search.cli.console import show, to_stderr
from lbr_search.cli.options import (
    DEFAULT_ENCODER,
    DEFAULT_PEER,
    RERANKER_SPECS,
    home_of,
)
from lbr_search.config import MODES, ChunkConfig
from lbr_search.errors import ConfigError
from lbr_search.registry import PEERS, RERANKERS

# those of bench.speed.PARTS, which is heavy
SPEED_PARTS = ("encode", "ingest", "search", "rerank", "cold_query", "scale")
FOR_SPEED = {"--part", "--ingest-chunks"}
MEANS = "bench-means"
FULL_TABLES = 3
"""Suites up to which --markdown writes every number; more have a row each."""
PEER_NOTE = (
    f"note: the peer {DEFAULT_PEER} is left out, its packages are not installed."
    ' Add it with: pip install "lbr-search[peers]"'
)


def bench(
    context: typer.Context,
    suites: Annotated[
        list[str] | None,
        typer.Argument(
            help="Suite folders, folders of suites, or names under corpora/. None: all under"
            " corpora/.",
            metavar="SUITE",
            show_default=False,
        ),
    ] = None,
    split: Annotated[str, typer.Option(help="Which qrels: train, dev or test.")] = "test",
    mode: Annotated[
        list[str] | None,
        typer.Option(
            help=" | ".join(MODES) + "; repeat for several. Default: all. none: the arms of --run"
            " alone."
        ),
    ] = None,
    encoder: Annotated[
        list[str] | None,
        typer.Option(
            help="lbr-mini, a checkpoint folder or st:NAME; repeat for several. Default: lbr-mini"
            f" and, where installed, {DEFAULT_PEER}."
        ),
    ] = None,
    rerank: Annotated[
        list[str] | None,
        typer.Option(
            help="Rerank the hybrid arm too: "
            + " | ".join(name + RERANKER_SPECS.get(name, "") for name in RERANKERS)
            + "; repeat for several."
        ),
    ] = None,
    peer: Annotated[
        list[str] | None,
        typer.Option(
            help=f"Another search engine as an arm: {' | '.join(PEERS)}; repeat for several.",
            show_default=False,
        ),
    ] = None,
    run: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=FILE: a TREC run of another system as an arm; repeat for several. With"
            " several suites write {suite} in FILE.",
            show_default=False,
        ),
    ] = None,
    reference: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=FILE: an MTEB task result of another system, shown beside the suite that is"
            " its task; repeat for several.",
            show_default=False,
        ),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            help="Besides nDCG@10 measure only these, e.g. p@5, success@1, recall@1000, judged@10,"
            " ap; repeat for several. Default: nine measures.",
            show_default=False,
        ),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            help="Arm that every other one is compared with. Default: hybrid with lexical, reranked"
            " with not, ours with each peer.",
            show_default=False,
        ),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="File to write all numbers to.")
    ] = None,
    html_file: Annotated[
        Path | None,
        typer.Option(
            "--html", help="File to write one page to: tables, plots, the queries that differ most."
        ),
    ] = None,
    runs: Annotated[Path | None, typer.Option(help="Folder to write TREC runs to.")] = None,
    mteb: Annotated[
        Path | None, typer.Option(help="Folder to write ARM/TASK.json to, in MTEB's layout.")
    ] = None,
    markdown: Annotated[
        Path | None,
        typer.Option(
            help="File that holds <!-- bench:begin --> and <!-- bench:end -->: write the"
            " tables between them."
        ),
    ] = None,
    means: Annotated[
        Path | None,
        typer.Option(
            help="File that holds <!-- bench-means:begin --> and <!-- bench-means:end -->: write"
            " the mean of each arm between them."
        ),
    ] = None,
    chunk_tokens: Annotated[
        int, typer.Option(help="Longest chunk, in tokens; 0 = whole documents.")
    ] = 0,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Build indexes anew instead of using cached ones.")
    ] = False,
    speed: Annotated[
        bool, typer.Option("--speed", help="Measure speed and memory instead of quality.")
    ] = False,
    part: Annotated[
        list[str] | None,
        typer.Option(
            help=f"With --speed: {' | '.join(SPEED_PARTS)}; repeat for several. Default: all but"
            " scale, which takes minutes and gigabytes."
        ),
    ] = None,
    ingest_chunks: Annotated[
        int, typer.Option(help="With --speed: chunks of the ingest part.")
    ] = 2_000,
) -> None:
    """Index suites (cached), search them by every arm and report nDCG, recall and RR."""
    _check_kind(context, is_speed=speed)
    if speed:
        sizes = {"ingest_chunks": ingest_chunks, **({"parts": tuple(part)} if part else {})}
        return measure_speed(encoder or [DEFAULT_ENCODER], sizes, home_of(context), json_file)
    from lbr_search.bench.report import around_block, markdown_report, replace_block
    from lbr_search.bench.runner import run_bench
    from lbr_search.bench.suites import default_encoders
    from lbr_search.bench.summary import means_line, summary_report
    from lbr_search.cli.progress import BenchLine
    from lbr_search.cli.render import show_bench

    for file, block in ((markdown, "bench"), (means, MEANS)):
        if file is not None:
            around_block(file, name=block)  # a file without marks is told before the work
    encoders = default_encoders(encoder or [])
    if not encoder and DEFAULT_PEER not in encoders:
        to_stderr(PEER_NOTE)
    with BenchLine() as line:
        result = run_bench(
            suites or [],
            split=split,
            modes=() if mode == ["none"] else mode or MODES,
            encoders=encoders,
            home=home_of(context),
            json_path=json_file,
            html_path=html_file,
            runs_dir=runs,
            mteb_dir=mteb,
            rerankers=rerank or [],
            peers=peer or [],
            imported=run or [],
            references=reference or [],
            metrics=metric or [],
            against=against,
            chunk=ChunkConfig(chunk_tokens, overlap=chunk_tokens // 8),
            fresh=fresh,
            progress=line.update,
        )
    show_bench(
        result,
        written={"numbers": json_file, "report": html_file, "runs": runs, "MTEB results": mteb},
    )
    if markdown is not None:
        is_short = len(result.suites) <= FULL_TABLES
        replace_block(markdown, (markdown_report if is_short else summary_report)(result))
    if means is not None:
        replace_block(means, means_line(result), name=MEANS)


def _check_kind(context: typer.Context, *, is_speed: bool) -> None:
    """Refuse what the other kind of measurement takes: it would be left out unsaid.

    Raises:
        ConfigError: options of both kinds are given.
    """
    given = {
        parameter.opts[0]
        for parameter in context.command.params
        if parameter.name != "speed"
        and (source := context.get_parameter_source(parameter.name or "")) is not None
        and source.name == "COMMANDLINE"
    }
    if is_speed and (others := sorted(given - {"--encoder", "--json", *FOR_SPEED})):
        raise ConfigError(
            f"--speed measures this machine and leaves out {', '.join(others)}.",
            "give only --encoder, --json, --part and --ingest-chunks with it, or drop --speed",
        )
    if not is_speed and (others := sorted(given & FOR_SPEED)):
        raise ConfigError(f"{', '.join(others)} without --speed.", "add --speed, or leave it out")


def measure_speed(
    encoders: list[str], sizes: dict[str, Any], home: Path, json_file: Path | None
) -> None:
    """Measure speed and memory with the first encoder, and print the figures."""
    from lbr_search.bench.speed import SpeedOptions, run_speed
    from lbr_search.bench.speed_report import speed_report
    from lbr_search.cli.progress import Line

    options = SpeedOptions(**sizes)
    with Line() as line:
        result = run_speed(
            encoders[0], home=home, json_path=json_file, options=options, progress=line.say
        )
    show(speed_report(result))
    if json_file is not None:
        to_stderr(f"numbers written to {json_file}")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        name="run",
        epilog="Also: bench gate | contamination | ann | probe. Example: lbr-search bench scifact",
    )(bench)
