"""Suites, runs, measures, reports."""
