"""GPU energy: the sum over readings by hand, a program in nvidia-smi's place, none at all."""

from __future__ import annotations

import stat
import time
from pathlib import Path

import pytest

from lbr_search.bench import energy
from lbr_search.bench.energy import gpu_energy, joules
from lbr_search.bench.report import markdown_report, screen_report
from lbr_search.bench.runner import run_bench
from lbr_search.bench.summary import summary_report
from tests.conftest import HashEncoder

FAKE = """#!/bin/sh
while true; do echo "0, {first}"; echo "1, {second}"; sleep 0.05; done
"""


def put_nvidia_smi(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program of that name that is found before all others."""
    program = folder / energy.COMMAND
    program.write_text(text)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(folder), prepend=":")


def test_power_is_summed_over_time_between_uneven_readings():
    """Trapezoids between readings, the nearest reading outside them, GPUs added up."""
    curve = [(1.0, "0", 100.0), (2.0, "0", 300.0), (4.0, "0", 300.0)]
    assert joules(curve, 0.0, 5.0) == pytest.approx(100 + 200 + 600 + 300)
    assert joules(curve, 1.5, 1.75) == pytest.approx(0.25 * (200 + 250) / 2)
    assert joules([*curve, (3.0, "1", 10.0)], 0.0, 5.0) == pytest.approx(1200 + 50)
    assert joules([], 0.0, 1.0) is None


def test_a_block_takes_what_the_gpus_draw_while_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """200 W and 50 W for as long as the block ran; the program is ended with it."""
    put_nvidia_smi(tmp_path, FAKE.format(first="200.00", second="50.00"), monkeypatch)
    started = time.perf_counter()
    with gpu_energy() as used:
        time.sleep(0.2)
        inside = time.perf_counter() - started
    assert used.joules is not None
    assert 250 * 0.2 <= used.joules <= 250 * inside + 1e-6


@pytest.mark.parametrize(
    "text", ["#!/bin/sh\nexit 9\n", FAKE.format(first="[N/A]", second="[N/A]"), "no program"]
)
def test_nothing_is_said_where_the_power_is_not_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
):
    """A driver that fails, GPUs that do not tell, a file that does not run."""
    put_nvidia_smi(tmp_path, text, monkeypatch)
    with gpu_energy() as used:
        pass
    assert used.joules is None
    monkeypatch.setenv("PATH", str(tmp_path / "none"))
    with gpu_energy() as used:
        pass
    assert used.joules is None


def test_the_cost_tables_have_a_column_of_energy_where_it_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Encoding counts, also in a second run that encodes nothing; without a GPU no column."""
    suite = Path(__file__).parents[1] / "corpora" / "demo" / "chemistry"
    options = {"modes": ["dense"], "encoders": [HashEncoder()], "home": tmp_path}
    without = run_bench([suite], **options, fresh=True)
    assert "GPU J" not in markdown_report(without).split("documents/s: of the build")[0]
    put_nvidia_smi(tmp_path, FAKE.format(first="200.0", second="50.0"), monkeypatch)
    for is_fresh in (True, False):
        result = run_bench([suite], **options, fresh=is_fresh)
        (arm,) = next(iter(result.suites.values())).arms.values()
        assert arm.cost.gpu_joules > 0
        assert "| GPU J/query |" in markdown_report(result)
        assert "| GPU J/query |" in summary_report(result)
        assert arm.to_json()["gpu_joules"] > 0
        assert screen_report(result)
