"""Measures deeptool beside other ways to read the same samples: `make bench`.

Not part of the packages. Modules that run in `.venv-bench` import NumPy alone, besides their peer.
"""
