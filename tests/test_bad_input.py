"""Bad input through the command line: a clear error with its fix, exit code 1, nothing lost."""

import functools
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.hash_cli import Outcome, run

ROOT = Path(__file__).parents[1]
COMMAND = (sys.executable, "-m", "tests.hash_cli")
"""The command line in a process of its own."""


def write_lines(path: Path, *rows: object) -> Path:
    """A JSON-lines file; strings are written as they are."""
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("".join(line + "\n" for line in lines))
    return path


def note(number: int) -> dict[str, object]:
    return {"_id": f"n{number}", "title": f"note {number}", "text": f"words about item{number}"}


def ingest(source: Path, index: Path, *options: object, encoder: str = "hash:a") -> Outcome:
    return run("ingest", source, "--index", index, "--encoder", encoder, *options)


def hits(index: Path, text: str = "words", *options: object) -> list[dict]:
    outcome = run("query", text, "--index", index, "--json", "-k", 1000, *options)
    assert outcome.code == 0, outcome.err
    return [json.loads(line) for line in outcome.out.splitlines()]


def refused(outcome: Outcome, *words: str) -> None:
    """The command failed as expected failures do: error and fix on stderr, no traceback."""
    assert outcome.code == 1, outcome
    assert "Traceback" not in outcome.err
    assert "error: " in outcome.err
    fix = outcome.err.partition("\nfix: ")[2]
    assert fix.strip(), outcome.err
    for word in words:
        assert word in outcome.err, (word, outcome.err)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_lines(tmp_path / "notes.jsonl", *map(note, range(20)))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of twenty notes, not to be touched."""
    folder = tmp_path_factory.mktemp("built")
    outcome = ingest(write_lines(folder / "notes.jsonl", *map(note, range(20))), folder / "index")
    assert outcome.code == 0, outcome.err
    return folder / "index"


@pytest.fixture
def index(tmp_path: Path, built: Path) -> Path:
    """A copy of it that a test may damage."""
    shutil.copytree(built, tmp_path / "index")
    return tmp_path / "index"


@pytest.mark.parametrize("content", ["", "\n\n"])
def test_an_empty_corpus_is_refused_and_the_index_kept(tmp_path, index, content):
    empty = tmp_path / "empty.jsonl"
    empty.write_text(content)
    refused(ingest(empty, index, "--delete"), "empty.jsonl", "no document")
    assert len(hits(index)) == 20


def test_an_empty_folder_is_refused(tmp_path):
    (tmp_path / "folder").mkdir()
    refused(ingest(tmp_path / "folder", tmp_path / "i"), "folder")


def test_a_source_that_does_not_exist_is_refused(tmp_path):
    refused(ingest(tmp_path / "nothing.jsonl", tmp_path / "i"), "nothing.jsonl")


def test_one_document_is_an_index(tmp_path):
    index = tmp_path / "i"
    assert ingest(write_lines(tmp_path / "one.jsonl", note(7)), index).code == 0
    assert [hit["doc_id"] for hit in hits(index, "item7")] == ["n7"]


def test_empty_text_is_skipped_counted_and_listed(tmp_path):
    source = write_lines(
        tmp_path / "s.jsonl", note(1), {"_id": "void", "title": "", "text": ""}, note(2)
    )
    outcome = ingest(source, tmp_path / "i")
    assert outcome.code == 0
    assert "1 empty text" in outcome.out
    rejected = (tmp_path / "i" / "rejected.jsonl").read_text()
    assert json.loads(rejected)["line"] == 2
    refused(ingest(source, tmp_path / "strict", "--strict"), "s.jsonl:2", "empty text")


def test_a_repeated_id_in_one_source_is_refused_with_both_lines(tmp_path, index):
    source = write_lines(tmp_path / "twice.jsonl", note(1), note(2), note(1))
    refused(ingest(source, index), "n1", "1", "3", "twice.jsonl")
    assert len(hits(index)) == 20


def test_an_id_in_two_sources_is_refused_with_both_named(tmp_path, source):
    other = write_lines(tmp_path / "other.jsonl", note(3))
    outcome = run("ingest", source, other, "--index", tmp_path / "i", "--encoder", "hash:a")
    refused(outcome, "n3", "notes.jsonl", "other.jsonl")


def test_a_known_id_in_a_later_ingest_is_an_update(tmp_path, index):
    changed = write_lines(tmp_path / "more.jsonl", {"_id": "n3", "text": "walrus words"})
    outcome = ingest(changed, index)
    assert outcome.code == 0 and "1 updated" in outcome.out
    found = hits(index)
    assert len(found) == 20
    assert [hit["text"] for hit in found if hit["doc_id"] == "n3"] == ["walrus words"]


def test_a_broken_line_is_skipped_and_listed_or_with_strict_refused(tmp_path):
    source = write_lines(tmp_path / "s.jsonl", note(1), '{"_id": "n2", "text": "cut', note(3))
    outcome = ingest(source, tmp_path / "i")
    assert outcome.code == 0 and "1 broken JSON" in outcome.out
    row = json.loads((tmp_path / "i" / "rejected.jsonl").read_text())
    assert (row["file"], row["line"]) == (str(source), 2)
    assert len(hits(tmp_path / "i")) == 2
    refused(ingest(source, tmp_path / "strict", "--strict"), "s.jsonl:2")
    assert not (tmp_path / "strict" / "manifest.json").exists()


def test_delete_with_a_broken_line_removes_nothing(tmp_path, source, index):
    lines = source.read_text().splitlines()
    source.write_text("\n".join(lines[:5]) + '\n{"_id": "n9", "te\n')
    refused(ingest(source, index, "--delete"), "rejected.jsonl")
    assert len(hits(index)) == 20


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_a_missing_column_is_refused_with_those_that_are_there(tmp_path, kind):
    source = tmp_path / f"table.{kind}"
    if kind == "csv":
        source.write_text("_id,heading\n1,words\n")
    else:
        write_lines(source, {"_id": "1", "heading": "words"})
    refused(ingest(source, tmp_path / "i"), "heading")
    refused(ingest(source, tmp_path / "i", "--text-column", "headin"), "headin", "heading")
    assert ingest(source, tmp_path / "i", "--text-column", "heading").code == 0


def test_bytes_that_are_not_utf8_are_skipped_and_listed(tmp_path):
    source = tmp_path / "latin.jsonl"
    source.write_bytes(json.dumps(note(1)).encode() + b'\n{"_id": "n2", "text": "caf\xe9 words"}\n')
    outcome = ingest(source, tmp_path / "i")
    assert outcome.code == 0 and "1 not UTF-8" in outcome.out
    refused(ingest(source, tmp_path / "strict", "--strict"), "latin.jsonl:2", "UTF-8")


def test_a_document_of_five_megabytes_is_cut_and_found(tmp_path):
    words = " ".join(f"{'long' * 20}{n}." for n in range(58_000))
    assert len(words) > 5_000_000
    source = write_lines(
        tmp_path / "s.jsonl", {"_id": "big", "text": words + " needle at the end."}, note(1)
    )
    outcome = ingest(source, tmp_path / "i", "--chunk-tokens", 128, "--overlap", 0)
    assert outcome.code == 0, outcome.err
    best = hits(tmp_path / "i", "needle at the end", "--mode", "lexical")[0]
    assert best["doc_id"] == "big" and best["text"].endswith("needle at the end.")
    assert run("query", "needle", "--index", tmp_path / "i").code == 0


def test_qrels_that_name_unknown_documents_are_counted(tmp_path):
    folder = tmp_path / "suite"
    (folder / "qrels").mkdir(parents=True)
    write_lines(folder / "corpus.jsonl", note(1), note(2))
    write_lines(folder / "queries.jsonl", {"_id": "q1", "text": "item1"})
    judged = "query-id\tcorpus-id\tscore\nq1\tn1\t1\nq1\tgone\t1\nq7\tn2\t1\n"
    (folder / "qrels" / "test.tsv").write_text(judged)
    outcome = run(
        "--home", tmp_path, "bench", folder, "--encoder", "hash:a", "--json", tmp_path / "o.json"
    )
    assert outcome.code == 0, outcome.err
    numbers = json.loads((tmp_path / "o.json").read_text())
    assert numbers["suites"]["suite"]["arms"]["lexical"]["n_queries"] == 1
    assert numbers["suites"]["suite"]["arms"]["lexical"]["recall@10"] == 0.5
    assert len(numbers["settings"]["warnings"]) == 2
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq7\tn2\t1\n")
    refused(run("--home", tmp_path, "bench", folder, "--encoder", "hash:a"), "test.tsv")


def test_a_suite_or_split_that_is_not_there_is_refused(tmp_path):
    (tmp_path / "corpora").mkdir()
    refused(run("--home", tmp_path, "bench", "nosuch", "--encoder", "hash:a"), "nosuch")
    refused(run("--home", tmp_path, "bench", "--encoder", "hash:a"), "corpora")


def test_asking_for_more_than_there_is_gives_all(index):
    assert len(hits(index, "words", "--mode", "dense")) == 20


@pytest.mark.parametrize("expression", ["yaer > 3", "title >", "title == = 'x'", "'"])
def test_a_wrong_filter_is_refused(index, expression):
    refused(run("query", "words", "--index", index, "--filter", expression))


def test_an_empty_query_is_refused(index):
    refused(run("query", "  ", "--index", index), "empty")


def test_an_unknown_mode_is_refused(index):
    refused(run("query", "words", "--index", index, "--mode", "hybird"), "hybird", "hybrid")


@pytest.mark.parametrize(
    "options", [("--backend", "fais"), ("--ann", "tree"), ("--reader", "jsn"), ("--overlap", 999)]
)
def test_a_wrong_choice_is_refused_with_the_known_ones(tmp_path, source, options):
    refused(ingest(source, tmp_path / "i", *options), str(options[1]))


def test_a_file_of_queries_with_wrong_lines_names_them(tmp_path, index):
    file = write_lines(tmp_path / "q.jsonl", {"_id": "1", "text": "x"}, "{", {"_id": "1"})
    out = tmp_path / "o.trec"
    refused(run("query", "--index", index, "--queries", file, "--run", out), "q.jsonl:2", ":3")
    missing = tmp_path / "none.tsv"
    refused(run("query", "--index", index, "--queries", missing, "--run", out), "none.tsv")
    assert not out.exists()


def test_another_encoder_is_refused_for_queries_and_for_ingest(tmp_path, source, index):
    for outcome in (
        run("query", "words", "--index", index, "--encoder", "hash:b"),
        ingest(source, index, encoder="hash:b"),
    ):
        refused(outcome, "do not match", "hash:b", "lbr-search ingest")
    assert len(hits(index)) == 20


def test_an_encoder_that_is_not_there_is_refused(tmp_path, source):
    refused(ingest(source, tmp_path / "i", encoder=str(tmp_path / "none")), "none", "--encoder")
    (tmp_path / "folder").mkdir()
    refused(ingest(source, tmp_path / "i", encoder=str(tmp_path / "folder")), "folder")
    assert not (tmp_path / "i" / "manifest.json").exists()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound LBR checkpoint: two layers, random weights."""
    import torch

    from lbr_search.encoder.checkpoint import LbrConfig, save_checkpoint
    from tests.tiny import tiny_model, tiny_tokenizer

    folder = tmp_path_factory.mktemp("encoder") / "tiny"
    save_checkpoint(
        tiny_model(k=2),
        tiny_tokenizer(),
        LbrConfig(name="tiny", n_compression_tokens=2, max_tokens=64),
        folder,
        dtype=torch.float32,
    )
    return folder


def test_a_sound_checkpoint_is_taken(tmp_path, source, checkpoint):
    """What the next test breaks works when it is whole."""
    outcome = ingest(source, tmp_path / "i", encoder=str(checkpoint))
    assert outcome.code == 0, outcome.err
    assert len(hits(tmp_path / "i")) == 20


@pytest.mark.parametrize("victim", ["model.safetensors", "lbr.safetensors", "lbr.json"])
@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_damaged_checkpoint_is_refused(tmp_path, source, checkpoint, victim, damage):
    broken = tmp_path / "broken"
    shutil.copytree(checkpoint, broken)
    content = (broken / victim).read_bytes()
    (broken / victim).unlink()
    if damage == "cut":
        (broken / victim).write_bytes(content[: len(content) // 2])
    refused(ingest(source, tmp_path / "i", encoder=str(broken)), str(broken))
    assert not (tmp_path / "i" / "manifest.json").exists()


class _Payload:
    """Unpickled, it makes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


@pytest.mark.parametrize("victim", ["model.safetensors", "lbr.safetensors"])
def test_a_pickle_in_the_place_of_weights_is_refused_unopened(tmp_path, source, checkpoint, victim):
    broken, mark = tmp_path / "broken", tmp_path / "mark"
    shutil.copytree(checkpoint, broken)
    (broken / victim).write_bytes(pickle.dumps(_Payload(mark)))
    refused(ingest(source, tmp_path / "i", encoder=str(broken)), str(broken))
    assert not mark.exists()
    pickle.loads((broken / victim).read_bytes())
    assert mark.exists()  # the payload does what it should


@pytest.mark.parametrize("model_type", ["llama", "own"])
def test_code_that_a_checkpoint_brings_along_is_not_run(tmp_path, source, checkpoint, model_type):
    """What is known is read by our code; another type of model is refused."""
    evil, mark = tmp_path / "evil", tmp_path / "mark"
    shutil.copytree(checkpoint, evil)
    (evil / "modeling_own.py").write_text(f"open({str(mark)!r}, 'w')\nclass Own: pass\n")
    config = json.loads((evil / "config.json").read_text())
    config["auto_map"] = dict.fromkeys(
        ("AutoConfig", "AutoModel", "AutoModelForCausalLM"), "modeling_own.Own"
    )
    config["model_type"] = config["model_type"] if model_type == "llama" else model_type
    (evil / "config.json").write_text(json.dumps(config))
    outcome = ingest(source, tmp_path / "i", encoder=str(evil))
    assert not mark.exists()
    if model_type == "own":
        refused(outcome, "custom code")
        assert "[y/N]" not in outcome.out  # nobody is asked to run it


def test_a_checkpoint_that_was_trained_on_is_another_encoder(tmp_path, source, checkpoint):
    """One changed bit in the weights changes the fingerprint; the index is not searched with it."""
    mine = tmp_path / "mine"
    shutil.copytree(checkpoint, mine)
    assert ingest(source, tmp_path / "i", encoder=str(mine)).code == 0
    weights = bytearray((mine / "lbr.safetensors").read_bytes())
    weights[-1] ^= 1
    (mine / "lbr.safetensors").write_bytes(weights)
    refused(run("query", "words", "--index", tmp_path / "i"), "do not match")


def test_a_folder_that_is_no_index_is_refused(tmp_path):
    (tmp_path / "stuff").mkdir()
    refused(run("query", "words", "--index", tmp_path / "stuff"), "stuff")
    refused(run("index", "info", tmp_path / "gone"), "gone")


def test_a_half_written_index_is_refused_and_the_same_ingest_completes_it(source, index):
    """The state between the first commit and the first publication."""
    (index / "manifest.json").unlink()
    refused(run("query", "words", "--index", index), "half written", "lbr-search ingest")
    again = ingest(source, index)
    assert again.code == 0, again.err
    assert len(hits(index)) == 20


def test_a_truncated_index_file_is_refused(index):
    victim = max(index.glob("gen-*/**/*"), key=lambda p: p.stat().st_size if p.is_file() else 0)
    victim.write_bytes(victim.read_bytes()[:-10])
    refused(run("query", "words", "--index", index), victim.name)


def test_a_damaged_manifest_is_refused(index):
    (index / "manifest.json").write_text('{"format": 1, ')
    refused(run("query", "words", "--index", index), "manifest.json")


def slow_ingest(source: Path, index: Path) -> subprocess.Popen[str]:
    """An ingest in its own process that takes seconds; returns once it has begun to encode."""
    process = subprocess.Popen(
        [*COMMAND, "ingest", str(source), "--index", str(index), "--encoder", "hash:slow"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        # a shell's background job hands on an ignored SIGINT
        preexec_fn=functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stderr is not None
    first = process.stderr.readline()
    assert " -> " in first, first + process.stderr.read()
    deadline = time.monotonic() + 60
    while not (index / "seal.json").exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return process


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_ingest_says_how_to_go_on_and_goes_on(tmp_path, stop):
    source = write_lines(tmp_path / "many.jsonl", *map(note, range(60_000)))
    index = tmp_path / "i"
    process = slow_ingest(source, index)
    time.sleep(1.0)
    process.send_signal(stop)
    out, err = process.communicate(timeout=60)
    assert out == ""
    if stop is signal.SIGINT:
        assert process.returncode == 130, err
        assert "Traceback" not in err
        assert "run the same command again" in err
    refused(run("query", "words", "--index", index), "half written")
    write_lines(source, *map(note, range(300)))
    again = ingest(source, index, "--delete", encoder="hash:slow")
    assert again.code == 0, again.err
    outcome = run("query", "words", "--index", index, "--json", "-k", 1000, "--mode", "dense")
    found = [json.loads(line)["doc_id"] for line in outcome.out.splitlines()]
    assert sorted(found) == sorted(f"n{number}" for number in range(300))


def test_a_stopped_ingest_leaves_the_published_index_as_it_was(tmp_path):
    index = tmp_path / "i"
    few = write_lines(tmp_path / "s.jsonl", *map(note, range(10)))
    assert ingest(few, index, encoder="hash:slow").code == 0
    process = slow_ingest(write_lines(few, *map(note, range(60_000))), index)
    time.sleep(1.5)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert len(hits(index, "words", "--mode", "dense")) == 10


@pytest.fixture
def without_privileges() -> list[str]:
    """What to put before a command so that a folder's permissions bind it, as they bind a user."""
    if os.geteuid() != 0:
        return []
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        pytest.skip("root may write everywhere, and setpriv is not here to give that up")
    return [setpriv, "--bounding-set=-dac_override,-dac_read_search"]


def test_a_read_only_folder_is_refused(tmp_path, source, index, without_privileges):
    (tmp_path / "empty").mkdir()
    changed = write_lines(tmp_path / "more.jsonl", note(1), "{broken", note(99))
    folders = [path for path in (tmp_path, *tmp_path.rglob("*")) if path.is_dir()]
    for folder in folders:
        folder.chmod(0o555)
    for target in (tmp_path / "new", tmp_path / "empty", index):
        command = [*COMMAND, "ingest", str(changed), "--index", str(target)]
        found = subprocess.run(
            [*without_privileges, *command, "--encoder", "hash:a"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        refused(Outcome(found.returncode, found.stdout, found.stderr), str(target), "writ")
    for folder in folders:
        folder.chmod(0o755)
    assert len(hits(index)) == 20


def test_a_training_that_cannot_start_says_why(tmp_path):
    refused(run("train", "all", "no-such-recipe", "--out", tmp_path / "o"), "no-such-recipe")
    recipe = tmp_path / "r.toml"
    recipe.write_text("[model]\nn_layer = 3\n")
    refused(run("train", "stage1", recipe, "--out", tmp_path / "o"), "n_layer", "n_layers")
    recipe.write_text("[model\n")
    refused(run("train", "stage1", recipe, "--out", tmp_path / "o"), "r.toml")
    assert not (tmp_path / "o").exists()
