"""`train`: recipe -> tokenizer, data, backbone -> stage 1 -> stage 2 -> checkpoint and card."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomli_w
import torch
from torch import nn

from lbr_search.config import load_toml
from lbr_search.encoder import int8
from lbr_search.encoder.backbone import Backbone
from lbr_search.encoder.checkpoint import LbrConfig, load_checkpoint, save_checkpoint
from lbr_search.encoder.model import LbrModel
from lbr_search.encoder.process import prepare_process
from lbr_search.encoder.read_texts import write_read_texts
from lbr_search.errors import ConfigError, TrainingError
from lbr_search.train import generate
from lbr_search.train.card import write_card
from lbr_search.train.data import TrainingData, load_data
from lbr_search.train.disk import disk_errors
from lbr_search.train.distill import Judges, Teachers
from lbr_search.train.evaluate import DevSet, dev_sets, evaluate
from lbr_search.train.interpolate import keep_best_share, write_interpolation
from lbr_search.train.loop import FitReport, fit
from lbr_search.train.lora import add_adapters, merge_adapters
from lbr_search.train.mining import HardNegatives, mine_hard_negatives
from lbr_search.train.parallel import Team, join_team
from lbr_search.train.phrases import PhrasePool, phrase_pool
from lbr_search.train.recipe import Recipe, load_recipe, recipe_mapping, recipe_of
from lbr_search.train.speedometer import Step
from lbr_search.train.split import split_stage1, split_stage2
from lbr_search.train.stage1 import Learning
from lbr_search.train.stage2 import Representing, Temperature
from lbr_search.train.stage_config import vector_sizes
from lbr_search.train.start import tokenizer_of, untrained_model
from lbr_search.train.step import Objective

if TYPE_CHECKING:
    from tokenizers import Tokenizer

CALIBRATION_TEXTS = 40
"""Held-out passages of each source over which int8 ranges are measured."""
STAGES = ("stage1", "stage2", "all")


@dataclass(frozen=True, slots=True)
class TrainReport:
    """What a run made, and the measures of its best steps."""

    checkpoint: Path
    stages: dict[str, FitReport]
    measures: dict[str, dict[str, float]]
    counts: dict[str, dict[str, int]]
    """Source -> what was read of it, and what was left out."""
    is_main: bool = True
    """False in all but one of the processes that trained together."""


def train(  # noqa: PLR0913 - a front door: every option is a keyword with a default
    stage: str,
    recipe: str | Path,
    *,
    out: Path,
    data: Path,
    overrides: list[str] | None = None,
    progress: Callable[[str, Step], None] | None = None,
    own: Mapping[str, Any] | None = None,
    shared: Path | None = None,
) -> TrainReport:
    """Train an LBR encoder, or go on with a run that was stopped.

    Args:
        stage: stage1, stage2 (needs stage1's checkpoint in `out`) or all.
        recipe: a .toml file, or the name of a recipe that ships.
        out: folder of the run; the result is ``out/checkpoint``.
        data: folder that the recipe's sources are relative to.
        overrides: ``section.key=value``.
        progress: told (stage, step) after every step.
        own: keys of [data] that take the place of the recipe's (`sources.own_data`).
        shared: folder of tokenizer and token tables, for runs that have the same; default `out`.

    Raises:
        ConfigError: the recipe or the stage is wrong, or `out` holds another recipe's run.
        CorpusError: a source is missing or broken.
        TrainingError: stage 2 without stage 1, or a loss that diverged.
    """
    if stage not in STAGES:
        raise ConfigError(f"unknown stage {stage!r}.", f"use one of {', '.join(STAGES)}")
    settings = load_recipe(recipe, overrides=overrides, data=own)
    shared = shared or out
    team = join_team()
    with team.main_first():
        out.mkdir(parents=True, exist_ok=True)
        _claim(out, settings)
    prepare_process()
    torch.manual_seed(settings.data.seed)
    with team.main_first():
        tokenizer = tokenizer_of(settings, shared, data)
        examples = load_data(
            settings.data,
            data,
            tokenizer=tokenizer,
            prompts=(settings.model.query_prompt, settings.model.passage_prompt),
            n_compression_tokens=settings.model.n_compression_tokens,
            cache=shared / "data",
        )
    run = _Run(settings, out, tokenizer, examples, team, progress, shared / "data")
    reports, measures = {}, {}
    if stage in ("stage1", "all"):
        reports["stage1"], measures["stage1"] = run.stage1()
    if stage in ("stage2", "all"):
        reports["stage2"], measures["stage2"] = run.stage2()
    return TrainReport(out / "checkpoint", reports, measures, examples.counts, team.is_main)


@dataclass(frozen=True, slots=True)
class _Run:
    recipe: Recipe
    out: Path
    tokenizer: Tokenizer
    data: TrainingData
    team: Team
    progress: Callable[[str, Step], None] | None
    cache: Path

    def stage1(self) -> tuple[FitReport, dict[str, float]]:
        """Learn, from the untrained backbone."""
        base = self.out / "untrained"
        with self.team.main_first():
            if not (base / "lbr.json").is_file():
                self._save(untrained_model(self.recipe.model, self.tokenizer), "untrained", base)
        model, _, _ = load_checkpoint(base, dtype=torch.float32)
        config = self.recipe.stage1
        stage = Learning(
            model,
            self.data,
            self.recipe,
            self._teachers(config.distill),
            self._phrases() if config.phrase_weight > 1 else None,
            self._frozen(base) if config.kl_weight else None,
        )
        return self._fit("stage1", stage, by="-nll_y_x" if config.plain else "-nll_y_z")

    def stage2(self) -> tuple[FitReport, dict[str, float]]:
        """Represent, from what stage 1 left."""
        learnt = self.out / "stage1" / "checkpoint"
        if not (learnt / "lbr.json").is_file():
            raise TrainingError(
                f"stage 2 starts from stage 1, and {learnt} is not there.",
                f"lbr-search train all RECIPE --out {self.out}",
            )
        model, _, _ = load_checkpoint(learnt, dtype=torch.float32)
        data = self._with_generated(model)
        config = self.recipe.stage2
        by_terms = None
        if config.hard_negatives:
            with self.team.main_first():
                by_terms = mine_hard_negatives(
                    data.pairs, self.tokenizer, n=config.hard_negatives, cache=self.cache
                )
        folder = self.out / "stage2"
        is_learned = config.temperature_mode == "learned"
        stage = Representing(
            model,
            data,
            self.recipe,
            self._teachers(config.distill),
            Judges(self.recipe.distill.cross_encoders if config.distill else (), self.tokenizer),
            HardNegatives(model, data, self.recipe, by_terms=by_terms, folder=folder),
            Temperature(config.temperature) if is_learned else None,
        )
        return self._fit("stage2", stage, by="dev_ndcg@10")

    def _with_generated(self, model: LbrModel) -> TrainingData:
        """The data, and the pairs that the model of stage 1 makes itself, where they are wanted."""
        n, seed = self.recipe.data.generate, self.recipe.data.seed
        if not n:
            return self.data
        file = self.out / f"{generate.NAME}.safetensors"
        model.to(self.team.device).eval()
        with self.team.main_first():
            source, counts = generate.generated_pairs(
                model, self.data, self.recipe.stage2, n=n, seed=seed, file=file
            )
        self.data.counts[generate.NAME] = counts
        pairs = [*self.data.pairs, source] if counts["found_again"] else self.data.pairs
        return replace(self.data, pairs=pairs)

    def _phrases(self) -> PhrasePool:
        limit = self.recipe.stage1.max_phrases
        return phrase_pool(self.data, self.tokenizer, max_phrases=limit, cache=self.cache)

    def _frozen(self, base: Path) -> Backbone:
        model, _, _ = load_checkpoint(base, dtype=torch.float32)
        return model.eval().requires_grad_(False).to(self.team.device).backbone

    def _teachers(self, weight: float) -> Teachers:
        distill = self.recipe.distill
        return Teachers(
            distill.teachers if weight else (),
            self.tokenizer,
            weights=distill.weights,
            kept=self.cache / "taught" if distill.keep_vectors else None,
        )

    def _fit(
        self, name: str, stage: Learning | Representing, *, by: str
    ) -> tuple[FitReport, dict[str, float]]:
        model = stage.model
        sets = dev_sets(self.data, self.recipe.data, self.recipe.stage2)
        loop, rank = getattr(self.recipe, f"{name}_loop"), self.recipe.model.lora_rank
        objective: Objective[Any] = Objective(
            stage.batch,
            stage.loss,
            lambda: evaluate(model, sets, by=by),
            split_stage1 if name == "stage1" else split_stage2,
            stage.needs_model,
        )
        if loop.steps:
            if rank:
                add_adapters(model.backbone, rank=rank, seed=self.recipe.data.seed)
            report = self._loop(name, stage.trained, objective)
            if rank:
                merge_adapters(model.backbone)
            if name == "stage2" and self.recipe.model.change_shares != (1.0,):
                report = self._settle(model, objective, report)
        else:
            report = FitReport(0, 0, 0.0, 0, 0, 0.0, "not trained")
        model.to(self.team.device).eval()
        measures = self.team.from_main(objective.evaluate)
        with self.team.main_first(), disk_errors(self.out):
            if self.team.is_main:
                self._save(model, name, self.out / name / "checkpoint")
                if name == "stage2":
                    self._publish(sets)
        return report, measures

    def _loop(self, name: str, trained: nn.Module, objective: Objective[Any]) -> FitReport:
        def tell(step: Step) -> None:
            if self.progress is not None:
                self.progress(name, step)

        return fit(
            trained.to(self.team.device),
            getattr(self.recipe, f"{name}_loop"),
            objective=objective,
            folder=self.out / name,
            progress=tell if self.team.is_main else None,
            team=self.team,
        )

    def _settle(self, model: LbrModel, objective: Objective[Any], report: FitReport) -> FitReport:
        """Keep the share of all that was learnt that dev likes best, and say which."""
        model.to(self.team.device).eval()
        start, _, _ = load_checkpoint(self.out / "untrained", dtype=torch.float32)
        found = keep_best_share(
            model,
            start,
            self.recipe.model.change_shares,
            measure=lambda: self.team.from_main(objective.evaluate)["score"],
        )
        if self.team.is_main:
            with disk_errors(self.out):
                write_interpolation(found, self.out / "stage2")
        return replace(report, notes=(*report.notes, found.sentence))

    def _publish(self, sets: list[DevSet]) -> None:
        """The result: weights as bfloat16, and the input ranges of those very weights for int8."""
        folder = self.out / "checkpoint"
        model, _, _ = load_checkpoint(self.out / "stage2" / "checkpoint", dtype=torch.float32)
        self._save(model, "stage2", folder, dtype=torch.bfloat16)
        texts = [text for dev in sets for text in (*dev.queries, *dev.passages[:CALIBRATION_TEXTS])]
        int8.measure_ranges(folder, texts)

    def _save(
        self, model: LbrModel, stage: str, folder: Path, *, dtype: torch.dtype = torch.float32
    ) -> None:
        shape = self.recipe.model
        sizes = vector_sizes(self.recipe.stage2, model.dim) if stage == "stage2" else ()
        config = LbrConfig(
            name=shape.name,
            n_compression_tokens=shape.n_compression_tokens,
            max_tokens=shape.max_tokens,
            query_prompt=shape.query_prompt,
            passage_prompt=shape.passage_prompt,
            stage=stage,
            dims=sizes,
        )
        save_checkpoint(model, self.tokenizer, config, folder, dtype=dtype)
        write_card(folder, recipe=self.recipe, stage=stage, counts=self.data.counts, run=self.out)
        if stage != "untrained":
            write_read_texts(folder, self.data.text_keys())


def check_run(out: Path, recipe: Recipe) -> None:
    """Refuse a folder that holds a run of another recipe.

    Raises:
        ConfigError: `out` has a ``run.toml`` with other settings.
    """
    path = out / "run.toml"
    if path.is_file():
        # a run of an earlier version names fewer settings: it had their defaults
        before = recipe_mapping(recipe_of(load_toml(path), where=path))
        if before != recipe_mapping(recipe):
            raise ConfigError(
                f"{out} holds a run with other settings ({path}).",
                "train into another --out folder, or use the recipe and --set of that run",
            )


def _claim(out: Path, recipe: Recipe) -> None:
    """Write ``run.toml`` into a folder that holds no run of another recipe."""
    check_run(out, recipe)
    path, settings = out / "run.toml", recipe_mapping(recipe)
    versions = {name: version(name) for name in ("lbr-search", "torch", "transformers")}
    machine = {"python": platform.python_version(), "threads": torch.get_num_threads()}
    path.write_text(tomli_w.dumps({**settings, "versions": versions, "machine": machine}), "utf-8")
