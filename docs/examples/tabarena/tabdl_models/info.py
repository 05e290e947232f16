"""What TabArena knows of each network; its registry finds the names that end with ``_info``."""

from tabarena.models._method_metadata import ModelDescriptor
from tabarena.models._model_info import ModelInfo

from tabdl.kaggle import autogluon

from .hpo import generators

# When the method was published, and where.
_PAPERS = {
    autogluon.TabMModel: ("2024-10", "2410.24210"),
    autogluon.RealMLPModel: ("2024-07", "2407.04491"),
    autogluon.TabResNetModel: ("2021-06", "2106.11959"),
    autogluon.TabMLPModel: ("2021-06", "2106.11959"),
    autogluon.FTTransformerModel: ("2021-06", "2106.11959"),
}


def _info(model):
    date, number = _PAPERS[model]
    descriptor = ModelDescriptor(
        display_name=model.ag_name,
        compute="cpu",
        is_bag=True,
        reference_url=f"https://arxiv.org/abs/{number}",
        date_introduced=date,
    )
    # No run is hosted: TabArena adds the suite, the date and the place of its results.
    metadata = descriptor.method_metadata(
        method=model.ag_name,
        ag_key=model.ag_key,
        config_default=f"{model.ag_name}_c1_default_BAG_L1",
        can_hpo=True,
    )
    return ModelInfo(
        model_cls=model,
        search_space=generators[model],
        method_metadata=metadata,
        pip_extra=("tabdl",),
    )


tabm_info = _info(autogluon.TabMModel)
realmlp_info = _info(autogluon.RealMLPModel)
resnet_info = _info(autogluon.TabResNetModel)
mlp_info = _info(autogluon.TabMLPModel)
ft_transformer_info = _info(autogluon.FTTransformerModel)
