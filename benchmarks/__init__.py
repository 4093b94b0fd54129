"""Benchmarks of the repository; `jitgrad.bench` says what is measured, and `jitgrad bench` measures it.

- `python -m benchmarks.versus`: jitgrad beside PyTorch (and NumPy by hand), with the goals.
- `python -m benchmarks.startup`: from a fresh process to the first gradient.
- `asv run`: the same cases over the history of the repository (`asv_*.py`).
"""
