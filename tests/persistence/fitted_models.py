"""Small fitted estimators of every kind, made once a process."""

import functools
import pickle
import subprocess
import sys

import numpy as np
from conftest import ARCHITECTURES, make, people, target
from torch import nn

import tabdl
from tabdl.base import ClassifierTask, TabularEstimator
from tabdl.embeddings import PiecewiseLinear, flat_embedding
from tabdl.network.contract import TabularNet
from tabdl.params import Int, OneOf, param

X, Y = people(60)
_FEW = {"max_epochs": 1, "n_blocks": 1, "d_block": 4}
# What a network of each architecture has beside, so that every part of a state occurs.
_MORE = {
    "AutoInt": {"numeric_embedding": "periodic"},
    "DCNv2": {"numeric_embedding": PiecewiseLinear(n_bins=5)},
    "FTTransformer": {"n_members": 2},
    "GMLP": {"numeric_transform": "standard"},
    "GrowNet": {"n_blocks": 2},
    "NODE": {"numeric_embedding": "piecewise"},
    "RealMLP": {"numeric_missing": "indicator"},
    "SNN": {"one_hot_max_size": 3},
    "TabM": {"n_members": 2, "prune": True, "numeric_embedding": PiecewiseLinear(n_bins=5)},
    "TabMLP": {"d_block": (4, 3), "n_blocks": 2, "numeric_transform": "none"},
    "TabNet": {"relaxation_factor": 1.2},
    "TabResNet": {"precision": "float64"},
}
NAMES = [
    *(a + task for a in ARCHITECTURES for task in ("Classifier", "Regressor")),
    *(
        f"{kind}Ensemble{task}"
        for kind in ("CrossVal", "Greedy")
        for task in ("Classifier", "Regressor")
    ),
    *("DistilledClassifier", "DistilledRegressor"),
]


class OwnClassifier(ClassifierTask, TabularEstimator):
    """An architecture of the user: a normalisation and a linear layer."""

    d_embedding: int = param(Int(1), default=2, doc="Width of the vector of a category.")
    one_hot_max_size: int = param(Int(0), default=2, doc="Features of so few values are one-hot.")
    numeric_embedding: object = param(
        OneOf("piecewise"), default="piecewise", doc="How a number becomes a vector."
    )

    def _build_net(self, schema, n_outputs, train_table):
        embedding = flat_embedding(self, schema, train_table)
        norm = nn.BatchNorm1d(embedding.d_out)
        return TabularNet(embedding, norm, nn.Linear(embedding.d_out, n_outputs))


def unfitted(name):
    task = "Classifier" if name.endswith("Classifier") else "Regressor"
    architecture = name.removesuffix(task)
    if architecture == "CrossValEnsemble":
        member = make("TabMLP", task, **_FEW)
        return getattr(tabdl, name)(member, cv=2, refit="all", random_state=0)
    if architecture == "GreedyEnsemble":
        cv = getattr(tabdl, f"CrossValEnsemble{task}")(make("TabM", task, **_FEW), cv=2)
        members = [("a", make("TabMLP", task, **_FEW)), ("$b", cv)]
        return getattr(tabdl, name)(members, cv=2, random_state=0)
    if architecture == "Distilled":
        student, teacher = make("TabMLP", task, **_FEW), make("TabResNet", task, **_FEW)
        return getattr(tabdl, name)(student, teacher, cv=2, random_state=0)
    of_classes = {"class_weight": {"no": 1.0, "yes": 2.5}, "calibrate": True}
    more = of_classes if task == "Classifier" else {"loss": "huber"}
    return make(architecture, task, **{**_FEW, **more, **_MORE[architecture]})


def target_of(name):
    if name.endswith("Classifier"):
        return np.array(["no", "yes"])[target(Y - 2, "Classifier")]
    return Y if "Greedy" in name else np.column_stack([Y, -Y])


@functools.cache
def fitted(name):
    return unfitted(name).fit(X, target_of(name))


def predictions(model):
    return model.predict_proba(X) if hasattr(model, "predict_proba") else model.predict(X)


def in_fresh_process(script, **data):
    """Return what ``script`` makes of ``data`` in a new process, where a warning is an error."""
    whole = (
        "import pickle, sys, numpy as np\n"
        "data = pickle.load(sys.stdin.buffer)\n"
        f"{script}\n"
        "sys.stdout.buffer.write(pickle.dumps(result))\n"
    )
    command = [sys.executable, "-W", "error", "-c", whole]
    done = subprocess.run(command, input=pickle.dumps(data), capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    return pickle.loads(done.stdout)
