"""Vectors, texts and terms on disk, and their search."""
