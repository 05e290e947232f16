"""What a command says while it works: what is running, and for how long still."""

import time

from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn


def duration(seconds):
    """Return seconds as a person says them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


class _Running(TextColumn):
    """What runs, since when, and an estimate of all that is left."""

    def __init__(self, display):
        super().__init__("")
        self.display = display

    def render(self, task):
        """Return the text of now."""
        return self.display.text()


class Display:
    """A line that moves on a terminal; elsewhere only the lines that :meth:`say` prints.

    Parameters
    ----------
    console : rich.console.Console
    workers : int
        How many tasks run at once.
    """

    def __init__(self, console, workers=1):
        self.console, self.workers = console, workers
        columns = (SpinnerColumn(), BarColumn(), MofNCompleteColumn(), _Running(self))
        self.progress = Progress(*columns, console=console, disable=not console.is_terminal)
        self.bar = self.progress.add_task("", total=None)
        self.names, self.limits, self.seconds, self.started = {}, {}, [], {}

    def __enter__(self):
        self.progress.__enter__()
        return self

    def __exit__(self, *error):
        self.progress.__exit__(*error)

    def say(self, line):
        """Print a line above the one that moves."""
        self.progress.console.print(line, highlight=False)

    def begin(self, names, limits, what):
        """Show a stage: the name of each task, and its time limit (None: no limit).

        A stage whose tasks all have a limit says at once how long it takes at most.
        """
        self.names, self.limits = dict(enumerate(names)), dict(enumerate(limits))
        self.seconds, self.started = [], {}
        self.progress.update(self.bar, total=len(names), completed=0)
        longest = self.left()
        if len(names) > 1 and longest is not None:
            self.say(f"{len(names)} {what}, at most {duration(longest)} of training")

    def start(self, i):
        """Show that a task runs."""
        self.started[i] = time.monotonic()

    def end(self, i):
        """Show that a task has ended."""
        self.names.pop(i)
        self.limits.pop(i)
        self.seconds.append(time.monotonic() - self.started.pop(i, time.monotonic()))
        self.progress.update(self.bar, advance=1)

    def left(self):
        """Return the seconds that the rest takes: at most, where tasks are limited; else about, by
        those that have ended; None where nobody knows."""
        running = sum(time.monotonic() - start for start in self.started.values())
        if self.limits and None not in self.limits.values():
            total = sum(self.limits.values())
        elif self.seconds:
            total = len(self.names) * sum(self.seconds) / len(self.seconds)
        else:
            return None
        return max(total - running, 0) / self.workers

    def text(self):
        """Return what runs and what is left, as a line."""
        running = [
            f"{self.names[i]} ({duration(time.monotonic() - start)})"
            for i, start in self.started.items()
            if i in self.names
        ]
        left = self.left()
        note = "" if left is None or not self.names else f"; {duration(left)} left at most"
        if None in self.limits.values():
            note = note.replace("left at most", "left, about")
        return ", ".join(running[: self.workers]) + note
