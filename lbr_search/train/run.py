"""`train`: recipe -> tokenizer, data, backbone -> stage 1 -> stage 2 -> checkpoint and card."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import tomli_w
import torch

from lbr_search.config import load_toml
from lbr_search.encoder import int8
from lbr_search.encoder.backbone import Backbone, load_backbone, read_tokenizer
from lbr_search.encoder.checkpoint import LbrConfig, load_checkpoint, save_checkpoint
from lbr_search.encoder.llama import LlamaBackbone, LlamaConfig
from lbr_search.encoder.memory import keep_freed_memory
from lbr_search.encoder.model import LbrModel
from lbr_search.errors import ConfigError, TrainingError
from lbr_search.train.backbone import (
    causal_from_encoder,
    start_as_bag_of_words,
    start_compression_at,
)
from lbr_search.train.batches import Stage1Batch, Stage2Batch, stage1_batch, stage2_batch
from lbr_search.train.card import write_card
from lbr_search.train.data import TrainingData, load_data, tokenizer_texts
from lbr_search.train.disk import disk_errors
from lbr_search.train.distill import Teachers
from lbr_search.train.evaluate import DevSet, dev_sets, evaluate
from lbr_search.train.loop import FitReport, fit
from lbr_search.train.mining import mine_hard_negatives
from lbr_search.train.parallel import Team, join_team
from lbr_search.train.recipe import ModelConfig, Recipe, load_recipe, recipe_mapping
from lbr_search.train.speedometer import Step
from lbr_search.train.split import split_stage1, split_stage2
from lbr_search.train.stage1 import stage1_loss
from lbr_search.train.stage2 import stage2_loss
from lbr_search.train.step import Batch, Objective
from lbr_search.train.tokens import train_tokenizer

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
    is_main: bool = True
    """False in all but one of the processes that trained together."""


def train(
    stage: str,
    recipe: str | Path,
    *,
    out: Path,
    data: Path,
    overrides: list[str] | None = None,
    progress: Callable[[str, Step], None] | None = None,
) -> TrainReport:
    """Train an LBR encoder, or go on with a run that was stopped.

    Args:
        stage: stage1, stage2 (needs stage1's checkpoint in `out`) or all.
        recipe: a .toml file, or the name of a recipe that ships.
        out: folder of the run; the result is ``out/checkpoint``.
        data: folder that the recipe's sources are relative to.
        overrides: ``section.key=value``.
        progress: told (stage, step) after every step.

    Raises:
        ConfigError: the recipe or the stage is wrong, or `out` holds another recipe's run.
        CorpusError: a source is missing or broken.
        TrainingError: stage 2 without stage 1, or a loss that diverged.
    """
    if stage not in STAGES:
        raise ConfigError(f"unknown stage {stage!r}.", f"use one of {', '.join(STAGES)}")
    settings = load_recipe(recipe, overrides=overrides)
    team = join_team()
    with team.main_first():
        out.mkdir(parents=True, exist_ok=True)
        _claim(out, settings)
    keep_freed_memory()
    torch.manual_seed(settings.data.seed)
    with team.main_first():
        tokenizer = _tokenizer(settings, out, data)
        examples = load_data(
            settings.data,
            data,
            tokenizer=tokenizer,
            prompts=(settings.model.query_prompt, settings.model.passage_prompt),
            n_compression_tokens=settings.model.n_compression_tokens,
            cache=out / "data",
        )
    run = _Run(settings, out, tokenizer, examples, team, progress)
    reports, measures = {}, {}
    if stage in ("stage1", "all"):
        reports["stage1"], measures["stage1"] = run.stage1()
    if stage in ("stage2", "all"):
        reports["stage2"], measures["stage2"] = run.stage2()
    return TrainReport(out / "checkpoint", reports, measures, team.is_main)


@dataclass(frozen=True, slots=True)
class _Run:
    recipe: Recipe
    out: Path
    tokenizer: Tokenizer
    data: TrainingData
    team: Team
    progress: Callable[[str, Step], None] | None

    def stage1(self) -> tuple[FitReport, dict[str, float]]:
        """Learn, from the untrained backbone."""
        base = self.out / "untrained"
        with self.team.main_first():
            if not (base / "lbr.json").is_file():
                self._save(self._untrained(), "untrained", base)
        model, _, _ = load_checkpoint(base, dtype=torch.float32)
        config, seed = self.recipe.stage1, self.recipe.data.seed
        teachers = self._teachers(config.distill)

        def batch(step: int) -> Stage1Batch:
            made = stage1_batch(self.data, config, seed=seed, step=step)
            if config.distill:
                n_prompt = len(self.data.passage_prompt)
                taught = teachers.of_passages(made.text, n_prompt=n_prompt)
                made = replace(made, taught=taught)
            return made.to(self.team.device)

        def loss(examples: Stage1Batch, step: int) -> dict[str, torch.Tensor]:
            return stage1_loss(model, examples, config, seed=seed + step)

        return self._fit(
            "stage1", model, Objective(batch, loss, self._measure(model, "-nll_y_z"), split_stage1)
        )

    def _untrained(self) -> LbrModel:
        shape = self.recipe.model
        backbone = _backbone(shape, self.tokenizer)
        model = LbrModel(backbone, n_compression_tokens=shape.n_compression_tokens)
        if shape.compression_token:
            start_compression_at(model, self.tokenizer, shape.compression_token)
        elif not shape.backbone:
            model.compression.data.mul_(shape.compression_scale)
        return model

    def stage2(self) -> tuple[FitReport, dict[str, float]]:
        """Represent, from what stage 1 left."""
        learnt = self.out / "stage1" / "checkpoint"
        if not (learnt / "lbr.json").is_file():
            raise TrainingError(
                f"stage 2 starts from stage 1, and {learnt} is not there.",
                f"lbr-search train all RECIPE --out {self.out}",
            )
        model, _, _ = load_checkpoint(learnt, dtype=torch.float32)
        config, seed = self.recipe.stage2, self.recipe.data.seed
        teachers = self._teachers(config.distill)
        negatives = None
        if config.hard_negatives:
            with self.team.main_first():
                negatives = mine_hard_negatives(
                    self.data.pairs,
                    self.tokenizer,
                    n=config.hard_negatives,
                    cache=self.out / "data",
                )

        def batch(step: int) -> Stage2Batch:
            made = stage2_batch(self.data, config, seed=seed, step=step, negatives=negatives)
            if config.distill:
                queries = teachers.of_queries(made.queries, n_prompt=len(self.data.query_prompt))
                n_prompt = len(self.data.passage_prompt)
                passages = teachers.of_passages(made.passages, n_prompt=n_prompt)
                both = zip(queries, passages, strict=True)
                made = replace(made, taught=tuple(torch.cat(parts) for parts in both))
            return made.to(self.team.device)

        def loss(examples: Stage2Batch, step: int) -> dict[str, torch.Tensor]:
            loop = self.recipe.stage2_loop
            is_warm = step >= loop.warmup_steps * loop.accumulate  # counted in micro-batches
            return stage2_loss(model, examples, config, is_warm=is_warm)

        return self._fit(
            "stage2",
            model,
            Objective(batch, loss, self._measure(model, "dev_ndcg@10"), split_stage2),
        )

    def _teachers(self, weight: float) -> Teachers:
        return Teachers(self.recipe.distill.teachers if weight else (), self.tokenizer)

    def _measure(self, model: LbrModel, by: str) -> Callable[[], dict[str, float]]:
        sets = self._dev_sets()
        return lambda: evaluate(model, sets, by=by)

    def _dev_sets(self) -> list[DevSet]:
        return dev_sets(self.data, self.recipe.data, self.recipe.stage2)

    def _fit(
        self, name: str, model: LbrModel, objective: Objective[Batch]
    ) -> tuple[FitReport, dict[str, float]]:
        def tell(step: Step) -> None:
            if self.progress is not None:
                self.progress(name, step)

        report = fit(
            model.to(self.team.device),
            getattr(self.recipe, f"{name}_loop"),
            objective=objective,
            folder=self.out / name,
            progress=tell if self.team.is_main else None,
            team=self.team,
        )
        model.eval()
        measures = self.team.from_main(objective.evaluate)
        with self.team.main_first(), disk_errors(self.out):
            if self.team.is_main:
                self._save(model, name, self.out / name / "checkpoint")
                if name == "stage2":
                    self._publish(self._dev_sets())
        return report, measures

    def _publish(self, sets: list[DevSet]) -> None:
        """The result: weights as bfloat16, and the input ranges of those very weights for int8."""
        folder = self.out / "checkpoint"
        model, _, _ = load_checkpoint(self.out / "stage2" / "checkpoint", dtype=torch.float32)
        self._save(model, "stage2", folder, dtype=torch.bfloat16)
        rounded, _, _ = load_checkpoint(folder, dtype=torch.float32)
        texts = [text for dev in sets for text in (*dev.queries, *dev.passages[:CALIBRATION_TEXTS])]
        int8.write_ranges(int8.calibrate(rounded.eval(), texts), folder)

    def _save(
        self, model: LbrModel, stage: str, folder: Path, *, dtype: torch.dtype = torch.float32
    ) -> None:
        shape = self.recipe.model
        config = LbrConfig(
            name=shape.name,
            n_compression_tokens=shape.n_compression_tokens,
            max_tokens=shape.max_tokens,
            query_prompt=shape.query_prompt,
            passage_prompt=shape.passage_prompt,
            stage=stage,
        )
        save_checkpoint(model, self.tokenizer, config, folder, dtype=dtype)
        write_card(folder, recipe=self.recipe, stage=stage, counts=self.data.counts, run=self.out)


def _backbone(shape: ModelConfig, tokenizer: Tokenizer) -> Backbone:
    """A pretrained causal LM, an encoder made causal, or a Llama that starts as a bag of words."""
    if shape.backbone:
        return load_backbone(shape.backbone, dtype=torch.float32)
    if shape.from_encoder:
        return causal_from_encoder(shape.from_encoder)[0]
    backbone = LlamaBackbone(
        LlamaConfig(
            vocab_size=tokenizer.get_vocab_size(),
            hidden_size=shape.hidden_size,
            intermediate_size=shape.intermediate_size,
            num_hidden_layers=shape.n_layers,
            num_attention_heads=shape.n_heads,
            num_key_value_heads=shape.n_heads,
            # room for the prompt, the compression tokens, and stage 1's text and target
            max_position_embeddings=2 * shape.max_tokens + 64,
        )
    )
    if shape.value_scale:
        start_as_bag_of_words(backbone, scale=shape.value_scale)
    return backbone


def _tokenizer(recipe: Recipe, out: Path, data: Path) -> Tokenizer:
    """The backbone's own, or one trained on the data, kept in the run's folder."""
    if recipe.model.backbone:
        return read_tokenizer(recipe.model.backbone)
    if recipe.model.from_encoder:
        return read_tokenizer(str(causal_from_encoder(recipe.model.from_encoder)[1]))
    folder = out / "tokenizer"
    if not (folder / "tokenizer.json").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        prompts = (recipe.model.query_prompt, recipe.model.passage_prompt)
        tokenizer = train_tokenizer(
            tokenizer_texts(recipe.data, data),
            vocab_size=recipe.model.vocab_size,
            special_tokens=[prompt for prompt in dict.fromkeys(prompts) if prompt],
        )
        tokenizer.save(str(folder / "tokenizer.json.partial"))
        (folder / "tokenizer.json.partial").rename(folder / "tokenizer.json")
    return read_tokenizer(str(folder))


def _claim(out: Path, recipe: Recipe) -> None:
    """Write `run.toml`, or refuse a folder that holds a run of another recipe."""
    path = out / "run.toml"
    settings = recipe_mapping(recipe)
    if path.is_file():
        before = load_toml(path)
        if {name: before.get(name) for name in settings} != settings:
            raise ConfigError(
                f"{out} holds a run with other settings ({path}).",
                "train into another --out folder, or use the recipe and --set of that run",
            )
    versions = {name: version(name) for name in ("lbr-search", "torch", "transformers")}
    machine = {"python": platform.python_version(), "threads": torch.get_num_threads()}
    path.write_text(tomli_w.dumps({**settings, "versions": versions, "machine": machine}), "utf-8")
