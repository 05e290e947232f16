"""What a command says while it works."""

import io

from rich.console import Console

from benchmarks.runs.display import Display, duration


def test_durations():
    said = [duration(seconds) for seconds in (5.4, 600, 36_000)]
    assert said == ["5 s", "10 min", "10.0 h"]


def test_what_runs_and_for_how_long():
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    with Display(console, workers=2) as display:
        display.begin(["adult mlp seed 0", "adult tabm seed 0"], [100.0, 500.0], "fits")
        assert "2 fits, at most 5 min of training" in console.file.getvalue()
        display.start(0)
        display.progress.refresh()
        assert "0/2" in console.file.getvalue() and "adult mlp seed 0" in console.file.getvalue()
        display.end(0)
        [task] = display.progress.tasks
        assert (task.completed, task.total, task.description) == (1, 2, "")


def test_nothing_is_promised_without_limits():
    console = Console(file=io.StringIO())
    Display(console).begin(["a", "b"], [None, 5.0], "fits")
    assert console.file.getvalue() == ""
