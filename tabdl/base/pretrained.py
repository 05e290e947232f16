"""What one pretraining leaves for several fits; :func:`tabdl.pretrain` makes it.

A fit takes the encoder from it, so that the rows look as they did in pretraining, and the weights
of embedding and backbone. The head is new.
"""

import zlib
from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np

from tabdl.data.encoding import FeatureEncoder
from tabdl.data.state import State
from tabdl.network.contract import TabularNet
from tabdl.network.rebuilding import build_blank, fill, network_state

# The parts of a network that pretraining and training share.
_SHARED_PARTS = ("embedding.", "backbone.")
_STATE_NAMES = (
    "architecture",
    "params",
    "encoder",
    "has_column_names",
    "tensors",
    "history",
)


class Pretrained:
    """An encoder and the weights of an embedding and a backbone, as plain values.

    Nothing of it changes: copies of an estimator share it.

    Attributes
    ----------
    history : list of dict
        A record for each epoch: ``epoch``, ``train_loss``, ``lr`` and ``seconds``.
    """

    def __init__(self, state: dict[str, Any]) -> None:
        fields = State(state, _STATE_NAMES, "pretrain")
        self.architecture = fields.text("architecture")
        self.params = fields.table("params")
        self.has_column_names = fields.flag("has_column_names")
        self.tensors: dict[str, np.ndarray] = fields.table("tensors")
        self.history = fields.items("history", dict)
        self.column_names = FeatureEncoder.from_state(state["encoder"], "pretrain").column_names
        self._state = state

    @classmethod
    def of(
        cls,
        estimator: Any,
        params: dict[str, Any],
        encoder: FeatureEncoder,
        net: TabularNet,
        history: Sequence[dict[str, Any]],
    ) -> Self:
        """Return what is kept of a pretrained network.

        Parameters
        ----------
        estimator : TabularEstimator
        params : dict
            Its parameters that shape the network.
        encoder : FeatureEncoder
        net : TabularNet
        history : list of dict
        """
        arrays = network_state(net)["tensors"].items()
        shared = {name: array.copy() for name, array in arrays if name.startswith(_SHARED_PARTS)}
        return cls(
            {
                "architecture": architecture_of(estimator),
                "params": params,
                "encoder": encoder.state(),
                "has_column_names": hasattr(estimator, "feature_names_in_"),
                "tensors": shared,
                "history": list(history),
            }
        )

    def __getstate__(self) -> dict[str, Any]:
        return self._state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state)

    def __deepcopy__(self, memo: Any) -> Self:
        return self

    def __repr__(self) -> str:
        digest = 0
        for array in self.tensors.values():
            digest = zlib.crc32(array.tobytes(), digest)
        return f"<pretrained {self.architecture}, {len(self.column_names)} columns, {digest:08x}>"

    def encoder(self, estimator_name: str) -> FeatureEncoder:
        """Return the encoder of pretraining, for an estimator of this name."""
        return FeatureEncoder.from_state(self._state["encoder"], estimator_name)

    def set_columns(self, estimator: Any) -> None:
        """Give an estimator the columns of pretraining, with which those of X are compared."""
        estimator.n_features_in_ = len(self.column_names)
        if self.has_column_names:
            estimator.feature_names_in_ = np.array(self.column_names, dtype=object)
        else:
            vars(estimator).pop("feature_names_in_", None)

    def put_into(self, net: TabularNet, build: Callable[[], TabularNet], where: str) -> TabularNet:
        """Return a network with the head of ``net``, and embedding and backbone of pretraining.

        Parameters
        ----------
        net : TabularNet
            With its first weights, on the CPU.
        build : callable
            Makes the same network without training rows.
        where : str
            The name of the estimator.
        """
        state = network_state(net)
        own = state["tensors"]
        kinds = {name: array.dtype for name, array in own.items()}
        begun = {n: a.astype(kinds.get(n, a.dtype)) for n, a in self.tensors.items()}
        head = {n: a for n, a in own.items() if not n.startswith(_SHARED_PARTS)}
        blank = build_blank(build, where)
        fill(blank, state | {"tensors": head | begun}, where)
        return blank


def architecture_of(estimator: Any) -> str:
    """Return the name that the classifier and the regressor of an architecture share."""
    return type(estimator).__name__.removesuffix("Classifier").removesuffix("Regressor")
