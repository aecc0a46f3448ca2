"""`lbr-search sync`, `forget` and `reindex`: an index kept current."""

from __future__ import annotations

from pathlib import Path
from threading import Event
from typing import Annotated

import typer

from lbr_search.cli.console import to_stderr
from lbr_search.cli.options import EncoderOption, IndexFolder, JsonLines, index_path
from lbr_search.errors import ConfigError, LbrError


def sync(
    index: IndexFolder,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be done, and do nothing.")
    ] = False,
    drop: Annotated[
        Path | None,
        typer.Option(help="Give this source up: remove its documents.", show_default=False),
    ] = None,
    is_watching: Annotated[
        bool, typer.Option("--watch", help="Go on: sync whenever a file changes, until Ctrl-C.")
    ] = False,
    as_json: JsonLines = False,
) -> None:
    """Bring an index in step with its sources: only files that changed are read and encoded."""
    if is_watching:
        if dry_run or drop:
            raise ConfigError("--watch goes with neither --dry-run nor --drop.", "leave one out")
        _follow(index, as_json=as_json)
        return
    from lbr_search.cli.progress import BuildLine
    from lbr_search.cli.render_upkeep import show_sync
    from lbr_search.upkeep.sync import sync as sync_index

    with BuildLine() as line:
        report = sync_index(index, dry_run=dry_run, drop=drop, progress=line.update)
    show_sync(report, as_json=as_json)


def _follow(index: Path, *, as_json: bool) -> None:
    from lbr_search.cli.render_upkeep import show_sync
    from lbr_search.upkeep.watch import watch

    def show_error(error: LbrError) -> None:
        to_stderr(f"error: {error.message}\nfix: {error.fix}\nwaiting for a change")

    to_stderr(f"following the sources of {index}; Ctrl-C ends it")
    watch(
        index,
        on_sync=lambda report: show_sync(report, as_json=as_json),
        on_error=show_error,
        stop=Event(),
    )
    to_stderr("stopped; nothing was being written")


def forget(
    index: Annotated[
        Path, typer.Option(help="Index folder.", show_default=False, parser=index_path)
    ],
    doc_ids: Annotated[
        list[str] | None,
        typer.Argument(help="Documents to remove.", metavar="DOC_ID", show_default=False),
    ] = None,
    query: Annotated[str, typer.Option(help="Those that a search finds, instead of ids.")] = "",
    filter: Annotated[
        str | None,
        typer.Option(help="Those that pass an SQL condition; with --query, of its hits."),
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Hits of --query.")] = 10,
    checkpoints: Annotated[
        Path | None,
        typer.Option(
            help="Folder of encoders: name those that were trained on one of the documents.",
            show_default=False,
        ),
    ] = None,
    drop_snapshots: Annotated[
        bool, typer.Option("--drop-snapshots", help="Give up the snapshots, which hold them too.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Remove what --query or --filter found, unasked.")
    ] = False,
    as_json: JsonLines = False,
) -> None:
    """Remove documents from every file of an index, for good, and search the files to prove it.

    What --query or --filter find is shown first, and removed only with --yes. Sources, backups,
    run files and encoders trained on the texts are not touched; --checkpoints names the encoders.
    """
    from lbr_search.cli.render_upkeep import show_forget, show_found
    from lbr_search.upkeep.forget import find_documents
    from lbr_search.upkeep.forget import forget as forget_documents

    if doc_ids and (query or filter):
        raise ConfigError("DOC_ID goes with neither --query nor --filter.", "leave one out")
    if not doc_ids:
        found = find_documents(index, query=query, filter=filter, k=k)
        if not (as_json and yes):  # then the report alone is the output
            show_found(found, as_json=as_json)
        if not found or not yes:
            to_stderr("nothing was removed" + ("; --yes removes them" if found else ""))
            return
        doc_ids = [document.doc_id for document in found]
    report = forget_documents(
        index, doc_ids, checkpoints=checkpoints, drop_snapshots=drop_snapshots
    )
    show_forget(report, as_json=as_json)


def reindex(
    index: IndexFolder,
    encoder: EncoderOption = None,
    take_back: Annotated[
        bool, typer.Option("--take-back", help="Go back to the encoder before.")
    ] = False,
    drop_old: Annotated[
        bool, typer.Option("--drop-old", help="Remove the state of the encoder before.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Swap whatever the comparison says.")
    ] = False,
    as_json: JsonLines = False,
) -> None:
    """Give an index another encoder, from its stored texts; it is searched all the while.

    The new state is compared with the present one and then takes its place in one step; the
    old one is kept for --take-back until --drop-old. A stopped run goes on.
    """
    from lbr_search.cli.progress import BuildLine
    from lbr_search.cli.render_upkeep import show_reindex, show_state
    from lbr_search.encoder.load import load_encoder
    from lbr_search.upkeep.reindex import change_state, one_of
    from lbr_search.upkeep.reindex import reindex as reindex_index

    one_of(encoder=encoder is not None, take_back=take_back, drop_old=drop_old)
    if encoder is None:
        show_state(index, change_state(index, take_back=take_back), is_back=take_back)
        return
    with BuildLine() as line:
        report = reindex_index(index, load_encoder(encoder), force=force, progress=line.update)
    show_reindex(report, as_json=as_json)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(epilog="Example: lbr-search sync indexes/papers --dry-run")(sync)
    app.command(epilog="Example: lbr-search forget papers/17.pdf --index indexes/papers")(forget)
    app.command(epilog="Example: lbr-search reindex indexes/papers --encoder runs/mine")(reindex)
