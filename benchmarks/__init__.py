"""Benchmarks: each runs as `python -m benchmarks.NAME [--json]` and prints its figures."""
