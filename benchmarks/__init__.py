"""Measurements that take longer than tests: run as modules, `python -m benchmarks.NAME`."""
