"""What a command says while it works."""

import io

from rich.console import Console

from benchmarks.runs.display import Display, duration


def test_durations():
    said = [duration(seconds) for seconds in (5.4, 600, 36_000)]
    assert said == ["5 s", "10 min", "10.0 h"]


def test_what_runs_and_for_how_long():
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    with Display(console) as display:
        display.begin(["adult mlp seed 0", "adult tabm seed 0"], [100.0, 200.0], "fits")
        assert "2 fits, at most 5 min of training" in console.file.getvalue()
        display.start(0)
        assert display.text() == "adult mlp seed 0 (0 s); 5 min left at most"
        display.end(0)
        display.start(1)
        assert 190 < display.left() <= 200
        display.end(1)
        assert display.text() == "" and display.progress.tasks[0].completed == 2


def test_tasks_without_a_limit_are_estimated():
    display = Display(Console(file=io.StringIO()), workers=2)
    display.begin(["a", "b", "c"], [None, 5.0, None], "fits")
    assert display.left() is None and display.text() == ""
    display.seconds = [10.0]
    assert display.left() == 15 and "15 s left, about" in display.text()
