"""Deep learning for tables behind scikit-learn's estimators."""

from tabdl.models.ft_transformer import FTTransformerClassifier, FTTransformerRegressor
from tabdl.models.gmlp import GMLPClassifier, GMLPRegressor
from tabdl.models.mlp import TabMLPClassifier, TabMLPRegressor
from tabdl.models.realmlp import RealMLPClassifier, RealMLPRegressor
from tabdl.models.resnet import TabResNetClassifier, TabResNetRegressor
from tabdl.models.tabm import TabMClassifier, TabMRegressor
from tabdl.version import __version__ as __version__

__all__ = [
    "FTTransformerClassifier",
    "FTTransformerRegressor",
    "GMLPClassifier",
    "GMLPRegressor",
    "RealMLPClassifier",
    "RealMLPRegressor",
    "TabMClassifier",
    "TabMLPClassifier",
    "TabMLPRegressor",
    "TabMRegressor",
    "TabResNetClassifier",
    "TabResNetRegressor",
]
