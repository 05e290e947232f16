"""What is timed: the table, the networks, and the plain loop around the authors' package that they
are set against. Of networks without such a package it goes around tabdl's own module."""

import copy
import functools
import importlib.util
import time
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from torch.nn import functional

from benchmarks.models.registry import MODELS
from tabdl.embeddings import PiecewiseLinear

N_NUM, CARDINALITIES = 20, (2, 5, 10, 50)


@dataclass(frozen=True)
class Timed:
    """A network that is timed.

    Attributes
    ----------
    sizes : dict
        The parameters of its width and depth that are not the defaults.
    numeric_embedding : object
        As in the paper; TabM's as its authors' package does.
    packages : tuple of str
        The authors' packages with the network; none: there is no package.
    """

    sizes: dict
    numeric_embedding: object
    packages: tuple[str, ...] = ("rtdl_revisiting_models",)


NETWORKS = {
    "ft_transformer": Timed({"n_blocks": 3, "d_block": 192, "n_members": 1}, "linear"),
    "resnet": Timed({"n_blocks": 4, "d_block": 256, "d_embedding": 16}, None),
    "mlp": Timed({"n_blocks": 4, "d_block": 384, "d_embedding": 16}, None),
    "tabm": Timed(
        {"d_block": 512}, PiecewiseLinear(bins="quantile"), ("tabm", "rtdl_num_embeddings")
    ),
    "snn": Timed({}, None, ()),
    "dcn_v2": Timed({}, None, ()),
    "autoint": Timed({}, "linear", ()),
    "node": Timed({}, None, ()),
    "tabnet": Timed({}, None, ()),
    "grownet": Timed({}, None, ()),
}
"""By their names in :data:`benchmarks.models.registry.MODELS`."""
AUTHORS_BATCH = 4000  # in which the authors predict
PACKAGED = tuple(name for name, network in NETWORKS.items() if network.packages)
PRECISIONS = ("auto", "float32")
PLAIN = "plain"


def table(n_rows, n_num=N_NUM, cardinalities=CARDINALITIES):
    """Return X (numbers, then categories, all of which occur when there are rows enough) and y."""
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=(n_rows, n_num)).astype(np.float32)
    X = pd.DataFrame(numbers, columns=[f"n{j}" for j in range(n_num)])
    codes = [rng.permutation(n_rows) % cardinality for cardinality in cardinalities]
    categories = {
        f"c{j}": pd.Categorical.from_codes(codes[j], categories=list(map(str, range(cardinality))))
        for j, cardinality in enumerate(cardinalities)
    }
    y = (X["n0"] * X["n1"]).to_numpy() + codes[0] + rng.normal(size=n_rows)
    return pd.concat([X, pd.DataFrame(categories)], axis=1), y


@dataclass(frozen=True)
class Case:
    """One table and one network.

    Attributes
    ----------
    network : str
        A name of :data:`NETWORKS`.
    n_rows, n_num : int
    cardinalities : tuple of int
        The number of categories of each categorical column.
    batch_size : int
    device : str
    """

    network: str
    n_rows: int = 16_000
    n_num: int = N_NUM
    cardinalities: tuple[int, ...] = CARDINALITIES
    batch_size: int = 256
    device: str = "cpu"

    def table(self):
        """Return X and y."""
        return table(self.n_rows, self.n_num, self.cardinalities)

    def estimator(self, **parameters):
        """Return tabdl's estimator; without other ``parameters`` it trains on all rows."""
        network = NETWORKS[self.network]
        common = network.sizes | {"numeric_embedding": network.numeric_embedding}
        common |= {"batch_size": self.batch_size, "device": self.device}
        common |= {"random_state": 0, "early_stopping": False}
        return MODELS[self.network].regressor(**common | parameters)

    def reference(self):
        """Return the network of the same sizes from the authors' package, or tabdl's module."""
        if self.network not in PACKAGED:
            return OwnReference(_own_module(replace(self, n_rows=2 * self.batch_size)))
        if self.network == "tabm":
            return self._tabm_reference()
        import rtdl_revisiting_models as rtdl

        cardinalities = list(self.cardinalities)
        if self.network == "ft_transformer":
            options = rtdl.FTTransformer.get_default_kwargs() | {"_is_default": False, "d_out": 1}
            options |= {"n_cont_features": self.n_num, "cat_cardinalities": cardinalities}
            return rtdl.FTTransformer(**options)
        sizes = dict(NETWORKS[self.network].sizes)
        d_embedding = sizes.pop("d_embedding")
        embeddings = rtdl.CategoricalEmbeddings(cardinalities, d_embedding, bias=False)
        sizes |= {"d_in": self.n_num + len(cardinalities) * d_embedding, "d_out": 1}
        if self.network == "mlp":
            return FlatReference(embeddings, rtdl.MLP(**sizes, dropout=0.1))
        sizes |= {"d_hidden_multiplier": 2.0, "dropout1": 0.3, "dropout2": 0.0}
        return FlatReference(embeddings, rtdl.ResNet(**sizes))

    def loop(self, arrays):
        """Return the plain loop over what :func:`encoded` returns."""
        return (StagedLoop if self.network == "grownet" else PlainLoop)(self, arrays)

    def _tabm_reference(self):
        import rtdl_num_embeddings
        import tabm

        numbers = torch.tensor(self.table()[0].iloc[:, : self.n_num].to_numpy())
        bins = rtdl_num_embeddings.compute_bins(numbers, n_bins=min(48, len(numbers) - 1))
        embeddings = rtdl_num_embeddings.PiecewiseLinearEmbeddings(
            bins, 16, activation=False, version="B"
        )
        sizes = {"cat_cardinalities": list(self.cardinalities), "d_out": 1, "n_blocks": 3}
        sizes |= {"n_num_features": self.n_num, "num_embeddings": embeddings}
        return tabm.TabM.make(**sizes, arch_type="tabm-mini")


@functools.cache  # what builds it is no part of what is timed later
def _own_module(case):
    """Return the module of an estimator that was fitted to the rows of a case."""
    # GrowNet keeps a network for each epoch: more than are timed.
    return case.estimator(max_epochs=8).fit(*case.table()).module_


def has_reference(network):
    """Return whether the authors' package with this network is installed."""
    return all(importlib.util.find_spec(name) is not None for name in NETWORKS[network].packages)


class FlatReference(torch.nn.Module):
    """One of the package's MLP-like networks behind its category embeddings."""

    def __init__(self, embeddings, backbone):
        super().__init__()
        self.embeddings, self.backbone = embeddings, backbone

    def forward(self, x_cont, x_cat):
        return self.backbone(torch.cat([x_cont, self.embeddings(x_cat).flatten(1)], 1))


def encoded(X, y, n_num):
    """Return numbers, codes of categories and the standardised target as arrays; what a plain loop
    has to begin with."""
    codes = np.column_stack(
        [X.iloc[:, j].cat.codes.to_numpy() for j in range(n_num, X.shape[1])]
    ).astype(np.int64)
    return X.iloc[:, :n_num].to_numpy(), codes, ((y - y.mean()) / y.std()).astype(np.float32)


class OwnReference(torch.nn.Module):
    """The module of a fitted estimator, for a loop of others."""

    def __init__(self, module):
        super().__init__()
        self.module = copy.deepcopy(module)

    def forward(self, x_cont, x_cat):
        outputs = self.module(x_cont, x_cat).sum(1)  # of GrowNet's network and those below it
        return outputs[:, :1]  # in training TabNet has its entropy behind


class PlainLoop:
    """What one writes by hand: tensors on the device, a random order, batches by index, AdamW, mean
    squared error."""

    def __init__(self, case, arrays):
        self.net = case.reference().to(case.device)
        self.x_num, self.x_cat, self.y = (
            torch.tensor(array, device=case.device) for array in arrays
        )
        self.batch_size = case.batch_size
        self.n_orders = getattr(self.net, "k", 1)  # TabM's k predictions have batches of their own
        self.optimizer = self._new_optimizer()

    def _new_optimizer(self):
        return torch.optim.AdamW(self.net.parameters(), lr=1e-4, weight_decay=1e-5)

    def train(self):
        """Train one epoch."""
        self.net.train()
        orders = [torch.randperm(len(self.y), device=self.y.device) for _ in range(self.n_orders)]
        order = orders[0] if self.n_orders == 1 else torch.stack(orders, 1)
        for index in order.split(self.batch_size):
            self.optimizer.zero_grad()
            loss = functional.mse_loss(
                self.net(self.x_num[index], self.x_cat[index]).squeeze(-1), self.y[index]
            )
            loss.backward()
            self.optimizer.step()

    @torch.inference_mode()
    def predict(self, batch_size=AUTHORS_BATCH):
        """Predict all rows."""
        self.net.eval()
        chunks = zip(self.x_num.split(batch_size), self.x_cat.split(batch_size), strict=True)
        return torch.cat([self.net(*chunk) for chunk in chunks]).cpu()


class StagedLoop(PlainLoop):
    """The loop of GrowNet, whose epochs have phases with an optimizer each."""

    epoch = 0

    def train(self):
        """Train one epoch: a new network alone, and then all of them together."""
        for phase in self.net.module.phases(self.epoch):
            phase.begin(self.net.module)
            self.optimizer = self._new_optimizer()
            for _ in range(phase.n_passes):
                super().train()
        self.epoch += 1


def timed(function, device):
    """Return the seconds that ``function`` takes until the device has done its work, and what it
    returns."""
    wait(device)
    start = time.perf_counter()
    result = function()
    wait(device)
    return time.perf_counter() - start, result


def wait(device):
    """Wait for the work of a GPU."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
