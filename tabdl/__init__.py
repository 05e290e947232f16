"""Deep learning for tables behind scikit-learn's estimators."""

from tabdl.ensemble import CrossValEnsembleClassifier, CrossValEnsembleRegressor
from tabdl.greedy import GreedyEnsembleClassifier, GreedyEnsembleRegressor
from tabdl.models.ft_transformer import FTTransformerClassifier, FTTransformerRegressor
from tabdl.models.gmlp import GMLPClassifier, GMLPRegressor
from tabdl.models.mlp import TabMLPClassifier, TabMLPRegressor
from tabdl.models.realmlp import RealMLPClassifier, RealMLPRegressor
from tabdl.models.resnet import TabResNetClassifier, TabResNetRegressor
from tabdl.models.tabm import TabMClassifier, TabMRegressor
from tabdl.selection import greedy_weights
from tabdl.version import __version__ as __version__

__all__ = [
    "CrossValEnsembleClassifier",
    "CrossValEnsembleRegressor",
    "FTTransformerClassifier",
    "FTTransformerRegressor",
    "GMLPClassifier",
    "GMLPRegressor",
    "GreedyEnsembleClassifier",
    "GreedyEnsembleRegressor",
    "RealMLPClassifier",
    "RealMLPRegressor",
    "TabMClassifier",
    "TabMLPClassifier",
    "TabMLPRegressor",
    "TabMRegressor",
    "TabResNetClassifier",
    "TabResNetRegressor",
    "greedy_weights",
]
