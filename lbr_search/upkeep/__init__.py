"""Keeping an index current and whole: sync, forget, reindex, repair, export."""
