"""The training loop: tables as tensors on the device, M networks at once, one synchronisation with the host an epoch."""

import copy
import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from tabdl.data import Table
from tabdl.devices import Precision
from tabdl.feeding import on_device
from tabdl.inference import net_outputs
from tabdl.members import is_faster_together
from tabdl.nn import CategoryEmbedding, TabularNet
from tabdl.steps import Steps, weighted_mean


@dataclass(frozen=True)
class Settings:
    """How to train.

    Attributes
    ----------
    lr, weight_decay : float
    clip_norm : float or None
        Largest norm of a member's gradient.
    optimizer : {"adamw", "muon"}
    beta2 : float
        Of AdamW: the decay of its average of squared gradients.
    lr_schedule, weight_decay_schedule, dropout_schedule : str
        Keys of ``schedules.SCHEDULES``: factors by the share of ``max_epochs`` that is done, anew for each step.
    warmup_epochs : float
        Epochs in which the learning rate grows linearly; its schedule begins after them.
    ema_decay : float or None
        Of the moving average of the weights, which is what is evaluated and kept then.
    hidden_mix : bool
        Mix channels of the embeddings of two rows, and their losses.
    batch_size : int
        Rows a step; the last step of an epoch takes what is left.
    drop_last : bool
        No step takes what is left, unless it is all.
    takes_last_best : bool
        Among epochs of equal score the last one's weights are kept, else those of the lowest validation loss.
    max_epochs : int
    patience : int or None
        Epochs without a better score before training stops; None: no early stopping, the last weights are kept.
    time_limit : float or None
        Seconds; no epoch begins that would probably end later.
    precision : Precision
    is_compiled : bool
        Whether ``torch.compile`` joins the pointwise parts of a step.
    callbacks : sequence of callables
        Each is called after each epoch with its record; training stops when one returns True. With several members each is called
        for each that still trains, whose number the record has as ``member``, and stops that one.
    epoch_rows : int or None
        Rows of a member that an epoch visits, others each time; None: as many as the smallest of the members' tables has.
    """

    lr: float
    weight_decay: float
    batch_size: int
    max_epochs: int
    patience: int | None
    time_limit: float | None
    precision: Precision
    clip_norm: float | None = None
    is_compiled: bool = False
    optimizer: str = "adamw"
    beta2: float = 0.999
    lr_schedule: str = "constant"
    weight_decay_schedule: str = "constant"
    dropout_schedule: str = "constant"
    warmup_epochs: float = 0.0
    ema_decay: float | None = None
    hidden_mix: bool = False
    drop_last: bool = False
    takes_last_best: bool = False
    callbacks: Sequence[Callable[[dict], bool | None]] = ()
    epoch_rows: int | None = None


@dataclass
class Member:
    """One of the networks that are trained together.

    Attributes
    ----------
    net : TabularNet
        ``(x_num, x_cat) -> (B, K, C)``, on its device; trained in place.
    rows, val : Table, Table or None
        Training rows and validation rows with ``y``, on any device.
    score : callable or None
        ``(outputs (N, K, C), validation loss) -> float`` of the validation rows; higher is better.
    seed : int
        Of the order of the rows and of dropout.
    index : int64 Tensor or None
        Which rows of the table train it, where several members share a table; None: all.
    """

    net: TabularNet
    rows: Table
    val: Table | None
    score: Callable[[Tensor, float], float] | None
    seed: int
    index: Tensor | None = None

    @property
    def n_rows(self):
        """Number of its training rows."""
        return len(self.rows if self.index is None else self.index)


@dataclass
class Outcome:
    """What training left behind: a record for each epoch, the epoch of the kept weights, and why it stopped."""

    history: list[dict] = field(default_factory=list)
    best_epoch: int = 0
    stop_reason: str = ""


def train_finitely(members, *, settings, **losses):
    """Train like :func:`train`; where bfloat16 leads to a loss that is not finite, begin anew in float32, with a warning.

    The networks refuse bfloat16 from then on, also when they predict.
    """
    if not settings.precision.is_bfloat16:
        return train(members, settings=settings, **losses)
    start = time.perf_counter()
    beginnings = [copy.deepcopy(member.net.state_dict()) for member in members]
    try:
        return train(members, settings=settings, **losses)
    except FloatingPointError as error:
        warnings.warn(f"With bfloat16 {str(error).partition('. ')[0]}; training begins anew in float32.", stacklevel=3)
    for member, beginning in zip(members, beginnings, strict=True):
        member.net.load_state_dict(beginning)
        member.net.takes_bfloat16 = False
    time_limit = None if settings.time_limit is None else settings.time_limit - (time.perf_counter() - start)
    precision = replace(settings.precision, is_bfloat16=False)
    return train(members, settings=replace(settings, precision=precision, time_limit=time_limit), **losses)


def train(members, *, loss, val_loss, settings, together=None):
    """Train the members' networks in place and return the :class:`Outcome` of each.

    Parameters
    ----------
    members : list of Member
        Networks of one shape on one device. An epoch visits as many rows of each as the smallest of their tables has, so that all
        batches have one size: a member with more rows leaves some out, others each time.
    loss, val_loss : callable
        ``(outputs (B, K, C), y) -> (B,)``.
    settings : Settings
    together : bool or None
        Whether each step is one for all members, or one member is trained after the other; None: what is quicker. It is a matter
        of time alone: what a member learns is the same.

    Raises
    ------
    FloatingPointError
        When a loss is no longer finite.
    KeyboardInterrupt
        When it comes before the first epoch is done; later it ends training like a stop. Members that are trained one after the
        other and had no epoch yet have an empty history then.
    """
    tracks = [Track(number if len(members) > 1 else None, member, settings) for number, member in enumerate(members)]
    settings = replace(settings, epoch_rows=min(member.n_rows for member in members))
    if together is None:
        together = is_faster_together(members[0].net, settings.batch_size)
    start = time.perf_counter()
    try:
        if together:
            _train_together(tracks, loss, val_loss, settings)
        else:
            for left, track in zip(range(len(tracks), 0, -1), tracks, strict=True):
                track.settings = _with_share(settings, start, left)
                _train_together([track], loss, val_loss, track.settings)
    except KeyboardInterrupt:
        if not any(track.outcome.history for track in tracks):
            raise
        for track in tracks:
            track.outcome.stop_reason = track.outcome.stop_reason or "interrupted"
    return [track.close() for track in tracks]


def _with_share(settings, start, left):
    """Return the settings of the next of ``left`` members that are trained one after the other: its share of the time left."""
    if settings.time_limit is None:
        return settings
    return replace(settings, time_limit=(settings.time_limit - (time.perf_counter() - start)) / left)


def _train_together(tracks, loss, val_loss, settings):
    start = time.perf_counter()
    with Steps([track.member for track in tracks], loss, settings) as steps:
        for epoch in range(1, settings.max_epochs + 1):
            epoch_start = time.perf_counter()
            train_losses = steps.run_epoch()
            with steps.kept_weights():
                val_losses = [track.evaluate(val_loss).to(train_losses) for track in tracks]
                numbers = torch.stack([*train_losses, *val_losses]).tolist()  # the epoch's one wait for the device
                for track, *losses in zip(tracks, numbers[: len(tracks)], numbers[len(tracks) :], strict=True):
                    track.finish_epoch(epoch, *losses, steps.lr, epoch_start, time.perf_counter() - start)
            if all(track.outcome.stop_reason for track in tracks):
                break


class Track:
    """What training knows of one member: its history, its best weights so far, and whether it goes on.

    Attributes
    ----------
    outcome : Outcome
        Its ``stop_reason`` is empty while the member trains.
    """

    def __init__(self, number, member, settings):
        self.number, self.member, self.settings = number, member, settings
        self.outcome, self.best_key, self.best_state = Outcome(), (-math.inf, -math.inf), None
        self.val = on_device(member.val, next(member.net.parameters()).device)
        rows = member.rows if member.index is None else member.rows.rows(member.index)
        self.averages = [
            (module, module.shares(rows.x_cat, rows.weight))
            for module in member.net.modules()
            if isinstance(module, CategoryEmbedding)
        ]

    def evaluate(self, val_loss):
        """Predict the validation rows and return their mean loss, a tensor of no dimension; nan without such rows."""
        for embedding, shares in self.averages:
            embedding.average_unseen(shares)
        if self.val is None or self.outcome.stop_reason:
            return torch.full((), math.nan)
        self.outputs = net_outputs(self.member.net, self.val, self.settings.precision)
        return weighted_mean(val_loss(self.outputs, self.val.y), self.val.weight)

    def finish_epoch(self, epoch, train_loss, val_loss, lr, epoch_start, elapsed):
        """Record the epoch, keep the weights if they are the best so far, and decide whether the member goes on."""
        if self.outcome.stop_reason:
            return
        has_val = self.val is not None
        record = {"epoch": epoch, "train_loss": train_loss, "val_loss": val_loss if has_val else None}
        raise_if_not_finite(record, self.number)
        record["val_score"] = self.member.score(self.outputs, val_loss) if has_val else None
        raise_if_not_finite(record, self.number)
        record |= {"lr": lr, "seconds": time.perf_counter() - epoch_start}
        self.outcome.history.append(record)
        if self.settings.patience is not None:
            # A better score wins; among equal scores, a lower validation loss, or a later epoch.
            key = (record["val_score"], epoch if self.settings.takes_last_best else -val_loss)
            if self.best_state is None or key > self.best_key:
                self.best_key = key
                self._keep(epoch)
        self.outcome.stop_reason = self._stop_reason(record, elapsed)
        if self.outcome.stop_reason and self.best_state is None:
            self._keep(epoch)

    def _keep(self, epoch):
        self.outcome.best_epoch = epoch
        self.best_state = {name: value.detach().clone() for name, value in self.member.net.state_dict().items()}

    def _stop_reason(self, record, elapsed):
        """Return why training ends after this epoch, or an empty string."""
        shown = dict(record) if self.number is None else record | {"member": self.number}
        # Every callback sees every epoch, also those after one that says stop.
        if any([callback(dict(shown)) is True for callback in self.settings.callbacks]):
            return "callback"
        if self.settings.patience is not None and record["epoch"] - self.outcome.best_epoch >= self.settings.patience:
            return "patience"
        if self.settings.time_limit is not None and elapsed + record["seconds"] > self.settings.time_limit:
            return "time_limit"
        return "max_epochs" if record["epoch"] == self.settings.max_epochs else ""

    def close(self):
        """Give the network its kept weights and return the outcome."""
        if self.best_state is None:
            self.outcome.best_epoch = len(self.outcome.history)
        else:
            self.member.net.load_state_dict(self.best_state)
        return self.outcome


def raise_if_not_finite(record, number=None):
    """Raise FloatingPointError when a loss of this epoch is infinite or not a number.

    The error's ``member`` is the number of the member whose loss it is.
    """
    whose = "" if number is None else f" of member {number}"
    message = None
    for name in ("train_loss", "val_loss"):
        if record[name] is not None and not math.isfinite(record[name]):
            message = (
                f"{name}{whose} became {record[name]} in epoch {record['epoch']}. Try a smaller lr, precision='float32', or "
                "numeric_transform='quantile', and look for extreme numbers in X and y."
            )
            break
    else:
        if record.get("val_score") is not None and math.isnan(record["val_score"]):
            message = f"the validation score{whose} became nan in epoch {record['epoch']}. Try another eval_metric."
    if message is not None:
        error = FloatingPointError(message)
        error.member = number or 0
        raise error
