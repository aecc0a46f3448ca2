"""Query -> candidates -> fused hits."""
