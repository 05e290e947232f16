"""The one table of models: complete, without duplicates, enough for a new architecture."""

import re
from dataclasses import replace

import pytest
from conftest import ARCHITECTURES

from benchmarks import run
from benchmarks.models.registry import MODELS, Model, colour_of, network_names, of_preset
from benchmarks.runs.results import NAME, read


def test_every_network_has_an_entry():
    names = {MODELS[name].classifier.__name__ for name in network_names()}
    assert sorted(re.sub("Classifier$", "", name) for name in names) == ARCHITECTURES


@pytest.mark.parametrize("name", MODELS)
def test_entries_are_distinct(name):
    model = MODELS[name]
    others = [other for key, other in MODELS.items() if key != name]
    assert NAME.fullmatch(name)
    assert model.label not in [other.label for other in others]
    assert colour_of(name) not in [other.colour for other in others]


def test_presets():
    networks, others = ("ft_transformer", "resnet", "mlp"), ("snn", "dcn_v2", "autoint")
    assert of_preset("quick") == (*networks, "tabm", "xgboost", "catboost")
    assert of_preset("paper") == (*networks, *others, "xgboost", "catboost", "lightgbm")
    assert network_names("paper") == (*networks, *others) and colour_of("greedy") == "#b0b0b0"


class Mean:
    """A toy: the mean of the target, in one epoch."""

    def __init__(self, **parameters):
        self.parameters = parameters

    def fit(self, X, y, X_val, y_val):
        self.mean = y.mean()
        self.n_parameters_ = self.n_iter_ = self.best_epoch_ = 1
        self.stop_reason_, self.history_ = "max_epochs", []
        return self

    def predict(self, X):
        return [self.mean] * len(X)


def test_a_model_is_one_entry(tmp_path, monkeypatch, capsys):
    toy = Model(
        Mean, Mean, "Toy", "red", space=lambda trial, data: {"a": trial.suggest_int("a", 1, 3)}
    )
    monkeypatch.setitem(MODELS, "toy", toy)
    command = ["--datasets", "smoke_housing", "--models", "toy", "--out", str(tmp_path)]
    command += ["--device", "cpu", "--config", "tuned", "--trials", "2", "--seeds", "0"]
    assert run.main(command) == 0
    assert read(tmp_path / "smoke_housing" / "toy" / "evaluation" / "0")["n_parameters"] == 1
    assert "toy" in capsys.readouterr().out
    assert (tmp_path / "report" / "tuning.png").exists()


def test_a_library_that_is_not_installed_is_said_before_training(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(MODELS, "xgboost", replace(MODELS["xgboost"], library="no_such_library"))
    command = ["evaluate", "--datasets", "smoke_housing", "--models", "xgboost", "--device", "cpu"]
    assert run.main([*command, "--out", str(tmp_path)]) == 1
    assert "it needs no_such_library: pip install" in capsys.readouterr().err
