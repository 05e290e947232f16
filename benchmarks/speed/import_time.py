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
    ours, below = (statistics.median(each) for each in zip(*pairs, strict=True))
    ratios = [first / second for first, second in pairs]
    middle, low, high = statistics.median(ratios), min(ratios), max(ratios)
    print(f"{OURS}: {ours:.2f} s; {BELOW}: {below:.2f} s")
    print(f"ratio {middle:.2f} ({low:.2f}–{high:.2f}) over {repeats} pairs")


if __name__ == "__main__":
    main()
