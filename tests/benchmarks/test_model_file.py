"""Estimators of others: any of scikit-learn's interface, from a file."""

import pytest

from benchmarks import run
from benchmarks.models.registry import MODELS
from benchmarks.runs.results import read

FILE = """
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
MODELS = {
    "ridge": (None, make_pipeline(StandardScaler(), Ridge())),
    "histogram": (None, HistGradientBoostingRegressor(max_iter=5)),
}
"""


@pytest.fixture
def models(monkeypatch):
    """The registry, as it was afterwards."""
    before = dict(MODELS)
    monkeypatch.delenv("TABDL_MODEL_FILE", raising=False)
    yield MODELS
    MODELS.clear()
    MODELS.update(before)


def test_estimators_of_a_file(tmp_path, models, monkeypatch, capsys):
    monkeypatch.setenv("TABDL_MODEL_FILE", "")
    path = tmp_path / "my.py"
    path.write_text(FILE)
    common = ["evaluate", "--model-file", str(path), "--out", str(tmp_path / "out")]
    common += ["--device", "cpu", "--datasets"]
    assert run.main([*common, "smoke_housing", "--variant", 'five={"max_leaf_nodes": 5}']) == 1
    assert "variant five of ridge: the parameter 'max_leaf_nodes'" in capsys.readouterr().err
    command = [*common, "smoke_housing", "--models", "histogram"]
    assert run.main([*command, "--variant", 'five={"max_leaf_nodes": 5}']) == 0
    assert run.main([*common, "smoke_housing", "--workers", "2"]) == 0
    folder = tmp_path / "out" / "smoke_housing"
    reports = {path.name: read(path / "evaluation" / "0") for path in folder.iterdir()}
    assert set(reports) == {"ridge-default", "histogram-default", "histogram-default.five"}
    assert all(r["metrics"]["test"]["r2"] > 0 for r in reports.values())
    assert reports["histogram-default"]["n_iter"] == 5
    assert run.main([*common, "smoke_adult"]) == 1
    assert "ridge has no classifier" in capsys.readouterr().err
    path.write_text(FILE + "# another\n")
    assert run.main([*common, "smoke_housing"]) == 1
    assert "model_file is" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text, line",
    [
        ("import no_such_module", "does not import: ModuleNotFoundError"),
        ("1 / 0", "does not import: ZeroDivisionError"),
        ("x = 1", "has to define MODELS = "),
        ("MODELS = {'a': (1, 2)}", "has to define MODELS = "),
        (
            "from sklearn.linear_model import Ridge\nMODELS = {'mlp': (None, Ridge())}",
            "mlp is a model",
        ),
    ],
)
def test_files_that_are_none(text, line, tmp_path, models, capsys):
    path = tmp_path / "my.py"
    path.write_text(text)
    with pytest.raises(SystemExit):
        run.main(["--model-file", str(path)])
    assert line in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run.main(["--model-file", str(tmp_path / "absent.py")])
    assert "absent.py does not import: FileNotFoundError" in capsys.readouterr().err
