"""File formats -> documents, one module a format."""
