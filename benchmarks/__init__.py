"""Benchmarks: `cases.py` says what is measured, the other modules how.

- `python -m benchmarks.versus`: jitgrad beside PyTorch (and NumPy by hand), with the goals.
- `python -m benchmarks.startup`: from a fresh process to the first gradient.
- `asv run`: the same cases over the history of the repository (`asv_*.py`).
"""
