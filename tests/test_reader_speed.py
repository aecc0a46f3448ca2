"""Samples of every format are read in full, and their speed is a speed of something."""

from __future__ import annotations

import pytest

from lbr_search.bench.reader_samples import WRITERS, write_sample
from lbr_search.bench.reader_speed import markdown_table, measure_readers
from lbr_search.corpus.rejects import Rejects
from lbr_search.errors import ConfigError
from lbr_search.protocols import ReadOptions
from lbr_search.registry import READERS

N_OF = {"python": 20, "code": 20}


@pytest.mark.parametrize("name", WRITERS)
def test_samples_are_read_in_full(tmp_path, name):
    """As many documents as were asked for, none rejected, the same for the same seed."""
    source = write_sample(name, tmp_path, n_documents=N_OF.get(name, 3))
    rejects = Rejects(None)
    documents = list(READERS.resolve(name)(source, options=ReadOptions(), rejects=rejects))
    assert len(documents) == N_OF.get(name, 3)
    assert (rejects.n_rejected, rejects.skipped) == (0, {})
    assert all(document.text for document in documents)
    assert max(len(document.text) for document in documents) > 50


def test_speeds_are_measured_for_samples_and_sources(tmp_path, encoder):
    """Counts and bytes are those of the source; the table has a line for each."""
    (tmp_path / "own.jsonl").write_text('{"_id": "1", "text": "' + "word " * 300 + '"}\n')
    speeds = measure_readers(
        encoder, readers=["obo"], sources=[str(tmp_path / "own.jsonl")], home=tmp_path
    )
    assert [(one.reader, one.n_documents) for one in speeds] == [("obo", 1000), ("jsonl", 1)]
    assert speeds[1].source_bytes == (tmp_path / "own.jsonl").stat().st_size
    assert speeds[1].n_chunks == 3
    assert all(one.encoded_per_s > 0 and one.read_s >= 0 for one in speeds)
    assert len(markdown_table(speeds).splitlines()) == 4
    with pytest.raises(ConfigError, match="no sample"):
        measure_readers(encoder, readers=["beir"], home=tmp_path)
