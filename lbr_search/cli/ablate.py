"""`lbr-search train ablate`: does stage 1 help? Every control, the same budget, one table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lbr_search.cli.console import show, to_stderr
from lbr_search.cli.options import home_of
from lbr_search.cli.train_options import (
    DataFolder,
    Overrides,
    OwnPairs,
    OwnText,
    RecipeName,
    own_sources,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lbr_search.bench.ablation import Arm
    from lbr_search.corpus.suite import Suite
    from lbr_search.train.ablate import ArmRun, Plan

ALL_ARMS = "base,cl-last,cl,cpt-cl,lbr,lbr-no-gen,lbr-recon"  # train.ablate.ARMS, which is heavy


def ablate(
    context: typer.Context,
    recipe: RecipeName,
    out: Annotated[Path, typer.Option("--out", help="Folder; an unfinished ablation goes on.")],
    suites: Annotated[
        list[str],
        typer.Option(help="Suite whose dev queries are measured, or a folder of them; repeat."),
    ],
    arms: Annotated[str, typer.Option(help="What to train, separated by commas.")] = ALL_ARMS,
    variants: Annotated[
        list[str] | None,
        typer.Option(
            "--variant",
            metavar="NAME:SECTION.KEY=VALUE",
            help="A further arm, and a setting in which it differs from the recipe; repeat.",
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each arm.")] = 3,
    overrides: Overrides = None,
    data: DataFolder = Path(),
    text: OwnText = None,
    pairs: OwnPairs = None,
) -> None:
    """Train a recipe and its controls at equal budget and compare them on dev queries."""
    from lbr_search.cli.progress import TrainLine
    from lbr_search.train.ablate import Plan, run_arms

    home = home_of(context)
    opened = _dev_suites(suites, home)
    varied = _variants(variants or [])
    own = own_sources(home, text, pairs)
    plan = Plan(recipe, out, data, tuple(overrides or ()), own, varied)
    names = [name.strip() for name in arms.split(",") if name.strip()]
    names += [name for name in varied if name not in names]
    with TrainLine() as line:
        runs = run_arms(
            plan,
            arms=names,
            n_seeds=seeds,
            measure=lambda checkpoint: _measure(checkpoint, opened),
            measured_on={suite.name: suite.content_hash for suite in opened},
            progress=line.update,
        )
    _report(runs, plan, out)


def _variants(given: list[str]) -> dict[str, tuple[str, ...]]:
    """Name -> its settings, from ``NAME:section.key=value`` each.

    >>> _variants(["narrow:model.n_compression_tokens=2", "narrow:stage1.pair_share=0.5"])
    {'narrow': ('model.n_compression_tokens=2', 'stage1.pair_share=0.5')}
    """
    from lbr_search.errors import ConfigError

    found: dict[str, tuple[str, ...]] = {}
    for one in given:
        name, colon, setting = one.partition(":")
        if not colon or not name.replace("-", "").replace("_", "").isalnum():
            raise ConfigError(
                f"--variant {one!r} is not NAME:section.key=value, with a name of letters, digits "
                "and hyphens.",
                "e.g. --variant narrow:model.n_compression_tokens=2",
            )
        found[name] = (*found.get(name, ()), setting)
    return found


def _dev_suites(given: list[str], home: Path) -> list[Suite]:
    """The suites of every folder named; all must have a dev split, before anything is trained."""
    from lbr_search.bench.suites import open_suites
    from lbr_search.corpus.suite import discover_suites

    folders: list[Path | str] = []
    for name in given:
        found = discover_suites(Path(name)) if Path(name).is_dir() else []
        folders.extend(found or [name])
    return open_suites(folders, split="dev", home=home)


def _measure(checkpoint: Path, suites: list[Suite]) -> dict[str, dict[str, float]]:
    from lbr_search.bench.dense import dense_ndcg
    from lbr_search.encoder.lbr import LbrEncoder

    # not the fastest type but the exact one: arms may differ by little
    return dense_ndcg(LbrEncoder(checkpoint, dtype="float32"), suites)


def _report(runs: Sequence[ArmRun], plan: Plan, out: Path) -> None:
    """Write ablation.json and ablation.md, and print the table."""
    from rich.table import Table

    from lbr_search.bench.ablation import markdown, note, table, to_json
    from lbr_search.bench.environment import describe_environment

    arms = _arms(runs)
    record: dict[str, Any] = {
        **to_json(arms),
        "settings": json.loads((out / "ablation-of.json").read_text("utf-8")),
        "runs": [{"arm": r.arm, "seed": r.seed, "seconds": r.seconds, **r.measures} for r in runs],
        "environment": describe_environment(),
    }
    (out / "ablation.json").write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    (out / "ablation.md").write_text(markdown(arms), "utf-8")
    headings, rows = table(arms)
    shown = Table(title=f"Ablation of {plan.recipe}", title_justify="left", caption=note(arms))
    for number, heading in enumerate(headings):
        shown.add_column(heading, justify="right" if number else "left", overflow="fold")
    for row in rows:
        shown.add_row(*row)
    show(shown)
    to_stderr(f"written to {out / 'ablation.md'} and {out / 'ablation.json'}")


def _arms(runs: Sequence[ArmRun]) -> list[Arm]:
    """Runs of one arm gathered, in the order in which the arms were named."""
    from lbr_search.bench.ablation import Arm

    gathered: dict[str, list[ArmRun]] = {}
    for run in runs:
        gathered.setdefault(run.arm, []).append(run)
    return [
        Arm(
            name,
            [run.values for run in own],
            {
                measure: sum(run.measures["stage2"][measure] for run in own) / len(own)
                for measure in ("effective_rank", "nll_y", "nll_y_z")
            },
        )
        for name, own in gathered.items()
    ]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        epilog="Example: lbr-search train ablate smoke --suites corpora/demo/medical --seeds 1"
        " --out runs/ablation"
    )(ablate)
