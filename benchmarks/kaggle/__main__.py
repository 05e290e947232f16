"""``python -m benchmarks.kaggle``."""

from benchmarks.kaggle import main

main()
