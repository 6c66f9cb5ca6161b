"""Metrics: per-example statistics and an aggregation."""
