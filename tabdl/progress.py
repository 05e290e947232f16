"""What ``verbose`` shows while a network trains."""

import sys
from contextlib import contextmanager


@contextmanager
def progress(title, verbose, max_epochs):
    """Yield a list of callbacks for the training loop that show each epoch's record.

    Parameters
    ----------
    title : str
    verbose : int
        0: nothing. 1: one live line when the terminal is interactive and rich is installed, else a plain line an epoch.
        2: a plain line an epoch.
    max_epochs : int
    """
    if not verbose:
        yield []
    elif verbose == 1 and sys.stdout.isatty() and (live := _rich_progress()) is not None:
        with live:
            task = live.add_task(title, total=max_epochs, line="")
            yield [lambda record: live.update(task, completed=record["epoch"], line=_line(record))]
    else:
        yield [lambda record: print(f"{title}: {_line(record)}", flush=True)]


def _rich_progress():
    try:
        from rich.progress import Progress, TextColumn, TimeElapsedColumn
    except ImportError:
        return None
    return Progress(TextColumn("{task.description}: {task.fields[line]}"), TimeElapsedColumn())


def _line(record):
    parts = [f"epoch {record['epoch']}", f"train loss {record['train_loss']:.4f}"]
    if record["val_loss"] is not None:
        parts += [f"val loss {record['val_loss']:.4f}", f"val score {record['val_score']:.4f}"]
    return ", ".join([*parts, f"{record['seconds']:.2f} s"])
