"""What training knows of one network: its history, its best weights, whether it goes on."""

import json
import math
import time
from typing import Any

import torch
from torch import Tensor

from tabdl.exceptions import NonFiniteLossError
from tabdl.network.embeddings import CategoryEmbedding
from tabdl.training.batches import on_device
from tabdl.training.cooldown import n_cooldown_epochs
from tabdl.training.epoch import weighted_mean
from tabdl.training.inference import net_outputs
from tabdl.training.pace import Pace
from tabdl.training.run import Loss, TrainingConfig, TrainingResult, TrainingRun


class TrainingMonitor:
    """The course of one run.

    Parameters
    ----------
    number : int or None
        The number of the run among several; None for one alone.
    run : TrainingRun
    config : TrainingConfig

    Attributes
    ----------
    result : TrainingResult
        Its ``stop_reason`` is empty while the run trains.
    """

    def __init__(self, number: int | None, run: TrainingRun, config: TrainingConfig) -> None:
        self.number = number
        self.run = run
        self.config = config
        self.result = TrainingResult()
        self.best_key: tuple[float, float] = (-math.inf, -math.inf)
        self.best_state: dict[str, Tensor] | None = None
        self.outputs: Tensor | None = None
        # The last epoch of the cooldown; None before it.
        self.last_epoch: int | None = None
        self.val = on_device(run.val, next(run.net.parameters()).device)
        own = run.table if run.index is None else run.table.take(run.index)
        self.code_frequencies = [
            (module, module.code_frequencies(own.x_cat, own.weight))
            for module in run.net.modules()
            if isinstance(module, CategoryEmbedding)
        ]

    def evaluate(self, val_loss: Loss) -> Tensor:
        """Predict the validation rows.

        Returns
        -------
        Tensor of no dimension
            Their mean loss; NaN without validation rows.
        """
        for embedding, frequencies in self.code_frequencies:
            embedding.set_unknown_to_mean(frequencies)
        if self.val is None or self.result.stop_reason:
            return torch.full((), math.nan)
        self.outputs = net_outputs(self.run.net, self.val, self.config.precision)
        assert self.val.y is not None, "validation rows have a target"
        return weighted_mean(val_loss(self.outputs, self.val.y), self.val.weight)

    def finish_epoch(
        self,
        train_loss: float,
        val_loss: float,
        lr: float,
        epoch_start: float,
        pace: Pace,
    ) -> None:
        """Record the epoch, keep its weights if they are the best, and decide whether to go on.

        Parameters
        ----------
        train_loss, val_loss : float
        lr : float
            The learning rate of the last step.
        epoch_start : float
            When the epoch began, by ``time.perf_counter``.
        pace : Pace
        """
        if self.result.stop_reason:
            return
        epoch = self.result.n_iter + 1
        record = self._record(epoch, train_loss, val_loss)
        record |= {"lr": lr, "seconds": time.perf_counter() - epoch_start}
        self.result.history.append(record)
        if self.config.patience is not None:
            # A better score wins; among equal scores, a lower validation loss, or a later epoch.
            key = (record["val_score"], epoch if self.config.takes_last_best else -val_loss)
            if self.best_state is None or key > self.best_key:
                self.best_key = key
                self._keep(epoch)
        self.result.plan = pace.plan
        self.result.stop_reason = self._stop_reason(record, pace)
        if self.result.stop_reason and self.best_state is None:
            self._keep(epoch)

    def _record(self, epoch, train_loss, val_loss):
        record = {"epoch": epoch, "train_loss": train_loss, "val_loss": None, "val_score": None}
        if self.val is not None:
            record["val_loss"] = val_loss
        raise_if_not_finite(record, self.number)
        if self.run.score is not None and self.outputs is not None:
            record["val_score"] = self.run.score(self.outputs, val_loss)
        raise_if_not_finite(record, self.number)
        return record

    def _keep(self, epoch):
        self.result.best_epoch = epoch
        state = self.run.net.state_dict()
        self.best_state = {name: value.detach().clone() for name, value in state.items()}

    def _stop_reason(self, record, pace):
        """Return why training ends after this epoch, or an empty string."""
        config = self.config
        shown = dict(record) if self.number is None else record | {"member": self.number}
        # Every callback sees every epoch, also those after one that says stop.
        if any([callback(dict(shown)) is True for callback in config.callbacks]):
            return "callback"
        if self.last_epoch is not None and record["epoch"] >= self.last_epoch:
            return pace.stop_reason or "patience"
        if self._has_waited(pace) and not config.has_cooldown:
            return "patience"
        return pace.stop_reason

    def _has_waited(self, pace):
        """Return whether the score has not been better for as many epochs as the patience."""
        patience = self.config.patience
        n_waited = self.result.n_iter - self.result.best_epoch
        return patience is not None and pace.has_patience and n_waited >= patience

    def begin_cooldown(self, pace: Pace) -> int:
        """Return the number of epochs of the cooldown that begins now, from the best weights; or 0.

        It begins when early stopping would stop, or when the epochs that are left are just enough.
        """
        config = self.config
        is_training = not self.result.stop_reason and self.last_epoch is None
        if not (config.has_cooldown and is_training and pace.has_patience):
            return 0
        assert config.patience is not None and self.best_state is not None, "has_cooldown says so"
        n_left = config.max_epochs - self.result.n_iter
        n_epochs = n_cooldown_epochs(self.result.best_epoch, config.patience, n_left)
        if n_epochs < n_left and not self._has_waited(pace):
            return 0
        self.last_epoch = self.result.n_iter + n_epochs
        if config.ema_decay is None:
            self.run.net.load_state_dict(self.best_state)
        return n_epochs

    def state(self) -> dict[str, Any]:
        """Return what is known of the run so far; see ``checkpoint.py``."""
        result = self.result
        return {
            # Numbers of numpy become plain ones.
            "history": json.dumps(result.history, default=float),
            "best_epoch": result.best_epoch,
            "stop_reason": result.stop_reason,
            "last_epoch": self.last_epoch,
            "best_key": [float(number) for number in self.best_key],
            "best_state": self.best_state,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from a :meth:`state`."""
        self.result.history = json.loads(state["history"])
        self.result.best_epoch = state["best_epoch"]
        self.result.stop_reason = state["stop_reason"]
        self.last_epoch = state["last_epoch"]
        score, tie = state["best_key"]
        self.best_key = score, tie
        self.best_state = state["best_state"]

    def close(self) -> TrainingResult:
        """Give the network its kept weights and return the result."""
        if self.best_state is None:
            self.result.best_epoch = self.result.n_iter
        else:
            self.run.net.load_state_dict(self.best_state)
        return self.result


def raise_if_not_finite(record: dict[str, Any], number: int | None = None) -> None:
    """Raise NonFiniteLossError when a loss of this epoch is infinite, or a loss or score is NaN.

    Parameters
    ----------
    record : dict
        With ``epoch``, ``train_loss``, ``val_loss`` and ``val_score``.
    number : int, optional
        The number of the run among several.

    Raises
    ------
    NonFiniteLossError
    """
    whose = "" if number is None else f" of member {number}"
    for name in ("train_loss", "val_loss"):
        if record[name] is not None and not math.isfinite(record[name]):
            what = f"{name}{whose} became {record[name]} in epoch {record['epoch']}"
            raise NonFiniteLossError(
                f"{what}. Try a smaller lr, precision='float32', or numeric_transform='quantile', "
                "and look for extreme numbers in X and y.",
                what=what,
                member=number or 0,
            )
    if record["val_score"] is not None and math.isnan(record["val_score"]):
        what = f"the validation score{whose} became nan in epoch {record['epoch']}"
        raise NonFiniteLossError(f"{what}. Try another scoring.", what=what, member=number or 0)
