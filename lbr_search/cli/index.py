"""`lbr-search index`: what an index holds, and whether it is whole."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lbr_search.cli.console import show_json
from lbr_search.cli.options import EncoderOption, IndexFolder, JsonLines, index_path

index_app = typer.Typer(
    help="Look at an index, or check it.",
    epilog="Example: lbr-search index info indexes/medical",
    no_args_is_help=True,
)


@index_app.command(epilog="Example: lbr-search index info indexes/medical")
def info(folder: IndexFolder, as_json: JsonLines = False) -> None:
    """Show what an index holds, who encoded it, and how well its vector index recalls."""
    from lbr_search.cli.render import show_nested
    from lbr_search.index.info import index_info

    found = index_info(folder)
    if as_json:
        show_json(found)
    else:
        show_nested(found)


@index_app.command(epilog="Example: lbr-search index verify indexes/medical --repair")
def verify(
    folder: IndexFolder,
    repair: Annotated[
        bool, typer.Option("--repair", help="Build anew what the table of texts can give.")
    ] = False,
    golden: Annotated[
        bool, typer.Option("--golden", help="Load the encoder, compare its golden vectors.")
    ] = False,
) -> None:
    """Check every file and row of an index against what was published; exit 1 if it differs."""
    from lbr_search.cli.render_upkeep import show_repair, show_verification
    from lbr_search.index.verify import repair_index, verify_index
    from lbr_search.upkeep.reindex import sealed_encoder

    encoder = sealed_encoder(folder) if golden else None
    found = verify_index(folder, encoder=encoder)
    if repair and found.problems:
        repair_index(folder)
        show_repair(found)
        found = verify_index(folder, encoder=encoder)
    show_verification(folder, found)


@index_app.command(epilog="Example: lbr-search index export indexes/medical medical.parquet")
def export(
    folder: IndexFolder,
    file: Annotated[Path, typer.Argument(help="Parquet file to write.", metavar="FILE")],
    vectors: Annotated[bool, typer.Option(help="With the vector of each chunk.")] = True,
) -> None:
    """Write all chunks of an index with their metadata and vectors into one Parquet file."""
    from lbr_search.cli.render import show_pairs
    from lbr_search.index.export import export_index

    written = export_index(folder, file, vectors=vectors)
    show_pairs({str(file): f"{written.n_rows:,} rows, {written.size_bytes / 1e6:.1f} MB"})


@index_app.command(epilog="Example: lbr-search index duplicates indexes/medical")
def duplicates(
    folder: IndexFolder,
    threshold: Annotated[
        float, typer.Option(help="Share of their runs of five words that two have in common.")
    ] = 0.8,
    as_json: JsonLines = False,
) -> None:
    """List documents that nearly repeat an earlier one; a query folds them with --dedupe."""
    from lbr_search.cli.console import to_stderr
    from lbr_search.cli.render import show_records
    from lbr_search.upkeep.duplicates import near_duplicate_groups

    groups = near_duplicate_groups(folder, threshold=threshold)
    rows = [
        {"document": first, "near duplicates": f"{len(later)}", "ids": ", ".join(later)}
        for first, later in groups.items()
    ]
    show_records(rows, as_json=as_json)
    n_later = sum(map(len, groups.values()))
    to_stderr(f"{n_later:,} documents nearly repeat one of {len(groups):,} others")


@index_app.command(
    "import", epilog="Example: lbr-search index import medical.parquet indexes/medical-copy"
)
def import_(
    file: Annotated[Path, typer.Argument(help="What `index export` wrote.", metavar="FILE")],
    folder: Annotated[
        Path,
        typer.Argument(help="New folder, or s3://BUCKET/PATH.", metavar="INDEX", parser=index_path),
    ],
    encoder: EncoderOption = None,
) -> None:
    """Make an index of an exported file; with its own encoder nothing is encoded."""
    from lbr_search.cli.progress import BuildLine
    from lbr_search.cli.render import show_pairs
    from lbr_search.encoder.load import load_encoder
    from lbr_search.index.export import import_index, read_export_seal

    opened = load_encoder(encoder or read_export_seal(file).encoder_spec)
    with BuildLine() as line:
        report = import_index(file, folder, encoder=opened, progress=line.update)
    show_pairs(
        {
            str(folder): f"{report.n_documents:,} documents, {report.n_chunks:,} chunks, "
            f"{report.n_encoded:,} encoded; it has no sources to sync with"
        }
    )


SnapshotName = Annotated[str, typer.Argument(help="Of the snapshot.", metavar="NAME")]


@index_app.command(epilog="Example: lbr-search index snapshot indexes/medical before-merge")
def snapshot(folder: IndexFolder, name: SnapshotName) -> None:
    """Keep the state of an index under a name, to go back to with `index restore`."""
    from lbr_search.cli.render import show_pairs
    from lbr_search.upkeep.snapshots import take_snapshot

    kept = take_snapshot(folder, name).manifest
    show_pairs({name: f"{kept.n_documents:,} documents, generation {kept.generation}"})


@index_app.command(epilog="Example: lbr-search index snapshots indexes/medical")
def snapshots(folder: IndexFolder, as_json: JsonLines = False) -> None:
    """List the states of an index that were kept."""
    from lbr_search.cli.render import show_records
    from lbr_search.upkeep.snapshots import list_snapshots

    rows = [
        {
            "name": kept.name,
            "created": kept.manifest.created,
            "documents": f"{kept.manifest.n_documents}",
            "encoder": kept.manifest.seal.encoder_name,
            "can be restored": "yes" if kept.is_reachable else "no",
        }
        for kept in list_snapshots(folder)
    ]
    show_records(rows, as_json=as_json)


@index_app.command(epilog="Example: lbr-search index restore indexes/medical before-merge")
def restore(folder: IndexFolder, name: SnapshotName) -> None:
    """Make an index what it was; `sync` brings it in step with its sources again."""
    from lbr_search.cli.render import show_pairs
    from lbr_search.upkeep.snapshots import restore_snapshot

    now = restore_snapshot(folder, name)
    show_pairs({str(folder): f"{now.n_documents:,} documents, generation {now.generation}"})


@index_app.command(epilog="Example: lbr-search index drop indexes/medical before-merge")
def drop(folder: IndexFolder, name: SnapshotName) -> None:
    """Give a snapshot up; what only it needs goes with a later tidying."""
    from lbr_search.upkeep.snapshots import drop_snapshot

    drop_snapshot(folder, name)


def register(app: typer.Typer) -> None:
    """Add the group."""
    app.add_typer(index_app, name="index")
