"""`train report`: curves and health of a run on one page that needs nothing besides itself."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lbr_search.config import load_toml
from lbr_search.errors import TrainingError
from lbr_search.train.curves import Curve, draw
from lbr_search.train.log import read_log

STAGES = {"stage1": "Stage 1: learn", "stage2": "Stage 2: represent"}
NOT_TERMS = {
    *("step", "tokens", "grad_norm", "lr", "seconds", "n_parts"),
    *("data_s", "forward_s", "backward_s", "optimizer_s"),
}
"""What a step's line holds besides terms of the loss."""
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
  color: #222; background: #fff; }
table { border-collapse: collapse; margin: 0.5rem 0 1.5rem; }
td, th { padding: 0.15rem 1.2rem 0.15rem 0; border-bottom: 1px solid #ddd; text-align: left; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
svg { max-width: 100%; height: auto; }
.note { color: #555; }
"""


@dataclass(frozen=True, slots=True)
class Health:
    """A row of the health card: name, value and what it says."""

    name: str
    value: str
    meaning: str


def write_report(run: Path, out: Path | None = None) -> Path:
    """Draw a run, finished or not.

    Args:
        run: folder that `train` was given as --out.
        out: file to write; None = `report.html` in the run's folder.

    Returns:
        The file.

    Raises:
        TrainingError: the folder holds no log of a stage.
    """
    logs = {name: read_log(run / name / "log.jsonl") for name in STAGES}
    if not any(logs.values()):
        raise TrainingError(
            f"{run} holds no training log (stage1/log.jsonl or stage2/log.jsonl).",
            "give the folder that `lbr-search train all RECIPE --out DIR` was given",
        )
    settings = load_toml(run / "run.toml") if (run / "run.toml").is_file() else {}
    name = str(settings.get("model", {}).get("name", run.name))
    sections = [
        _stage(stage, lines, settings.get(f"{stage}_loop", {}))
        for stage, lines in logs.items()
        if lines
    ]
    target = out or run / "report.html"
    target.write_text(_page(f"Training of {name}", sections), "utf-8")
    return target


def health_card(measures: Mapping[str, float]) -> list[Health]:
    """What an evaluation says of a checkpoint, in words; measures that are absent are left out."""
    rows = [
        Health(name.replace("dev_ndcg@10", "dev nDCG@10"), f"{value:.3f}", "held-out pairs")
        for name, value in measures.items()
        if name.startswith("dev_ndcg@10")
    ]
    nats = {
        "nll_y_z": "nats per query token given the vectors",
        "nll_y": "nats per query token given nothing",
        "nll_y_x": "nats per query token given the whole text",
    }
    rows += [Health(k, f"{measures[k]:.3f}", says) for k, says in nats.items() if k in measures]
    if nats.keys() <= measures.keys():
        share = passed_share(measures)
        value = "not defined" if share is None else f"{share:.0%}".replace("%", " %")
        says = "(nll_y - nll_y_z) / (nll_y - nll_y_x): of what the text tells about the query"
        if share is None:
            says = "the text itself does not help this model to predict the query"
        rows.append(Health("share that passed the bottleneck", value, says))
    geometry = {
        "effective_rank": ("effective rank", "directions in use by the embeddings"),
        "random_cosine": ("random cosine", "mean cosine of random pairs; near 1 = collapsed"),
        "token_cosine": ("token cosine", "mean cosine between the k rows of Z; 1 = one vector"),
    }
    for key, (name, says) in geometry.items():
        if key in measures:
            rows.append(Health(name, f"{measures[key]:.3g}", says))
    return rows


def passed_share(measures: Mapping[str, float]) -> float | None:
    """Share of the text's information about the query that its vectors hold; None = undefined.

    >>> passed_share({"nll_y": 5.0, "nll_y_z": 4.0, "nll_y_x": 3.0})
    0.5
    """
    gain_of_text = measures["nll_y"] - measures["nll_y_x"]
    if not math.isfinite(gain_of_text) or gain_of_text <= 0:
        return None
    return (measures["nll_y"] - measures["nll_y_z"]) / gain_of_text


def _stage(stage: str, lines: Sequence[Mapping[str, Any]], loop: Mapping[str, Any]) -> str:
    steps = [line for line in lines if "loss" in line]
    evaluations = [line for line in lines if "score" in line]
    parts = [f"<h2>{STAGES[stage]}</h2>", _table(_facts(lines, steps, loop))]
    if steps:
        names = [name for name in steps[0] if name not in NOT_TERMS]
        curves = [_curve(steps, name) for name in names]
        parts.append(_figure(draw(curves, title="loss, nats", key=f"{stage}-loss")))
    if evaluations:
        best = max(evaluations, key=lambda line: line["score"])
        groups = {
            "dev nDCG@10": [name for name in best if name.startswith("dev_ndcg@10")],
            "nats per query token": [n for n in ("nll_y_z", "nll_y", "nll_y_x") if n in best],
        }
        for number, (title, names) in enumerate(groups.items()):
            curves = [_curve(evaluations, name) for name in names]
            if curves:
                parts.append(_figure(draw(curves, title=title, key=f"{stage}-dev{number}")))
        parts.append(f"<h3>Health at the best step, {best['step']:,}</h3>")
        rows = [(row.name, row.value, row.meaning) for row in health_card(best)]
        parts.append(_table(rows))
    else:
        parts.append('<p class="note">Not evaluated yet.</p>')
    return "\n".join(parts)


def _facts(
    lines: Sequence[Mapping[str, Any]], steps: Sequence[Mapping[str, Any]], loop: Mapping[str, Any]
) -> list[tuple[str, str, str]]:
    """What the log says of the course of a stage."""
    if not steps:
        return [("steps", "none yet", "")]
    last = steps[-1]
    planned = f"of {loop['steps']:,} planned" if "steps" in loop else ""
    rows = [
        ("steps", f"{last['step']:,}", planned),
        ("time", f"{last['seconds'] / 60:.1f} min", ""),
    ]
    n_tokens = sum(line.get("tokens", 0) for line in steps)
    if n_tokens and last["seconds"]:
        rows.append(
            ("speed", f"{n_tokens / last['seconds']:,.0f} tokens/s", f"{n_tokens:,.0f} in all")
        )
    n_bad = sum(not math.isfinite(line["loss"]) for line in steps)
    if n_bad:
        rows.append(("bad steps", str(n_bad), "their loss was not finite; they changed no weight"))
    for line in lines:
        if "rolled_back_from" in line:
            rows.append(("roll-back", f"{line['rolled_back_from']:,} to {line['step']:,}", "steps"))
        if "n_parts" in line:
            rows.append(
                ("memory", f"{line['n_parts']:g} parts", f"a batch from step {line['step']:,}")
            )
    return rows


def _curve(lines: Sequence[Mapping[str, Any]], name: str) -> Curve:
    points = [(line["step"], line[name]) for line in lines if name in line]
    return Curve(name, [step for step, _ in points], [value for _, value in points])


def _table(rows: Sequence[tuple[str, str, str]]) -> str:
    cells = (
        f'<tr><td>{html.escape(name)}</td><td class="number">{html.escape(value)}</td>'
        f'<td class="note">{html.escape(says)}</td></tr>'
        for name, value, says in rows
    )
    return "<table>\n" + "\n".join(cells) + "\n</table>"


def _figure(svg: str) -> str:
    return f"<figure>{svg}</figure>"


def _page(title: str, sections: Sequence[str]) -> str:
    body = "\n".join(sections)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8"/>\n'
        f"<title>{html.escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{html.escape(title)}</h1>\n{body}\n</body>\n</html>\n"
    )
