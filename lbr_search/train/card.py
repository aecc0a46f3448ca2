"""The model card, written by the program from what it knows."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lbr_search.train import generate
from lbr_search.train.interpolate import read_interpolation
from lbr_search.train.recipe import Recipe

NOT_STATED = "not stated in the recipe"


def write_card(
    folder: Path, *, recipe: Recipe, stage: str, counts: dict[str, Any], run: Path
) -> None:
    """Write `README.md` into a checkpoint folder.

    Args:
        folder: the checkpoint.
        recipe: its settings.
        stage: untrained, stage1 or stage2.
        counts: source -> what was read of it.
        run: folder of the run, for the measures in its logs.
    """
    shape = recipe.model
    trained = f"LoRA of rank {shape.lora_rank}, merged" if shape.lora_rank else "all"
    lines = [
        f"# {shape.name} ({stage})",
        "",
        "An encoder for retrieval, trained by lbr-search: a causal language model that compresses",
        f"a text into {shape.n_compression_tokens} vectors; their mean is the text's embedding.",
        "It is an open implementation of the published idea of *Learn Before Represent*",
        "(arXiv 2601.11124); formulas and numbers are this project's own.",
        "",
        "| | |",
        "|---|---|",
        f"| began as | {_origin(recipe)} |",
        f"| teachers | {_teachers(recipe)} |",
        f"| weights trained | {trained} |",
        f"| longest text | {shape.max_tokens} tokens; longer ones are cut and counted |",
        f"| stage 1 steps | {recipe.stage1_loop.steps} |",
        f"| stage 2 steps | {recipe.stage2_loop.steps} |",
        "",
        "## Training data",
        "",
        "Weights give the share of batches. Read: what was tokenised, after exact duplicates and",
        f"what overlaps the held-out suites ({recipe.data.held_out or 'none'}) were left out.",
        "",
        "| source | weight | licence | read |",
        "|---|---|---|---|",
        *(_source_row(name, weight, recipe, counts) for name, weight in _sources(recipe)),
        *_generated_row(counts),
        "",
        "## Measures on held-out pairs",
        "",
        "nDCG@10 of held-out queries among a few hundred passages of their own source; a number",
        "for choosing steps, not for comparison with other systems. `nll_y_z`, `nll_y`, `nll_y_x`:",
        "nats per query token given the vectors, nothing, and the whole text.",
        "",
        *_measure_rows(run),
        "",
        "## Limits",
        "",
        "English text, code identifiers and chemical names of the kinds listed above. Not a",
        "medical device: search results are documents to read, not advice.",
        "",
    ]
    (folder / "README.md").write_text("\n".join(lines), "utf-8")


def write_average_card(folder: Path, *, name: str, parts: Sequence[tuple[float, Path]]) -> None:
    """Write `README.md` of a mean of checkpoints: the shares, and the card of each whole.

    Args:
        folder: the mean.
        name: of the encoder.
        parts: share and folder of each checkpoint; one without a card is named as such.
    """
    lines = [
        f"# {name} (mean of {len(parts)} checkpoints)",
        "",
        "Every weight is the weighted mean of those of the runs below, which began alike",
        "(model soups, arXiv 2203.05482). Measures below are of each run, not of the mean.",
    ]
    for number, (share, part) in enumerate(parts, start=1):
        card = part / "README.md"
        lines += ["", f"## Run {number}: share {share:.3g}", ""]
        if not card.is_file():
            lines.append(f"No card in `{part.name}`: data and licences of this run are not known.")
            continue
        text = card.read_text("utf-8").strip()
        # its headings go below this run's
        lines.append(re.sub(r"^#", "###", text, flags=re.MULTILINE))
    (folder / "README.md").write_text("\n".join([*lines, ""]), "utf-8")


def _origin(recipe: Recipe) -> str:
    shape = recipe.model
    if shape.backbone:
        return f"`{shape.backbone}`"
    if shape.from_checkpoint:
        return f"the LBR checkpoint `{shape.from_checkpoint}`, trained further"
    if shape.from_encoder:
        return (
            f"`{shape.from_encoder}`, a bidirectional encoder, its weights made causal with a new "
            "output layer"
        )
    size = f"{shape.n_layers} layers of {shape.hidden_size}, {shape.n_heads} heads"
    return f"random weights (a Llama of {size})"


def _teachers(recipe: Recipe) -> str:
    """Teachers by name, without the folders that they lay in, and what each counts."""
    distill = recipe.distill
    names = [
        f"{kind}{colon}{Path(name).name}"
        for kind, colon, name in (spec.rpartition(":") for spec in distill.teachers)
    ]
    if not distill.weights:
        return ", ".join(names) or "none"
    parts = zip(distill.weights, names, strict=True)
    return " + ".join(f"{weight:g} x {name}" for weight, name in parts) + " (as one teacher)"


def _sources(recipe: Recipe) -> list[tuple[str, float]]:
    data = recipe.data
    # a source that gives both texts and pairs stands in one row
    return list({**data.text, **data.pairs, **data.structure, **data.cloze}.items())


def _source_row(name: str, weight: float, recipe: Recipe, counts: dict[str, Any]) -> str:
    licence = recipe.data.licences.get(name, NOT_STATED)
    read = ", ".join(
        f"{key.replace('_', ' ')} {value:,}" for key, value in counts[name].items() if value
    )
    return f"| {name} | {weight:g} | {licence} | {read} |"


def _generated_row(counts: dict[str, Any]) -> list[str]:
    """Of the queries that the model wrote itself, if it did."""
    if generate.NAME not in counts:
        return []
    read = ", ".join(f"{name.replace('_', ' ')} {n:,}" for name, n in counts[generate.NAME].items())
    return [f"| {generate.NAME} | mean of the pairs | that of the texts | {read} |"]


def _measure_rows(run: Path) -> list[str]:
    """The last evaluation of each stage, from the logs of the run."""
    rows = []
    for stage in ("stage1", "stage2"):
        log = run / stage / "log.jsonl"
        if not log.is_file():
            continue
        steps = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
        evaluations = [step for step in steps if "score" in step]
        if evaluations:
            best = max(evaluations, key=lambda step: step["score"])
            rows.append(f"### {stage}, best step {best['step']}")
            rows.append("")
            rows.extend(["| measure | value |", "|---|---|"])
            rows.extend(
                f"| {name} | {value:.3f} |"
                for name, value in best.items()
                if name not in ("step", "score", "eval_seconds")
            )
            rows.append("")
    if settled := read_interpolation(run / "stage2"):
        rows += [f"{settled.sentence.capitalize()}.", ""]
    return rows or ["None: not trained."]
