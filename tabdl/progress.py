"""What ``verbose`` shows while a network trains."""

import sys
from contextlib import contextmanager


@contextmanager
def progress(title, verbose, max_epochs, n_members=1):
    """Yield a list of callbacks for the training loop that show each epoch's record.

    Parameters
    ----------
    title : str
    verbose : int
        0: nothing. 1: one live line when the terminal is interactive and rich is installed, else a
        plain line an epoch. 2: a plain line an epoch.
    max_epochs : int
    n_members : int
        Networks that are trained; more than one are told apart by their number.
    """
    if not verbose:
        yield []
    elif verbose == 1 and sys.stdout.isatty() and (live := _rich_progress()) is not None:
        with live:
            tasks = [live.add_task(title, total=max_epochs, line="") for _ in range(n_members)]
            yield [
                lambda record: live.update(
                    tasks[record.get("member", 0)], completed=record["epoch"], line=_line(record)
                )
            ]
    else:
        yield [lambda record: print(f"{title}: {_line(record)}", flush=True)]


def _rich_progress():
    try:
        from rich.progress import Progress, TextColumn, TimeElapsedColumn
    except ImportError:
        return None
    return Progress(TextColumn("{task.description}: {task.fields[line]}"), TimeElapsedColumn())


class FoldsProgress:
    """What ``verbose`` shows while the folds of an ensemble are trained; open it as a context.

    Parameters
    ----------
    title : str
    n_folds : int
    verbose : int
        0: nothing. 1: one live view of all folds with the time left when the terminal is
        interactive and rich is installed, else a plain line a fold. 2: a plain line a fold, and one
        an epoch of those that tell their epochs.
    """

    def __init__(self, title, n_folds, verbose):
        self.title, self.n_folds, self.verbose, self.live = title, n_folds, int(verbose), None

    def __enter__(self):
        if self.verbose == 1 and sys.stdout.isatty() and (live := _rich_folds()) is not None:
            self.live = live
            live.start()
            self.total = live.add_task(self.title, total=self.n_folds, line="")
            self.tasks = [
                live.add_task(f"  fold {i + 1}", total=1, line="waits", visible=False)
                for i in range(self.n_folds)
            ]
        return self

    def __exit__(self, *exception):
        if self.live is not None:
            self.live.stop()

    def callback(self, i):
        """Return what takes the records of fold ``i``, or None where nothing shows them."""
        return (
            None if self.live is None and self.verbose < 2 else lambda record: self.epoch(i, record)
        )

    def epoch(self, i, record):
        """Show an epoch's record of fold ``i``."""
        if self.live is not None:
            self.live.update(self.tasks[i], line=_line(record), visible=True)
        elif self.verbose == 2:
            print(f"{self.title}: fold {i + 1} of {self.n_folds}: {_line(record)}", flush=True)

    def done(self, i):
        """Show that fold ``i`` is trained."""
        if self.live is not None:
            self.live.update(self.tasks[i], completed=1, visible=True)
            self.live.advance(self.total)
        elif self.verbose:
            print(f"{self.title}: fold {i + 1} of {self.n_folds} is trained", flush=True)


def _rich_folds():
    try:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
    except ImportError:
        return None
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    return Progress(*columns, TimeRemainingColumn(), TextColumn("{task.fields[line]}"))


def _line(record):
    parts = [f"member {record['member']}"] if "member" in record else []
    parts += [f"epoch {record['epoch']}", f"train loss {record['train_loss']:.4f}"]
    if record["val_loss"] is not None:
        parts += [f"val loss {record['val_loss']:.4f}", f"val score {record['val_score']:.4f}"]
    return ", ".join([*parts, f"{record['seconds']:.2f} s"])
