"""Training and prediction speed beside a plain loop around the authors' package: ``python -m benchmarks.speed``.

Both train one epoch of the same network on the same rows, in turn, in one process; what counts is the ratio of the two, since
the machine's own speed drifts. Needs torch, scikit-learn and, for the comparison, rtdl_revisiting_models.
"""

import argparse
import os
import platform
import statistics
import time

import numpy as np
import pandas as pd
import torch
from torch.nn import functional

import tabdl

N_NUM, CARDINALITIES = 20, [2, 5, 10, 50]
NETWORKS = {
    "ft_transformer": (tabdl.FTTransformerRegressor, {}),
    "resnet": (tabdl.TabResNetRegressor, {"n_blocks": 4, "d_block": 256, "d_embedding": 16}),
    "mlp": (tabdl.TabMLPRegressor, {"n_blocks": 4, "d_block": 384, "d_embedding": 16}),
}


def table(n_rows):
    """Return X (20 numbers, 4 categories) and y."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(n_rows, N_NUM)).astype(np.float32), columns=[f"n{j}" for j in range(N_NUM)])
    for j, cardinality in enumerate(CARDINALITIES):
        X[f"c{j}"] = pd.Categorical(rng.integers(0, cardinality, n_rows).astype(str))
    return X, (X["n0"] * X["n1"] + X["c0"].cat.codes).to_numpy() + rng.normal(size=n_rows)


class FlatReference(torch.nn.Module):
    """One of the package's MLP-like networks behind its category embeddings."""

    def __init__(self, embeddings, backbone):
        super().__init__()
        self.embeddings, self.backbone = embeddings, backbone

    def forward(self, x_num, x_cat):
        return self.backbone(torch.cat([x_num, self.embeddings(x_cat).flatten(1)], 1))


def reference(name, parameters):
    """Return the package's network of the same sizes."""
    import rtdl_revisiting_models as rtdl

    if name == "ft_transformer":
        options = rtdl.FTTransformer.get_default_kwargs() | {"_is_default": False}
        return rtdl.FTTransformer(n_cont_features=N_NUM, cat_cardinalities=CARDINALITIES, d_out=1, **options)
    d_embedding, n_blocks, d_block = (parameters[key] for key in ("d_embedding", "n_blocks", "d_block"))
    embeddings = rtdl.CategoricalEmbeddings(CARDINALITIES, d_embedding, bias=False)
    sizes = {"d_in": N_NUM + len(CARDINALITIES) * d_embedding, "d_out": 1, "n_blocks": n_blocks, "d_block": d_block}
    if name == "mlp":
        return FlatReference(embeddings, rtdl.MLP(**sizes, dropout=0.1))
    return FlatReference(embeddings, rtdl.ResNet(**sizes, d_hidden_multiplier=2.0, dropout1=0.3, dropout2=0.0))


class PlainLoop:
    """What one writes by hand: tensors on the device, a random order, batches by index, AdamW, mean squared error."""

    def __init__(self, name, parameters, X, y, batch_size, device):
        self.net = reference(name, parameters).to(device)
        self.x_num = torch.tensor(X.iloc[:, :N_NUM].to_numpy(), device=device)
        codes = np.column_stack([X.iloc[:, j].cat.codes.to_numpy() for j in range(N_NUM, X.shape[1])])
        self.x_cat = torch.tensor(codes, dtype=torch.int64, device=device)
        self.y = torch.tensor((y - y.mean()) / y.std(), dtype=torch.float32, device=device)
        self.batch_size = batch_size
        self.optimizer = torch.optim.AdamW(self.net.parameters(), lr=1e-4, weight_decay=1e-5)

    def train_seconds(self):
        """Train one epoch."""
        self.net.train()
        start = time.perf_counter()
        for index in torch.randperm(len(self.y), device=self.y.device).split(self.batch_size):
            self.optimizer.zero_grad()
            loss = functional.mse_loss(self.net(self.x_num[index], self.x_cat[index]).squeeze(1), self.y[index])
            loss.backward()
            self.optimizer.step()
        _wait(self.y.device)
        return time.perf_counter() - start

    @torch.inference_mode()
    def predict_seconds(self, batch_size=4000):
        """Predict all rows in the batches that the authors use."""
        self.net.eval()
        start = time.perf_counter()
        chunks = zip(self.x_num.split(batch_size), self.x_cat.split(batch_size), strict=True)
        torch.cat([self.net(*chunk) for chunk in chunks]).cpu()
        return time.perf_counter() - start


def _wait(device):
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure(name, X, y, options):
    """Return the seconds of each repeat: ours and the plain loop's, training and prediction."""
    cls, parameters = NETWORKS[name]
    device = torch.device(options.device)
    ours = cls(
        **parameters,
        batch_size=options.batch_size,
        max_epochs=1,
        early_stopping=False,
        precision=options.precision,
        device=device,
        random_state=0,
    )
    try:
        plain = PlainLoop(name, parameters, X, y, options.batch_size, device)
    except ImportError:
        plain = None
        print("rtdl_revisiting_models is not installed: no comparison")
    seconds = {"ours": {"train": [], "predict": []}, "plain": {"train": [], "predict": []}}
    for _ in range(options.repeats + 1):  # the first is a warm-up
        seconds["ours"]["train"].append(ours.fit(X, y).history_[0]["seconds"])
        start = time.perf_counter()
        ours.predict(X)
        seconds["ours"]["predict"].append(time.perf_counter() - start)
        if plain:
            seconds["plain"]["train"].append(plain.train_seconds())
            seconds["plain"]["predict"].append(plain.predict_seconds())
    return {who: {what: values[1:] for what, values in times.items()} for who, times in seconds.items()}


def show(name, n_rows, seconds):
    """Print rows a second and the ratio, as median and range over the repeats."""
    for what in ("train", "predict"):
        ours, plain = seconds["ours"][what], seconds["plain"][what]
        line = f"{name:15s} {what:8s} tabdl {n_rows / statistics.median(ours):10,.0f} rows/s"
        if plain:
            ratios = [theirs / mine for theirs, mine in zip(plain, ours, strict=True)]
            line += f"   plain loop {n_rows / statistics.median(plain):10,.0f} rows/s"
            line += f"   ratio {statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"
        print(line, flush=True)


def main(argv=None):
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="auto", choices=["auto", "float32", "bfloat16"])
    options = parser.parse_args(argv)
    X, y = table(options.rows)
    machine = (
        torch.cuda.get_device_name() if options.device.startswith("cuda") else f"{platform.machine()}, {os.cpu_count()} cores"
    )
    print(f"{options.rows:,} rows, {N_NUM} numbers + {len(CARDINALITIES)} categories, batch {options.batch_size}, ", end="")
    print(f"precision {options.precision}, {machine}, {torch.get_num_threads()} threads, torch {torch.__version__}; ", end="")
    print(f"median (range) of {options.repeats}")
    for network in options.networks:
        show(network, options.rows, measure(network, X, y, options))


if __name__ == "__main__":
    main()
