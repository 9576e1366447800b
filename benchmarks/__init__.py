"""Measurements that documents quote: one command each, results kept under `benchmarks/results`."""
