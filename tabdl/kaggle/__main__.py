"""``python -m tabdl.kaggle``."""

from tabdl.kaggle.command import main

if __name__ == "__main__":
    main()
