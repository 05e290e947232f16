"""What the training loop is given, and what it gives back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from torch import Tensor

from tabdl.data.state import State
from tabdl.data.table import Table, TableView
from tabdl.network.contract import TabularNet
from tabdl.training.augmentation import FeatureDropout
from tabdl.training.devices import Precision

# Why training ends; of several reasons the last one in this order counts.
STOP_REASONS = ["patience", "max_epochs", "time_limit", "callback", "interrupted"]
# ``(outputs (B, K, C), y) -> (B,)``
Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class TrainingConfig:
    """How to train.

    Attributes
    ----------
    lr, weight_decay : float
    clip_norm : float or None
        Largest norm of the gradient of a network.
    clip_value : float or None
        Largest size of a number in a gradient.
    optimizer : {"adamw", "muon", "adam"}
        With "adam" weight decay is a part of the gradient.
    beta2 : float
        Decay of the average of squared gradients of Adam and AdamW.
    lr_schedule, weight_decay_schedule, dropout_schedule : str
        Keys of ``schedules.SCHEDULES``: for each step a factor by the share of ``max_epochs`` that
        is done.
    lr_decay : tuple of (float, float)
        What the learning rate is multiplied with in so many steps, a little in each.
    warmup_epochs : float
        Epochs in which the learning rate grows linearly; its schedule begins after them.
    ema_decay : float or None
        Decay of the moving average of the weights, which is evaluated and kept instead of the
        weights themselves. None: no average.
    hidden_mix : bool
        Mix channels of the embeddings of two rows, and their losses.
    mixup : float
        Parameter of the Beta distribution of the shares in which the embeddings of two rows are
        added, and their losses; 0: rows stay apart.
    swap_noise : float
        The probability that a cell of a batch has the value of another row; ``y`` stays.
    donors : Table or None
        Its rows are the ``neighbours`` of the tables, and swapped cells have their values. None:
        those of other rows of the batch.
    feature_dropout : FeatureDropout or None
        Which columns a step hides, see ``augmentation.py``.
    swap_rate : float or None
        The probability that a cell of a batch is swapped, see ``swap_noise.py``; the loss gets the
        clean cells as y then. None: rows and y are those of the table.
    batch_size : int
        Rows a step; the last step of an epoch takes what is left.
    adapts_batch : bool
        Whether a time limit may make batches larger, see ``short_fits.py``.
    drop_last : bool
        No step takes what is left, unless it is all.
    takes_last_best : bool
        Among epochs of equal score, whether the last epoch is kept, or the epoch with the lowest
        validation loss.
    max_epochs : int
    patience : int or None
        Epochs without a better score before training stops; None: no early stopping, the last
        weights are kept.
    time_limit : float or None
        Seconds; see ``pace.py``.
    precision : Precision
    is_compiled : bool
        Whether ``torch.compile`` joins the pointwise parts of a step.
    callbacks : sequence of callables
        Each is called after each epoch with its record; training stops when one returns True. With
        several runs it is called for each run that still trains, and stops that run. The record has
        the number of the run as ``member`` then.
    epoch_rows : int or None
        Rows of a run that an epoch visits, others each time; None: as many as the smallest of the
        runs has.
    checkpoint : Checkpoint or None
        Where the state is kept from epoch to epoch.
    """

    lr: float
    weight_decay: float
    batch_size: int
    max_epochs: int
    patience: int | None
    time_limit: float | None
    precision: Precision
    adapts_batch: bool = False
    clip_norm: float | None = None
    clip_value: float | None = None
    is_compiled: bool = False
    optimizer: str = "adamw"
    beta2: float = 0.999
    lr_schedule: str = "constant"
    weight_decay_schedule: str = "constant"
    dropout_schedule: str = "constant"
    lr_decay: tuple[float, float] = (1.0, 1.0)
    warmup_epochs: float = 0.0
    ema_decay: float | None = None
    hidden_mix: bool = False
    mixup: float = 0.0
    swap_noise: float = 0.0
    donors: Table | None = None
    feature_dropout: FeatureDropout | None = None
    swap_rate: float | None = None
    drop_last: bool = False
    takes_last_best: bool = False
    callbacks: Sequence[Callable[[dict], bool | None]] = ()
    epoch_rows: int | None = None
    checkpoint: Any = None

    @property
    def mixes_rows(self) -> bool:
        """Whether a row meets another one behind the embedding."""
        return self.hidden_mix or self.mixup > 0

    @property
    def has_cooldown(self) -> bool:
        """Whether the learning rate falls when early stopping says so, not at a known step."""
        return self.lr_schedule == "cooldown" and self.patience is not None


@dataclass
class TrainingRun:
    """One network to train, alone or beside others.

    Attributes
    ----------
    net : TabularNet
        On its device; it is trained in place.
    table : Table
        The training rows, with ``y``, on any device.
    val : Table, TableView or None
        The validation rows, with ``y``, on any device.
    score : callable or None
        ``(outputs (N, K, C), validation loss) -> float`` of the validation rows; higher is better.
    seed : int
        Of the order of the rows and of dropout.
    index : int64 Tensor or None
        Which rows of the table train the network, where several runs share a table; None: all.
    optimizer_state : list or None
        Where the optimizer goes on from, and what a training of this run alone leaves there.
    """

    net: TabularNet
    table: Table
    val: Table | TableView | None
    score: Callable[[Tensor, float], float] | None
    seed: int
    index: Tensor | None = None
    optimizer_state: Any = None

    @property
    def n_rows(self) -> int:
        """Number of the training rows."""
        return len(self.table if self.index is None else self.index)


@dataclass
class TrainingResult:
    """What training left behind.

    Attributes
    ----------
    history : list of dict
        A record for each epoch.
    best_epoch : int
        The epoch whose weights are kept.
    stop_reason : str
        "patience", "max_epochs", "time_limit", "callback" or "interrupted"; empty while the network
        trains.
    plan : dict or None
        With a time limit, what the first steps said: ``seconds_step``, the seconds of a step;
        ``n_epochs``, how many epochs fit into the limit; ``turn``, the epoch from which the clock
        led the schedules, or None where the fit went its natural way; ``lr_factor``, what the
        learning rate grew by; ``batch_size``. None without a limit, and where the time was over
        before a step was measured.
    """

    history: list[dict] = field(default_factory=list)
    best_epoch: int = 0
    stop_reason: str = ""
    plan: dict[str, Any] | None = None

    @property
    def n_iter(self) -> int:
        """Number of epochs."""
        return len(self.history)

    def state(self) -> dict[str, Any]:
        """Return the state as plain values, see ``data/state.py``."""
        return {
            "history": [dict(record) for record in self.history],
            "best_epoch": self.best_epoch,
            "stop_reason": self.stop_reason,
            "plan": None if self.plan is None else dict(self.plan),
        }

    @classmethod
    def from_state(cls, state: Any, where: str) -> Self:
        """Return the result of a state; raise ValueError for one that no training leaves behind."""
        fields = State(state, ("history", "best_epoch", "stop_reason", "plan"), where)
        history = fields.items("history", dict)
        if not history or not all(map(_is_record, history)):
            fields.refuse("history", "a list of records of numbers, and one at least")
        plan = fields.fields["plan"]
        if plan is not None and not _is_record(plan):
            fields.refuse("plan", "a record of numbers, or None")
        best_epoch = fields.integer("best_epoch", 0, len(history))
        return cls(history, best_epoch, fields.text("stop_reason", *STOP_REASONS), plan)


def _is_record(record):
    """Return whether ``record`` is a dict from names to plain values."""
    return isinstance(record, dict) and all(
        isinstance(name, str) and isinstance(value, str | int | float | None)
        for name, value in record.items()
    )
