"""Which configurations TabArena tries: the defaults, and draws from each search space."""

from tabarena.utils.config_utils import ConfigGenerator

from tabdl.kaggle import autogluon

MODELS = (
    autogluon.TabMModel,
    autogluon.RealMLPModel,
    autogluon.TabResNetModel,
    autogluon.TabMLPModel,
    autogluon.FTTransformerModel,
)
generators = {
    model: ConfigGenerator(
        model_cls=model, search_space=dict(model.search_space), manual_configs=[{}]
    )
    for model in MODELS
}
