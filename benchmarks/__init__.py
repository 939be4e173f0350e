"""Benchmarks, which take longer than tests: `python -m benchmarks.NAME`."""
