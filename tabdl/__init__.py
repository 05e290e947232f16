"""Deep learning for tables behind scikit-learn's estimators."""

from tabdl.models.ft_transformer import FTTransformerClassifier, FTTransformerRegressor
from tabdl.models.mlp import TabMLPClassifier, TabMLPRegressor
from tabdl.models.resnet import TabResNetClassifier, TabResNetRegressor

__all__ = [
    "FTTransformerClassifier",
    "FTTransformerRegressor",
    "TabMLPClassifier",
    "TabMLPRegressor",
    "TabResNetClassifier",
    "TabResNetRegressor",
]

__version__ = "0.1.0"
