"""The controls of LBR at equal budget: every arm trained with every seed, one after the other."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lbr_search.config import fingerprint
from lbr_search.errors import ConfigError
from lbr_search.registry import nearest
from lbr_search.train.recipe import load_recipe, recipe_mapping
from lbr_search.train.run import check_run, train
from lbr_search.train.speedometer import Step

Values = Mapping[str, Mapping[str, float]]
"""suite -> query_id -> nDCG@10."""


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to train: what it is, and the settings in which it differs from the recipe."""

    about: str
    overrides: tuple[str, ...] = ()


ARMS = {
    "base": Arm(
        "the backbone before any training, same pooling",
        ("stage1_loop.steps=0", "stage2_loop.steps=0"),
    ),
    "cl-last": Arm(
        "stage 2 alone; the vector is the state of one end token behind the text",
        ("stage1_loop.steps=0", "model.n_compression_tokens=1"),
    ),
    "cl": Arm("stage 2 alone, with compression tokens", ("stage1_loop.steps=0",)),
    "cpt-cl": Arm(
        "plain language modelling of the tokens that stage 1 reads, every one scored, then stage 2",
        (
            "stage1.plain=true",
            "stage1.reconstruction_share=0.0",
            "stage1.lm_every=1",
            "stage1.distill=0.0",
            "stage1.kl_weight=0.0",
            "stage1.phrase_weight=1.0",
        ),
    ),
    "lbr": Arm("both stages as the recipe says"),
    "lbr-no-gen": Arm("without the generative term in stage 2", ("stage2.gamma=0.0",)),
    "lbr-recon": Arm(
        "stage 1 writes the text itself, never its continuation",
        ("stage1.reconstruction_share=1.0",),
    ),
}
"""Stage 2 is the same everywhere, its generative term too, but where an arm says otherwise."""


@dataclass(frozen=True, slots=True)
class ArmRun:
    """One arm trained with one seed.

    Attributes:
        values: suite -> query_id -> nDCG@10.
        measures: stage -> health of its result (`evaluate.evaluate`).
        seconds: of training, both stages.
    """

    arm: str
    seed: int
    values: Values
    measures: Mapping[str, Mapping[str, float]]
    seconds: float


@dataclass(frozen=True, slots=True)
class Plan:
    """What stays the same for all arms; arguments as for `train`."""

    recipe: str | Path
    out: Path
    data: Path
    overrides: tuple[str, ...] = ()
    own: Mapping[str, Any] | None = None
    variants: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Further arms: name -> the settings in which both stages differ from the recipe."""

    def settings(self, arm: str, seed: int) -> list[str]:
        """All overrides of one run."""
        own = self.variants[arm] if arm in self.variants else ARMS[arm].overrides
        return [*self.overrides, *own, f"data.seed={seed}"]


def run_arms(
    plan: Plan,
    *,
    arms: Sequence[str],
    n_seeds: int,
    measure: Callable[[Path], Values],
    measured_on: Mapping[str, str],
    progress: Callable[[str, Step], None] | None = None,
) -> list[ArmRun]:
    """Train and measure every arm with every seed; what is done already is read instead.

    Stopped at any moment and called again, it goes on where it was. Of each run its logs, its
    measures and its encoder stay in ``out/ARM-seedN``; other weights go when a seed is through.

    Args:
        plan: recipe, folders and sources.
        arms: names in `ARMS` and of the plan's variants.
        n_seeds: how many seeds, from the recipe's own upwards.
        measure: checkpoint folder -> values of the dev queries.
        measured_on: suite -> digest of its content; other suites need another folder.
        progress: told ("ARM seed N stage", step) after every step.

    Raises:
        ConfigError: an unknown arm, a wrong setting of a variant, or `out` holds another ablation.
    """
    _check_arms(plan, arms, n_seeds)
    base = load_recipe(plan.recipe, overrides=list(plan.overrides), data=plan.own)
    plan.out.mkdir(parents=True, exist_ok=True)
    _claim(plan.out, {"recipe": recipe_mapping(base), "suites": dict(measured_on)})
    runs = []
    for seed in range(base.data.seed, base.data.seed + n_seeds):
        learnt: dict[str, Path] = {}
        for arm in arms:
            runs.append(_run_arm(plan, arm, seed, measure, learnt=learnt, progress=progress))
        for arm in arms:
            _prune(_folder(plan, arm, seed))
    return runs


def _run_arm(
    plan: Plan,
    arm: str,
    seed: int,
    measure: Callable[[Path], Values],
    *,
    learnt: dict[str, Path],
    progress: Callable[[str, Step], None] | None,
) -> ArmRun:
    folder = _folder(plan, arm, seed)
    overrides = plan.settings(arm, seed)
    key = _stage1_key(plan, overrides)
    done = folder / "measured.json"
    if done.is_file():  # a variant's settings may have changed since
        check_run(folder, load_recipe(plan.recipe, overrides=overrides, data=plan.own))
    else:
        if key in learnt and not (folder / "stage1").exists():
            _copy_stage1(learnt[key], folder)

        def tell(stage: str, step: Step) -> None:
            if progress is not None:
                progress(f"{arm} seed {seed} {stage}", step)

        report = train(
            "all",
            plan.recipe,
            out=folder,
            data=plan.data,
            overrides=overrides,
            progress=tell,
            own=plan.own,
            shared=plan.out / "shared",
        )
        seconds = sum(stage.seconds for stage in report.stages.values())
        run = ArmRun(arm, seed, measure(report.checkpoint), report.measures, seconds)
        _write_json(asdict(run), done)
    if (folder / "stage1" / "state.safetensors").is_file():
        learnt.setdefault(key, folder)
    return ArmRun(**json.loads(done.read_text("utf-8")))


def _stage1_key(plan: Plan, overrides: list[str]) -> str:
    """The same for arms whose stage 1 is the same, so that it is trained once a seed."""
    settings = recipe_mapping(load_recipe(plan.recipe, overrides=overrides, data=plan.own))
    return fingerprint({n: s for n, s in settings.items() if n not in ("stage2", "stage2_loop")})


def _copy_stage1(source: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / "stage1.partial"
    if partial.exists():
        shutil.rmtree(partial)
    shutil.copytree(source / "stage1", partial)
    partial.rename(folder / "stage1")


def _prune(folder: Path) -> None:
    """Remove the weights that only training needs; the encoder and the logs stay."""
    for path in (folder / "untrained", *folder.glob("stage*/checkpoint")):
        if path.exists():
            shutil.rmtree(path)
    for file in folder.glob("stage*/*.safetensors"):
        file.unlink()


def _folder(plan: Plan, arm: str, seed: int) -> Path:
    return plan.out / f"{arm}-seed{seed}"


def _check_arms(plan: Plan, arms: Sequence[str], n_seeds: int) -> None:
    known = {**ARMS, **plan.variants}
    unknown = next((arm for arm in arms if arm not in known), None)
    if unknown is not None:
        raise ConfigError(
            f"unknown arm {unknown!r}; known: {', '.join(known)}.", nearest(unknown, known)
        )
    if not arms or n_seeds < 1:
        raise ConfigError(f"{len(arms)} arms and {n_seeds} seeds are no ablation.", "--seeds 3")
    taken = next((name for name in plan.variants if name in ARMS), None)
    if taken is not None:
        raise ConfigError(f"{taken!r} is an arm already: {ARMS[taken].about}.", "another name")
    for arm in arms:  # a wrong setting is found before anything is trained
        load_recipe(plan.recipe, overrides=plan.settings(arm, 0), data=plan.own)


def _claim(out: Path, settings: dict[str, Any]) -> None:
    path = out / "ablation-of.json"
    if path.is_file() and json.loads(path.read_text("utf-8")) != settings:
        raise ConfigError(
            f"{out} holds an ablation of another recipe or on other suites ({path}).",
            "give another --out folder, or the recipe, --set and --suites of that ablation",
        )
    _write_json(settings, path)


def _write_json(values: dict[str, Any], path: Path) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(values, indent=1) + "\n", "utf-8")
    partial.rename(path)
