"""The cost of ``import tabdl`` beside that of what it stands on: ``python -m
benchmarks.speed.import_time``."""

import statistics
import subprocess
import sys
import time

OURS, BELOW = "import tabdl", "import torch, sklearn.base, pandas"


def seconds(statement):
    """Return the wall seconds of a new Python that runs ``statement``."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True)
    return time.perf_counter() - start


def main(repeats=7):
    """Print the median and the range of the ratios of pairs of runs, one after the other."""
    seconds(OURS), seconds(BELOW)  # fills the disk's cache
    pairs = [(seconds(OURS), seconds(BELOW)) for _ in range(repeats)]
    ratios = [ours / below for ours, below in pairs]
    print(
        f"{OURS}: {statistics.median(p[0] for p in pairs):.2f} s; {BELOW}: "
        f"{statistics.median(p[1] for p in pairs):.2f} s"
    )
    print(
        f"ratio {statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f}) over "
        f"{repeats} pairs"
    )


if __name__ == "__main__":
    main()
