"""Deep learning for tables behind scikit-learn's estimators."""

from tabdl.ensemble.cross_val import (
    CrossValEnsembleClassifier as CrossValEnsembleClassifier,
)
from tabdl.ensemble.cross_val import (
    CrossValEnsembleRegressor as CrossValEnsembleRegressor,
)
from tabdl.ensemble.greedy import (
    GreedyEnsembleClassifier as GreedyEnsembleClassifier,
)
from tabdl.ensemble.greedy import (
    GreedyEnsembleRegressor as GreedyEnsembleRegressor,
)
from tabdl.ensemble.selection import greedy_weights as greedy_weights
from tabdl.models.ft_transformer import (
    FTTransformerClassifier as FTTransformerClassifier,
)
from tabdl.models.ft_transformer import (
    FTTransformerRegressor as FTTransformerRegressor,
)
from tabdl.models.gmlp import GMLPClassifier as GMLPClassifier
from tabdl.models.gmlp import GMLPRegressor as GMLPRegressor
from tabdl.models.mlp import (
    TabMLPClassifier as TabMLPClassifier,
)
from tabdl.models.mlp import (
    TabMLPRegressor as TabMLPRegressor,
)
from tabdl.models.realmlp import (
    RealMLPClassifier as RealMLPClassifier,
)
from tabdl.models.realmlp import (
    RealMLPRegressor as RealMLPRegressor,
)
from tabdl.models.resnet import (
    TabResNetClassifier as TabResNetClassifier,
)
from tabdl.models.resnet import (
    TabResNetRegressor as TabResNetRegressor,
)
from tabdl.models.tabm import TabMClassifier as TabMClassifier
from tabdl.models.tabm import TabMRegressor as TabMRegressor

__version__ = "0.1.0"
