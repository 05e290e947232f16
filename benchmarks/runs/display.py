"""What a command says while it works: what is running, and for how long still."""

from rich import progress


def duration(seconds):
    """Return seconds as a person says them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


class Display:
    """A line that moves on a terminal; elsewhere only the lines that :meth:`say` prints.

    Parameters
    ----------
    console : rich.console.Console
    workers : int
        How many tasks run at once.
    """

    def __init__(self, console, workers=1):
        self.workers = workers
        columns = (progress.SpinnerColumn(), progress.BarColumn(), progress.MofNCompleteColumn())
        columns += (progress.TimeElapsedColumn(), progress.TimeRemainingColumn())
        columns += (progress.TextColumn("{task.description}"),)
        self.progress = progress.Progress(*columns, console=console, disable=not console.is_terminal)
        self.bar = self.progress.add_task("", total=None)
        self.names = []

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
        self.names = names
        self.progress.reset(self.bar, total=len(names))
        if len(names) > 1 and None not in limits:
            longest = duration(sum(limits) / self.workers)
            self.say(f"{len(names)} {what}, at most {longest} of training")

    def start(self, i):
        """Show that a task runs."""
        self.progress.update(self.bar, description=self.names[i])

    def end(self, i):
        """Show that a task has ended."""
        self.progress.update(self.bar, advance=1, description="")
