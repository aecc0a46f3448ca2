"""Re-scoring of candidates; one file a reranker."""
