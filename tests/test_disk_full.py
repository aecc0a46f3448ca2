"""Training on a disk that fills up: the last checkpoint survives, and the run goes on from it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lbr_search.errors import TrainingError
from tests.test_loop import distance, run


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder of 700 kB: room for a state of the tiny model, and not for its successor beside."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=700k", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"mounting is not permitted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], capture_output=True, check=False)


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a tmpfs, as Linux has it")
def test_a_full_disk_keeps_the_last_checkpoint(tmp_path: Path, small_disk: Path):
    """The error says what to do; with more room the run ends with the weights of one whole run."""
    with pytest.raises(TrainingError, match=r"no space left(.|\n)*run the same command again"):
        run(small_disk / "run", steps=11, eval_every=0)
    assert not list((small_disk / "run").glob("*.partial"))
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    resumed, report = run(small_disk / "run", steps=11, eval_every=0)
    whole, _ = run(tmp_path / "whole", steps=11, eval_every=0)
    assert report.resumed_from in (3, 6)
    assert distance(resumed, whole) == 0
