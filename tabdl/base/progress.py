"""What ``verbose`` shows while networks and ensembles train."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

# With verbose=1 and no terminal, a fit prints at most about so many lines.
_MOST_LINES = 30


@contextmanager
def progress(
    title: str, verbose: int, max_epochs: int, n_members: int = 1
) -> Iterator[list[Callable[[dict[str, Any]], None]]]:
    """Yield a list of callbacks for the training loop that show the record of each epoch.

    Parameters
    ----------
    title : str
    verbose : int
        0: nothing. 1: one live line where stdout is a terminal and rich is installed, else some
        thirty plain lines in all. 2: a plain line an epoch.
    max_epochs : int
    n_members : int
        Number of networks. Lines of more than one network have the number of the network.
    """
    if not verbose:
        yield []
    elif verbose == 1 and (live := _rich_progress()) is not None:
        with live:
            tasks = [live.add_task(title, total=max_epochs, line="") for _ in range(n_members)]
            yield [
                lambda record: live.update(
                    tasks[record.get("member", 0)], completed=record["epoch"], line=_line(record)
                )
            ]
    else:
        lines = PlainLines(max_epochs * n_members, shows_all=verbose > 1)
        yield [lambda record: lines.add(f"{title}: {_line(record)}")]
        lines.close()


class PlainLines:
    """Lines on stdout: all of them, or some thirty, early ones first.

    Parameters
    ----------
    n_lines : int
        The largest number of lines that may come.
    shows_all : bool
    """

    def __init__(self, n_lines: int, shows_all: bool) -> None:
        # Geometric steps: training often ends long before max_epochs.
        steps = {round(n_lines ** (i / (_MOST_LINES - 1))) for i in range(_MOST_LINES)}
        self.shown = None if shows_all or n_lines <= _MOST_LINES else steps
        self.n_added = 0
        self.hidden = ""

    def add(self, line: str) -> None:
        """Print the next line, or keep it back."""
        self.n_added += 1
        if self.shown is None or self.n_added in self.shown:
            self.hidden = ""
            print(line, flush=True)
        else:
            self.hidden = line

    def close(self) -> None:
        """Print the last line, where it was kept back."""
        if self.hidden:
            print(self.hidden, flush=True)
        self.hidden = ""


def is_live(verbose: int) -> bool:
    """Return whether ``verbose`` asks for a live view, and stdout is a terminal."""
    return verbose == 1 and sys.stdout.isatty()


def _rich_progress() -> Any:
    """Return a live view of epochs; None without a terminal or without rich."""
    if not sys.stdout.isatty():
        return None
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
        0: nothing. 1: one live view of all folds with the time left where stdout is a terminal and
        rich is installed, else a plain line a fold, some thirty in all. 2: a plain line a fold, and
        one an epoch of the networks of tabdl.
    """

    def __init__(self, title: str, n_folds: int, verbose: int) -> None:
        self.title = title
        self.n_folds = n_folds
        self.verbose = int(verbose)
        self.live: Any = None
        self.lines = PlainLines(n_folds, shows_all=self.verbose > 1)

    def __enter__(self) -> "FoldsProgress":
        if self.verbose == 1 and (live := _rich_folds()) is not None:
            self.live = live
            live.start()
            self.total = live.add_task(self.title, total=self.n_folds, line="")
            self.tasks = [
                live.add_task(f"  fold {i + 1}", total=1, line="waits", visible=False)
                for i in range(self.n_folds)
            ]
        return self

    def __exit__(self, *exception: object) -> None:
        self.lines.close()
        if self.live is not None:
            self.live.stop()

    def callback(self, i: int) -> Callable[[dict[str, Any]], None] | None:
        """Return a callback that shows the records of fold ``i``; None where nothing is shown."""
        if self.live is None and self.verbose < 2:
            return None
        return lambda record: self.epoch(i, record)

    def epoch(self, i: int, record: dict[str, Any]) -> None:
        """Show the record of an epoch of fold ``i``."""
        if self.live is not None:
            self.live.update(self.tasks[i], line=_line(record), visible=True)
        elif self.verbose == 2:
            print(f"{self.title}: fold {i + 1} of {self.n_folds}: {_line(record)}", flush=True)

    def done(self, i: int) -> None:
        """Show that fold ``i`` is trained."""
        if self.live is not None:
            self.live.update(self.tasks[i], completed=1, visible=True)
            self.live.advance(self.total)
        elif self.verbose:
            self.lines.add(f"{self.title}: fold {i + 1} of {self.n_folds} is trained")


def _rich_folds() -> Any:
    """Return a live view of folds; None without a terminal or without rich."""
    if not sys.stdout.isatty():
        return None
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


def _line(record: dict[str, Any]) -> str:
    parts = [f"member {record['member']}"] if "member" in record else []
    parts += [f"epoch {record['epoch']}", f"train loss {record['train_loss']:.4f}"]
    if record["val_loss"] is not None:
        parts += [f"val loss {record['val_loss']:.4f}", f"val score {record['val_score']:.4f}"]
    return ", ".join([*parts, f"{record['seconds']:.2f} s"])
