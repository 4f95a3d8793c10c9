"""Benchmarks: ratios to floors that are measured in the same run, on the same machine."""
