"""`train report`: one page, well-formed, with nothing from elsewhere, true to the log."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from lbr_search.errors import TrainingError
from lbr_search.train.report import health_card, passed_share, write_report
from tests.hash_cli import run

SVG = "{http://www.w3.org/2000/svg}"
EVALUATION = {
    "dev_ndcg@10/chemistry": 0.4,
    "dev_ndcg@10": 0.45,
    "nll_y_z": 4.0,
    "nll_y": 5.0,
    "nll_y_x": 3.75,
    "effective_rank": 123.4,
    "random_cosine": 0.021,
    "token_cosine": 0.3,
    "score": 0.45,
    "eval_seconds": 1.0,
}


def step(number: int, **values: float) -> dict[str, float]:
    return {
        "step": number, "loss": 9.0 / number, "nll_x": 5.0, "tokens": 1200.0, "grad_norm": 1.0,
        "lr": 1e-3, "seconds": 6.0 * number, **values,
    }  # fmt: skip


def write_log(folder: Path, stage: str, lines: list[dict[str, float]], tail: str = "") -> None:
    (folder / stage).mkdir(parents=True)
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / stage / "log.jsonl").write_text(text + tail)


def page(path: Path) -> ElementTree.Element:
    """The page as XML: that it parses is the proof that every element is closed."""
    return ElementTree.fromstring(path.read_text().removeprefix("<!DOCTYPE html>\n"))


def cells(root: ElementTree.Element) -> dict[str, str]:
    return {row[0].text or "": row[1].text or "" for row in root.iter("tr")}


def test_the_page_shows_both_stages_and_the_health_of_the_best_step(tmp_path: Path):
    """Curves, counts and the card are those of the log; the better evaluation is the one shown."""
    better = {**EVALUATION, "dev_ndcg@10": 0.61, "score": 0.61}
    lines = [
        step(1),
        step(2, loss=math.nan),
        {"step": 2, **better},
        step(3),
        {"step": 3, **EVALUATION},
    ]
    write_log(tmp_path, "stage1", [*lines, {"step": 3, "rolled_back_from": 8}])
    write_log(tmp_path, "stage2", [step(n) for n in range(1, 301)])
    (tmp_path / "run.toml").write_text('[model]\nname = "a<b"\n[stage1_loop]\nsteps = 40\n')
    root = page(write_report(tmp_path))
    assert [heading.text for heading in root.iter("h2")] == ["Stage 1: learn", "Stage 2: represent"]
    assert "".join(root.find("body/h1").itertext()) == "Training of a<b"
    assert [heading.text for heading in root.iter("h3")] == ["Health at the best step, 2"]
    shown = cells(root)
    assert shown["dev nDCG@10"] == "0.610"
    assert shown["share that passed the bottleneck"] == "80 %"
    assert shown["effective rank"] == "123"
    assert shown["bad steps"] == "1"
    assert shown["roll-back"] == "8 to 3"
    assert shown["steps"] == "300" and shown["speed"] == "200 tokens/s"
    assert len(list(root.iter(f"{SVG}svg"))) == 4
    legends = {text.text for text in root.iter(f"{SVG}text")}
    assert {"loss", "nll_x", "nll_y_z", "nll_y_x", "dev_ndcg@10/chemistry"} <= legends
    assert not {"tokens", "grad_norm", "lr"} & legends


def test_the_page_needs_nothing_but_itself(tmp_path: Path):
    """No script, and no address but the names of XML namespaces; every id stands once."""
    write_log(tmp_path, "stage1", [step(1), step(2), {"step": 2, **EVALUATION}])
    path = write_report(tmp_path, tmp_path / "other.html")
    assert path == tmp_path / "other.html"
    text = path.read_text()
    assert not re.findall(r"<(script|link|img|iframe|object|embed)\b|@import|\bsrc=", text)
    assert set(re.findall(r"\b(?:https?|file|data):[^\"'\s<]*", text)) == {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    targets = set(re.findall(r'href="([^"]*)"', text)) | set(re.findall(r"url\(([^)]*)\)", text))
    ids = re.findall(r'\bid="([^"]*)"', text)
    assert len(ids) == len(set(ids))
    assert {target.removeprefix("#") for target in targets} <= set(ids)


def test_an_unfinished_run_of_one_step_is_drawn(tmp_path: Path):
    """A run killed while writing its second line: one point, drawn as a mark, no evaluation."""
    write_log(tmp_path, "stage1", [step(1)], tail='{"step": 2, "lo')
    root = page(write_report(tmp_path))
    assert cells(root)["steps"] == "1"
    assert any(use.tag == f"{SVG}use" for use in root.iter())
    assert "Not evaluated yet." in "".join(root.itertext())


def test_a_folder_without_a_run_is_refused(tmp_path: Path):
    """The error names what was looked for."""
    with pytest.raises(TrainingError, match="no training log"):
        write_report(tmp_path)


def test_the_share_that_passed_is_undefined_where_the_text_does_not_help():
    """With nll_y_x above nll_y the quotient would say nonsense."""
    assert passed_share({"nll_y": 5.0, "nll_y_z": 4.0, "nll_y_x": 5.5}) is None
    card = {row.name: row.value for row in health_card({"nll_y": 5, "nll_y_z": 4, "nll_y_x": 5.5})}
    assert card["share that passed the bottleneck"] == "not defined"


def test_the_command_writes_the_page_and_says_where(tmp_path: Path):
    """`train report DIR`."""
    write_log(tmp_path, "stage2", [step(1)])
    outcome = run("train", "report", tmp_path)
    assert outcome.code == 0, outcome.err
    assert outcome.out.strip() == str(tmp_path / "report.html")
    assert (tmp_path / "report.html").is_file()
    assert run("train", "report", tmp_path / "stage2").code == 1
