"""Several processes train as one: same losses, same weights, whatever their number."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from lbr_search.errors import ConfigError
from lbr_search.train.parallel import Team
from tests.test_loop import lines

CHILD = """
import sys
from pathlib import Path
from lbr_search.train.loop import fit
from lbr_search.train.parallel import join_team
from lbr_search.train.recipe import LoopConfig, Stage2Config
from lbr_search.train.split import split_stage2
from lbr_search.train.stage2 import stage2_loss
from lbr_search.train.step import Objective
from tests.test_parallel import CONFIG, pairs
from tests.tiny import tiny_model

team, model = join_team(), tiny_model()
config = Stage2Config(gamma=float(sys.argv[2]), temperature=0.1)
objective = Objective(
    pairs,
    lambda batch, number: stage2_loss(model, batch, config, is_warm=True),
    lambda: {"score": float(team.rank == 0)},
    split_stage2,
)
report = fit(model, CONFIG, objective=objective, folder=Path(sys.argv[1]), team=team)
print(team.rank, team.size, report.best_score)
"""


def config():
    from lbr_search.train.recipe import LoopConfig

    return LoopConfig(
        steps=6,
        learning_rate=1e-3,
        warmup_steps=2,
        save_every=3,
        eval_every=3,
        precision="fp32",
        accumulate=4,
        ema_decay=0.5,
    )


CONFIG = config()


def pairs(number: int):
    """Four pairs of random tokens."""
    from lbr_search.encoder.batching import collate
    from lbr_search.train.batches import Stage2Batch

    generator = torch.Generator().manual_seed(number)
    ids = torch.randint(5, 60, (8, 7), generator=generator).tolist()
    return Stage2Batch(
        collate(ids[:4], n_compression_tokens=3),
        collate(ids[4:], n_compression_tokens=3),
        torch.zeros(4, 4, dtype=torch.bool).numpy(),
        collate(ids[:4], n_compression_tokens=0),
    )


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def train(folder: Path, *, n_processes: int, gamma: float) -> list[str]:
    """Start the processes as torchrun does; what each printed."""
    root = Path(__file__).parent.parent
    shared = {
        **os.environ,
        "WORLD_SIZE": str(n_processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "OMP_NUM_THREADS": "1",
    }
    children = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD, str(folder), str(gamma)],
            cwd=root,
            env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(n_processes)
    ]
    outcomes = [child.communicate(timeout=280) for child in children]
    assert [child.returncode for child in children] == [0] * n_processes, outcomes
    return [out.strip().splitlines()[-1] for out, _ in outcomes]


@pytest.mark.slow
@pytest.mark.parametrize("gamma", [0.1, 0.0])
def test_two_processes_have_the_loss_curve_of_one(tmp_path: Path, gamma: float):
    """Two over gloo share the four micro-batches of a step: losses and weights as of one process.

    Without the generative term the bridge gets no gradient, which data parallelism must bear.
    """
    told = train(tmp_path / "two", n_processes=2, gamma=gamma)
    # evaluated in the main process only, and both were told
    assert told == ["0 2 1.0", "1 2 1.0"]
    assert train(tmp_path / "one", n_processes=1, gamma=gamma) == ["0 1 1.0"]
    logs = [lines(tmp_path / name) for name in ("two", "one")]
    assert [line["step"] for line in logs[0]] == [line["step"] for line in logs[1]]
    taken = [[line for line in log if "loss" in line] for log in logs]
    assert len(taken[0]) == CONFIG.steps
    for two, one in zip(*taken, strict=True):
        assert two["loss"] == pytest.approx(one["loss"], abs=2e-6)
        assert two["grad_norm"] == pytest.approx(one["grad_norm"], rel=1e-4)
        assert two["tokens"] == one["tokens"]
    states = [load_file(tmp_path / name / "state.safetensors") for name in ("two", "one")]
    assert states[0].keys() == states[1].keys()
    names = [name for name in states[0] if not name.startswith("optimizer/")]
    assert any(name.startswith("average/") for name in names)
    assert max(float((states[0][name] - states[1][name]).abs().max()) for name in names) < 1e-5


def test_micro_batches_that_cannot_be_shared_are_refused():
    """Three micro-batches for two processes: the error says what to set."""
    team = Team(0, 2, torch.device("cpu"))
    with pytest.raises(ConfigError, match=r"accumulate = 3(.|\n)*multiple of 2"):
        team.share_of(3)
    assert list(Team(1, 2, torch.device("cpu")).share_of(4)) == [1, 3]
