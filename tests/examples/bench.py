"""Measure a suite by three arms: python bench.py SUITE HOME [ENCODER]."""

import sys

from lbr_search import run_bench

suite, home, *encoder = sys.argv[1:]
result = run_bench([suite], encoders=[encoder[0] if encoder else "lbr-mini"], home=home)
for name, found in result.suites.items():
    for arm, measured in found.arms.items():
        print(f"{name}  {arm}  nDCG@10 {measured.evaluation.means['ndcg@10']:.3f}")
