"""Deep learning for tables behind the estimators of scikit-learn."""

from tabdl.ensemble.cross_val import (
    CrossValEnsembleClassifier as CrossValEnsembleClassifier,
    CrossValEnsembleRegressor as CrossValEnsembleRegressor,
)
from tabdl.ensemble.distillation import (
    DistilledClassifier as DistilledClassifier,
    DistilledRegressor as DistilledRegressor,
)
from tabdl.ensemble.greedy import (
    GreedyEnsembleClassifier as GreedyEnsembleClassifier,
    GreedyEnsembleRegressor as GreedyEnsembleRegressor,
)
from tabdl.ensemble.selection import greedy_weights as greedy_weights
from tabdl.ensemble.shared_pretraining import pretrain as pretrain
from tabdl.models.autoint import (
    AutoIntClassifier as AutoIntClassifier,
    AutoIntRegressor as AutoIntRegressor,
)
from tabdl.models.dcn_v2 import DCNv2Classifier as DCNv2Classifier, DCNv2Regressor as DCNv2Regressor
from tabdl.models.ft_transformer import (
    FTTransformerClassifier as FTTransformerClassifier,
    FTTransformerRegressor as FTTransformerRegressor,
)
from tabdl.models.gmlp import GMLPClassifier as GMLPClassifier, GMLPRegressor as GMLPRegressor
from tabdl.models.grownet import (
    GrowNetClassifier as GrowNetClassifier,
    GrowNetRegressor as GrowNetRegressor,
)
from tabdl.models.mlp import (
    TabMLPClassifier as TabMLPClassifier,
    TabMLPRegressor as TabMLPRegressor,
)
from tabdl.models.node import NODEClassifier as NODEClassifier, NODERegressor as NODERegressor
from tabdl.models.realmlp import (
    RealMLPClassifier as RealMLPClassifier,
    RealMLPRegressor as RealMLPRegressor,
)
from tabdl.models.resnet import (
    TabResNetClassifier as TabResNetClassifier,
    TabResNetRegressor as TabResNetRegressor,
)
from tabdl.models.snn import SNNClassifier as SNNClassifier, SNNRegressor as SNNRegressor
from tabdl.models.tabm import TabMClassifier as TabMClassifier, TabMRegressor as TabMRegressor
from tabdl.models.tabnet import (
    TabNetClassifier as TabNetClassifier,
    TabNetRegressor as TabNetRegressor,
)
from tabdl.persistence.files import load as load, save as save
from tabdl.persistence.onnx import onnx_inputs as onnx_inputs, to_onnx as to_onnx

__version__ = "0.1.0"
