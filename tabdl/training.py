"""The training loop: tables as tensors on the device, one synchronisation with the host an epoch."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from tabdl.inference import net_outputs
from tabdl.nn import CategoryEmbedding, Dropout, parameter_groups


@dataclass(frozen=True)
class Settings:
    """How to train.

    Attributes
    ----------
    lr, weight_decay : float
    batch_size : int
        Rows a step; the last step of an epoch takes what is left.
    max_epochs : int
    patience : int or None
        Epochs without a better score before training stops; None: no early stopping, the last weights are kept.
    time_limit : float or None
        Seconds; no epoch begins that would probably end later.
    precision : torch.dtype
        ``float32`` or ``float64``: of the parameters; ``bfloat16``: float32 parameters under autocast.
    callbacks : sequence of callables
        Each is called after each epoch with its record; training stops when one returns True.
    """

    lr: float
    weight_decay: float
    batch_size: int
    max_epochs: int
    patience: int | None
    time_limit: float | None
    precision: torch.dtype
    callbacks: Sequence[Callable[[dict], bool | None]] = ()


@dataclass
class Outcome:
    """What training left behind: a record for each epoch, the epoch of the kept weights, and why it stopped."""

    history: list[dict] = field(default_factory=list)
    best_epoch: int = 0
    stop_reason: str = "max_epochs"


class BestWeights:
    """The weights of the best epoch so far, in memory. A better score wins; among equal scores, a lower validation loss."""

    def __init__(self):
        self.key, self.epoch, self.state = (-math.inf, -math.inf), 0, None

    def update(self, record, net):
        key = (record["val_score"], -record["val_loss"])
        if self.state is None or key > self.key:
            self.key, self.epoch = key, record["epoch"]
            self.state = {name: value.detach().clone() for name, value in net.state_dict().items()}


def train(net, rows, val, *, loss, val_loss, score, settings, generator):
    """Train ``net`` in place and return the :class:`Outcome`.

    Parameters
    ----------
    net : Module
        ``(x_num, x_cat) -> (B, K, C)``, on the device of the tables.
    rows, val : Table, Table or None
        Training rows and validation rows with ``y``.
    loss, val_loss : callable
        ``(outputs (B, K, C), y) -> (B,)``.
    score : callable
        ``(outputs (N, K, C) on the CPU) -> float`` of the validation rows; higher is better.
    settings : Settings
    generator : torch.Generator
        Of the tables' device: for the order of rows and for dropout.

    Raises
    ------
    FloatingPointError
        When the loss is no longer finite.
    KeyboardInterrupt
        When it comes before the first epoch is done; later it ends training like a stop.
    """
    optimizer = torch.optim.AdamW(parameter_groups(net, settings.weight_decay), lr=settings.lr, fused=True)
    outcome, best, start = Outcome(), BestWeights(), time.perf_counter()
    lend_generator(net, generator)
    try:
        for epoch in range(1, settings.max_epochs + 1):
            epoch_start = time.perf_counter()
            record = {"epoch": epoch, "train_loss": run_epoch(net, rows, optimizer, loss, settings, generator)}
            record |= validate(net, rows, val, val_loss, score, settings)
            record |= {"lr": optimizer.param_groups[0]["lr"], "seconds": time.perf_counter() - epoch_start}
            raise_if_not_finite(record)
            outcome.history.append(record)
            if settings.patience is not None:
                best.update(record, net)
            if reason := stop_reason(record, best, settings, time.perf_counter() - start):
                outcome.stop_reason = reason
                break
    except KeyboardInterrupt:
        if not outcome.history:
            raise
        outcome.stop_reason = "interrupted"
    finally:
        lend_generator(net, None)
    outcome.best_epoch = outcome.history[-1]["epoch"] if best.state is None else best.epoch
    if best.state is not None:
        net.load_state_dict(best.state)
    return outcome


def run_epoch(net, rows, optimizer, loss, settings, generator):
    """Take one step for each batch of a new random order, and return the epoch's mean loss, a float."""
    net.train()
    device = rows.x_num.device
    total = torch.zeros((), device=device, dtype=torch.float64 if device.type != "mps" else torch.float32)
    for index in torch.randperm(len(rows), generator=generator, device=device).split(settings.batch_size):
        batch = rows.rows(index)
        with torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == torch.bfloat16):
            outputs = net(batch.x_num, batch.x_cat)
        batch_loss = weighted_mean(loss(outputs.to(batch.x_num.dtype), batch.y), batch.weight)
        optimizer.zero_grad(set_to_none=True)
        batch_loss.backward()
        optimizer.step()
        total += batch_loss.detach() * len(index)
    return total.item() / len(rows)


def weighted_mean(losses: Tensor, weight: Tensor | None):
    """Return the mean of ``losses * weight``; the weights' mean is 1 over the table, not over the batch.

    So a batch of light rows moves the network less, and no batch divides by zero.
    """
    return losses.mean() if weight is None else (losses * weight).mean()


def validate(net, rows, val, val_loss, score, settings):
    """Return the validation part of an epoch's record; without validation rows, None for both values."""
    for module in net.modules():
        if isinstance(module, CategoryEmbedding):
            module.average_unseen(rows.x_cat, rows.weight)
    if val is None:
        return {"val_loss": None, "val_score": None}
    outputs = net_outputs(net, val, settings.precision)
    mean_loss = weighted_mean(val_loss(outputs, val.y), val.weight).item()
    return {"val_loss": mean_loss, "val_score": score(outputs.cpu(), mean_loss)}


def stop_reason(record, best, settings, elapsed):
    """Return why training ends after this epoch, or None."""
    # Every callback sees every epoch, also those after one that says stop.
    if any([callback(dict(record)) is True for callback in settings.callbacks]):
        return "callback"
    if settings.patience is not None and record["epoch"] - best.epoch >= settings.patience:
        return "patience"
    if settings.time_limit is not None and elapsed + record["seconds"] > settings.time_limit:
        return "time_limit"
    return None


def raise_if_not_finite(record):
    """Raise FloatingPointError when a loss of this epoch is infinite or not a number."""
    for name in ("train_loss", "val_loss"):
        if record[name] is not None and not math.isfinite(record[name]):
            raise FloatingPointError(
                f"{name} became {record[name]} in epoch {record['epoch']}. Try a smaller lr, precision='float32', or "
                "numeric_transform='quantile', and look for extreme numbers in X and y."
            )
    if record["val_score"] is not None and math.isnan(record["val_score"]):
        raise FloatingPointError(f"the validation score became nan in epoch {record['epoch']}. Try another eval_metric.")


def lend_generator(net: nn.Module, generator):
    """Let every Dropout of ``net`` draw from ``generator``; None takes it back (a generator cannot be pickled)."""
    for module in net.modules():
        if isinstance(module, Dropout):
            module.generator = generator
