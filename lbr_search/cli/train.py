"""`lbr-search train`: a recipe -> an encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lbr_search.cli import ablate, train_data
from lbr_search.cli.options import JsonLines, home_of
from lbr_search.cli.train_options import (
    DataFolder,
    Generate,
    Overrides,
    OwnPairs,
    OwnText,
    RecipeName,
    RunFolder,
    generated,
    own_sources,
)

train_app = typer.Typer(
    help="Train an encoder in two stages: learn the domain, then represent it.",
    epilog="Example: lbr-search train all lbr-mini-cpu --out runs/mine --data my-data",
    no_args_is_help=True,
)


@train_app.command(epilog="Example: lbr-search train stage1 lbr-mini-cpu --out runs/mine")
def stage1(
    context: typer.Context,
    recipe: RecipeName,
    out: RunFolder,
    overrides: Overrides = None,
    data: DataFolder = Path(),
    text: OwnText = None,
    pairs: OwnPairs = None,
    generate: Generate = 0,
) -> None:
    """Learn: read the domain's text through the compression tokens."""
    own = own_sources(home_of(context), text, pairs)
    _train("stage1", recipe, out, [*(overrides or []), *generated(generate)], data, own)


@train_app.command(epilog="Example: lbr-search train stage2 lbr-mini-cpu --out runs/mine")
def stage2(
    context: typer.Context,
    recipe: RecipeName,
    out: RunFolder,
    overrides: Overrides = None,
    data: DataFolder = Path(),
    text: OwnText = None,
    pairs: OwnPairs = None,
    generate: Generate = 0,
) -> None:
    """Represent: contrastive training, from what stage 1 left in the same folder."""
    own = own_sources(home_of(context), text, pairs)
    _train("stage2", recipe, out, [*(overrides or []), *generated(generate)], data, own)


@train_app.command(
    "all", epilog="Example: lbr-search train all lbr-mini-cpu --out runs/mine --text my-notes/"
)
def both_stages(
    context: typer.Context,
    recipe: RecipeName,
    out: RunFolder,
    overrides: Overrides = None,
    data: DataFolder = Path(),
    text: OwnText = None,
    pairs: OwnPairs = None,
    generate: Generate = 0,
) -> None:
    """Both stages, one after the other."""
    own = own_sources(home_of(context), text, pairs)
    _train("all", recipe, out, [*(overrides or []), *generated(generate)], data, own)


@train_app.callback(invoke_without_command=True)
def options(
    is_benchmark: Annotated[
        bool, typer.Option("--benchmark", help="The same as the command benchmark.")
    ] = False,
) -> None:
    """Train an encoder in two stages: learn the domain, then represent it."""
    if is_benchmark:
        benchmark()


@train_app.command(epilog="Example: lbr-search train benchmark --seconds 20 --json")
def benchmark(
    seconds: Annotated[float, typer.Option(min=0.1, help="Time for each precision.")] = 10.0,
    precision: Annotated[
        list[str] | None, typer.Option(help="fp32 | bf16; repeat for both. Default: both.")
    ] = None,
    is_compiled: Annotated[bool, typer.Option("--compile", help="With torch.compile.")] = False,
    as_json: JsonLines = False,
) -> None:
    """Measure how fast this machine trains a small model on random tokens, and what bounds it."""
    from lbr_search.cli.render import show_training_speed
    from lbr_search.train import benchmark as measure

    speeds = measure.run_training_benchmark(
        seconds=seconds,
        precisions=tuple(precision or measure.PRECISIONS),
        compile_layers=is_compiled,
    )
    show_training_speed(speeds, as_json=as_json)


@train_app.command(epilog="Example: lbr-search train report runs/mine")
def report(
    run: Annotated[Path, typer.Argument(help="Folder that was given as --out.", metavar="DIR")],
    out: Annotated[
        Path | None, typer.Option(help="File to write. Default: report.html in the folder.")
    ] = None,
) -> None:
    """Draw the curves and the health of a run, finished or not, on one self-contained HTML page."""
    from lbr_search.train.report import write_report

    typer.echo(write_report(run, out))


@train_app.command(
    epilog="Example: lbr-search train average runs/a/checkpoint runs/b/checkpoint --weight 0.7"
    " --weight 0.3 --text my-notes/ --out runs/mean"
)
def average(
    checkpoints: Annotated[list[Path], typer.Argument(help="Two or more.", metavar="DIR")],
    weight: Annotated[list[float], typer.Option(help="Of each checkpoint, in their order.")],
    text: Annotated[
        list[Path], typer.Option(help="Texts as will be encoded, for the ranges of int8; repeat.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder of the encoder made.")],
) -> None:
    """Make one encoder of several runs that began alike: the mean of their weights."""
    from lbr_search.train.average import average_checkpoints

    config = average_checkpoints(checkpoints, weight, texts=text, out=out)
    typer.echo(f"{config.name}, the mean of {len(checkpoints)} checkpoints: {out}")


def _train(
    stage: str,
    recipe: str,
    out: Path,
    overrides: list[str],
    data: Path,
    own: dict[str, Any] | None,
) -> None:
    from lbr_search.cli.progress import TrainLine
    from lbr_search.cli.render import show_training
    from lbr_search.train.run import train

    with TrainLine() as line:
        report = train(
            stage,
            recipe,
            out=out,
            overrides=overrides,
            data=data,
            progress=line.update,
            own=own,
        )
    if report.is_main:
        show_training(report)


def register(app: typer.Typer) -> None:
    """Add the group."""
    for module in (train_data, ablate):
        module.register(train_app)
    app.add_typer(train_app, name="train")
