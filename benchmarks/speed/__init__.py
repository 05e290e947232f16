"""The speed benchmark; see ``python -m benchmarks.speed --help``."""
