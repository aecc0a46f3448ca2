"""`lbr-search bench` and its subcommands; without the name of one, suites are measured."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from lbr_search.cli import bench, bench_ann, bench_contamination, bench_gate, bench_probe

DEFAULT = "run"


class RunByDefault(TyperGroup):
    """``bench SUITE --json FILE`` is ``bench run SUITE --json FILE``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - typer's own
        """Put the default command before what does not begin with the name of another."""
        if not args or args[0] not in self.commands:
            args = [DEFAULT, *args]
        return super().parse_args(ctx, args)


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(
        cls=RunByDefault,
        help="Index suites (cached), search them by every arm and report quality, speed and tests.",
    )
    for module in (bench, bench_gate, bench_contamination, bench_ann, bench_probe):
        module.register(group)
    app.add_typer(group, name="bench")
