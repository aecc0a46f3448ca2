"""Four readers in processes of their own while an index is built, synced, tidied and swapped."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from lbr_search.config import IndexConfig
from lbr_search.index import store as store_module
from lbr_search.index.opened import open_index
from lbr_search.index.verify import verify_index
from lbr_search.ingest import build_index
from lbr_search.search.searcher import Searcher
from lbr_search.upkeep.reindex import reindex
from lbr_search.upkeep.sync import sync
from tests.conftest import HashEncoder

N_READERS = 4
CONFIG = IndexConfig(backend="faiss", commit_rows=8, encode_batch=8)
READER = """
    import json, sys
    from pathlib import Path
    sys.path.insert(0, {root!r})
    from lbr_search.search.searcher import Searcher
    from tests.conftest import HashEncoder

    index, stop = Path({index!r}), Path({stop!r})
    while not stop.exists():
        salt = "b" if '"hash-b"' in (index / "manifest.json").read_text() else "a"
        try:
            searcher = Searcher.open(index, encoder=HashEncoder(salt=salt))
        except Exception as error:
            if type(error).__name__ == "SealError":
                continue  # the encoder was changed between the two lines above
            raise
        (source,) = searcher._sources.values()
        for mode in ("lexical", "dense", "hybrid"):
            hits = searcher.search("common words of round", k=99, mode=mode)
            texts = sorted((hit.doc_id, hit.text) for hit in hits)
            seen = {{"generation": source.opened.manifest.generation, "texts": texts}}
            print(json.dumps(seen), flush=True)
"""


def write_round(tree: Path, number: int) -> None:
    for note in range(12):
        (tree / f"note-{note}.txt").write_text(f"common words of round {number} in note {note}")
    (tree / f"only-{number}.txt").write_text(f"common words that round {number} alone has")
    (tree / f"only-{number - 1}.txt").unlink(missing_ok=True)


def state(index: Path) -> str:
    with open_index(index, encoder=None) as opened:
        chunks = opened.fetch(opened._payload.row_ids[:])
    return json.dumps(sorted([c.doc_id, c.text] for c in chunks))


def test_readers_see_whole_states_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """No error, every answer from one published state, and never one older than the last."""
    tree, index, stop = tmp_path / "tree", tmp_path / "index", tmp_path / "stop"
    tree.mkdir()
    write_round(tree, 0)
    build_index([tree], index, encoder=HashEncoder(), config=CONFIG)
    states = {state(index)}
    code = textwrap.dedent(READER).format(
        root=str(Path(__file__).parent.parent), index=str(index), stop=str(stop)
    )
    outs = [tmp_path / f"reader-{n}" for n in range(N_READERS)]
    readers = []
    for out in outs:
        with out.open("w") as stream:
            command = [sys.executable, "-c", code]
            readers.append(
                subprocess.Popen(command, stdout=stream, stderr=subprocess.PIPE, text=True)
            )
    try:
        waited = time.monotonic() + 60
        while any(out.stat().st_size == 0 for out in outs):
            assert time.monotonic() < waited, [r.poll() for r in readers]
            time.sleep(0.05)
        for number in range(1, 7):
            write_round(tree, number)
            if number == 4:
                monkeypatch.setattr(store_module.ChunkStore, "is_untidy", True)
            sync(index, encoder=HashEncoder())
            states.add(state(index))
            time.sleep(0.3)
        reindex(index, HashEncoder(salt="b"), old_encoder=HashEncoder(), force=True)
        states.add(state(index))
        time.sleep(1)
    finally:
        stop.touch()
        errors = [reader.communicate(timeout=60)[1] for reader in readers]
    assert errors == [""] * N_READERS
    for out in outs:
        answers = [json.loads(line) for line in out.read_text().splitlines()]
        generations = [answer["generation"] for answer in answers]
        assert generations == sorted(generations)
        assert len(set(generations)) > 3, "the readers met few of the states"
        assert all(json.dumps(answer["texts"]) in states for answer in answers)
    assert verify_index(index).problems == []


def test_files_that_a_clock_set_back_made_older_are_read(tmp_path: Path):
    """A change is any other time or size, not a later time."""
    tree, index = tmp_path / "tree", tmp_path / "index"
    tree.mkdir()
    write_round(tree, 0)
    build_index([tree], index, encoder=HashEncoder(), config=CONFIG)
    path = tree / "note-3.txt"
    for number in range(1, 4):
        size, old = path.stat().st_size, path.stat().st_mtime_ns
        path.write_text(f"common words of round {number} in note 3")
        assert path.stat().st_size == size
        os.utime(path, ns=(old - 10**12, old - 10**12))  # written, and 1,000 s older than before
        report = sync(index, encoder=HashEncoder())
        assert report.build is not None and report.build.n_updated == 1
        hits = Searcher.open(index, encoder=HashEncoder()).search("round in note 3", k=20)
        assert path.read_text() in [hit.text for hit in hits]
