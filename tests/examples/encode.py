"""Encode texts with the default encoder: python encode.py [ENCODER]."""

import sys

from lbr_search import Encoder

encoder = Encoder.load(sys.argv[1] if len(sys.argv) > 1 else "lbr-mini")
passages = encoder.encode_passages(["Aspirin thins the blood.", "sorted(rows) returns a list."])
query = encoder.encode_queries(["medicine against clots"])
for score, text in zip((passages @ query[0]).tolist(), ("aspirin", "sorted"), strict=True):
    print(f"{score:.3f}  {text}")
