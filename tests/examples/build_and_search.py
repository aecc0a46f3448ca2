"""Build an index and search it: python build_and_search.py SOURCE INDEX QUERY [ENCODER]."""

import sys

from lbr_search import Searcher, build_index

source, index, query, *encoder = sys.argv[1:]
report = build_index([source], index, encoder=encoder[0] if encoder else "lbr-mini")
print(f"{report.build.n_documents} documents, {report.build.n_chunks} chunks in {report.index}")
searcher = Searcher.open(index)
for hit in searcher.search(query, k=3):
    print(f"{hit.rank}  {hit.score:.3f}  {hit.doc_id}  {hit.title}")
