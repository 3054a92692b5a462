"""How well, how fast and how reliably the package works: ``python -m benchmarks --help``."""
