"""``python -m tabdl.kaggle``."""

from tabdl.kaggle.command import main

main()
