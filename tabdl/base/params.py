"""The parameters that all estimators with a network share: defaults, legal values, meaning."""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, dataclass_transform

import numpy as np
from sklearn.base import BaseEstimator

from tabdl.base.pretrained import Pretrained
from tabdl.data.encoding import NUMERIC_TRANSFORMS
from tabdl.data.statistics import CATEGORICAL_STATISTICS, MOST_PLAIN_VALUES
from tabdl.params import Float, Int, ListOf, OneOf, Predicate, describe_params, param
from tabdl.training.devices import PRECISIONS, is_device
from tabdl.training.swap_noise import OBJECTIVES

LR_SCHEDULES = ("constant", "cooldown", "cosine", "coslog4")
MEMBERS_DOC = (
    "Number of networks that are trained on the same rows, each with its own seed. Their "
    "predictions are averaged."
)
LR_SCHEDULE_DOC = (
    "Course of the learning rate, a value a step. 'constant'. 'cooldown': constant; where early "
    "stopping would stop, training goes on from the best weights, and the rate falls to 0 in 0.3 "
    "times as many epochs as led there, at least half of ``patience`` (2405.18392). Over "
    "``max_epochs``: 'cosine', from ``lr`` down to 0 (1608.03983); 'coslog4', four cycles of "
    "growing length between 0 and ``lr`` (RealMLP, 2407.04491, section 3)."
)

PRECISION_CHOICES = OneOf(*PRECISIONS)
_CALLABLE = Predicate("a callable", callable)
_DEVICE = Predicate("a torch.device or its name ('cpu', 'cuda', 'cuda:1', 'mps')", is_device)
_RANDOM_STATE = Predicate(
    "a numpy RandomState", lambda value: isinstance(value, np.random.RandomState)
)
_COLUMNS = Predicate(
    "a list of columns",
    lambda value: isinstance(value, Iterable) and not isinstance(value, str | bytes),
)

_ATTRIBUTES = """Attributes
----------
history_ : list of dict
    A record for each epoch: ``epoch``, ``train_loss``, ``val_loss``, ``val_score`` (higher is
    better), ``lr`` (of the last step), ``seconds``.
    Losses of regression are in units of the standardised target. Validation values are None without
    validation rows. The score of an epoch whose predictions cannot be scored is minus infinity.
    With several members: the records of one member after the other, with its number as ``member``.
pretrain_history_ : list of dict
    A record for each epoch of pretraining: ``epoch``, ``train_loss``, ``lr``, ``seconds``, and
    ``member`` with several members. Empty without pretraining. Pickles and files do not keep it.
n_iter_ : int
    Number of epochs trained; with several members the largest.
best_epoch_ : int
    The epoch whose weights are kept; with several members the median.
stop_reason_ : str
    Why training ended: "patience", "max_epochs", "time_limit", "callback" or "interrupted". With
    several members, the last of these reasons that ended the training of a member.
member_results_ : list of TrainingResult, length ``n_members``
    For each member: ``n_iter``, ``best_epoch``, ``stop_reason``, ``history`` and ``plan``. The
    latter is what became of ``time_limit``: ``seconds_step`` of the first steps, ``n_epochs`` that
    fit, the epoch of the ``turn`` from which the clock led the schedules (None where it did not),
    and the ``lr_factor`` that the learning rate grew to.
n_parameters_ : int
    Number of trained parameters.
n_train_rows_, n_val_rows_ : int
    Number of rows of positive weight that trained, and of those that were held out or given for
    validation.
target_ : object
    What turns y into the numbers of the loss, and outputs into predictions.
module_ : torch.nn.Module
    The network, ``(x_num (B, Fn), x_cat (B, Fc)) -> (B, K, C)``; K = 1 but for TabM, and times
    ``n_members``.
encoder_ : FeatureEncoder
    Its ``schema`` names the features.
n_features_in_ : int
    Number of columns of X.
feature_names_in_ : ndarray of str
    Only when the columns of X at fit have names."""


@dataclass_transform(kw_only_default=True, field_specifiers=(param,))
@dataclass(kw_only=True, eq=False, repr=False)
class NetworkParams(BaseEstimator):
    """The parameters of all networks.

    Each subclass becomes a dataclass, whose fields are its parameters, keyword only.
    """

    lr: float = param(Float("(0, inf)"), default=1e-4, doc="Learning rate of AdamW.")
    weight_decay: float = param(
        Float("[0, inf)"),
        default=1e-5,
        doc="Weight decay of AdamW. It acts on the matrices of linear layers only, not on "
        "embeddings, norms and biases.",
    )
    batch_size: int | str = param(
        OneOf("auto"),
        Int(1),
        default="auto",
        doc="Rows a step. 'auto', by the number of training rows: 32 up to 2,800, 64 up to 4,500, "
        "128 up to 6,400, 256 below 32,000, 512 below 200,000, else 1024 (the last three as in "
        "2106.11959). A time limit that is short may make it up to four times as large.",
    )
    clip_norm: float | None = param(
        OneOf(None),
        Float("(0, inf)"),
        default=None,
        doc="Largest norm of the gradient of all weights. A longer gradient is shortened to this "
        "norm. None: no limit.",
    )
    optimizer: str = param(
        OneOf("adamw", "muon"),
        default="adamw",
        doc="'muon': Muon (Jordan et al. 2024) for the matrices between embedding and head, "
        "scaled so that ``lr`` and ``weight_decay`` serve both (2502.16982, section 2.2), and"
        " AdamW for the rest.",
    )
    lr_schedule: str = param(
        OneOf(*LR_SCHEDULES),
        default="constant",
        doc=LR_SCHEDULE_DOC,
    )
    warmup_epochs: float = param(
        Float("[0, inf)"),
        default=0.0,
        doc="Epochs in which the learning rate first grows linearly to ``lr`` (1706.02677, "
        "section 2.2).",
    )
    ema_decay: float | None = param(
        OneOf(None),
        Float("(0, 1)"),
        default=None,
        doc="Decay a step of a moving average of the weights. The average is evaluated, kept and "
        "used to predict. Tuned values were 0.9 to 0.999 (2604.15297). None: no average.",
    )
    hidden_mix: bool = param(
        OneOf(True, False),
        default=False,
        doc="Whether each training row gets random channels of its feature vectors, and the same "
        "share of the loss, from another row (HiddenMix, 2301.02819, section 3.4). Not for "
        "networks whose numbers stay numbers.",
    )
    mixup: float = param(
        Float("[0, inf)"),
        default=0.0,
        doc="Each training row is mixed with another one behind the embedding, and their losses in "
        "the same shares (mixup, 1710.09412; there, manifold mixup, 1806.05236). The shares have "
        "the distribution Beta(mixup, mixup). 0: rows stay apart. Not together with "
        "``hidden_mix``.",
    )
    swap_noise: float = param(
        Float("[0, 1)"),
        default=0.0,
        doc="The probability that a cell of a training row has the value of another row, see "
        "``swap_noise_from``. New cells are drawn in each step. Targets stay.",
    )
    swap_noise_from: str = param(
        OneOf("batch", "nearest"),
        default="batch",
        doc="Where the value of a swapped cell comes from. 'batch': another row of the batch, a "
        "draw from the values of its column. 'nearest': one of the 10 nearest training rows of the "
        "same class; for numbers, of the same tenth of the targets. Hot deck imputation fills "
        "missing cells so (Andridge and Little 2010, 10.1111/j.1751-5823.2010.00103.x). The folds "
        "of a CrossValEnsemble are trained one by one then.",
    )
    feature_dropout: float = param(
        Float("[0, 1)"),
        default=0.0,
        doc="The probability that a step hides a column from all rows of its batch. Hidden numbers "
        "and dates are as missing ones, hidden categories as ones that no training row has. Each "
        "of several predictions with batches of its own, and each of ``n_members``, has hidden "
        "columns of its own.",
    )
    max_epochs: int = param(
        Int(1),
        default=500,
        doc="Largest number of epochs; the number of epochs with ``early_stopping=False``.",
    )
    early_stopping: bool = param(
        OneOf(True, False),
        default=True,
        doc="Whether training stops after ``patience`` epochs without a better validation score, "
        "and the weights of the best epoch are kept. False: all rows train, for ``max_epochs`` "
        "epochs, and the last weights are kept.",
    )
    patience: int | str = param(
        OneOf("auto"),
        Int(1),
        default="auto",
        doc="Epochs without a better validation score before training stops, or cools down. "
        "'auto': 16 (as in 2106.11959), on small tables as many as 832 steps take, at most 48; "
        "with ``lr_schedule='cooldown'`` 8, or as many as 200 steps take.",
    )
    validation_fraction: float = param(
        Float("(0, 1)"),
        default=0.2,
        doc="Share of the rows held out for early stopping. Classes keep their shares, and every "
        "class keeps a row to train on. Unused when fit gets X_val and y_val.",
    )
    scoring: str | Callable | None = param(
        OneOf(None),
        Predicate("a scorer name", lambda value: isinstance(value, str)),
        _CALLABLE,
        default=None,
        doc="The validation score: the name of a scikit-learn scorer, or a callable (estimator, X, "
        "y) -> float; higher is better. It is tried on plausible predictions before training. An "
        "epoch whose predictions cannot be scored counts as the worst. None: minus the validation "
        "loss. Among equal scores the lower validation loss wins.",
    )
    time_limit: float | None = param(
        OneOf(None),
        Float("(0, inf)"),
        default=None,
        doc="Seconds that ``fit`` may take. The first steps say how many epochs fit. Where all of "
        "``max_epochs`` fit, or early stopping comes in the first half of the time, the limit "
        "changes nothing. Else training ends with the time: schedules end with it, a constant "
        "learning rate falls to zero in the second half. Where early stopping cannot come in time, "
        "a constant rate first grows to four times ``lr`` (at most 0.008), and an epoch that is "
        "too long is evaluated several times, each as an epoch in ``history_``. Such a fit depends "
        "on the clock: the same ``random_state`` does not make it the same.",
    )
    numeric_transform: str = param(
        OneOf(*NUMERIC_TRANSFORMS),
        default="quantile",
        doc="How numbers are scaled: 'quantile', to a normal distribution (as in 2106.11959); "
        "'standard'; 'robust' (median, interquartile range, smooth clipping); 'none'; or "
        "'quantile_noise', to quantiles among training values with the random noise of the code "
        "of 2106.11959, which hides differences that are small in the column's unit.",
    )
    numeric_missing: str = param(
        OneOf("impute", "indicator"),
        default="impute",
        doc="How missing numbers are read. 'impute': as the middle of the training values. "
        "'indicator': the same, and each column with missing training values gets a second "
        "feature, which is 1 where the number is missing.",
    )
    categorical_features: Any = param(
        OneOf("from_dtype"),
        _COLUMNS,
        default="from_dtype",
        doc="Which columns are categories: 'from_dtype' (strings, booleans, categorical dtypes), "
        "or names, indices or a mask: a list, set, array, Index or Series.",
    )
    categorical_statistics: str = param(
        OneOf(*CATEGORICAL_STATISTICS),
        default="none",
        doc="Numbers about categories, beside their vectors, for columns with more than "
        f"{MOST_PLAIN_VALUES} different values. 'count': the logarithm of how many training rows "
        "have the value. 'target': the mean target of these rows, for each class or output, shrunk "
        "to the mean of all rows by empirical Bayes (Micci-Barreca 2001). Training rows see rows "
        "that come before them in a random order (1706.09516, section 3.2), other rows see all "
        "training rows. 'both': both. A missing value is a value; one that no training row has "
        "gets the mean of all rows. The folds of a CrossValEnsemble are trained one by one where "
        "targets are used.",
    )
    precision: str = param(
        PRECISION_CHOICES,
        default="auto",
        doc="Type of the numbers of the network: 'float32', 'float64', 'bfloat16', 'float16' or "
        "'auto'. 'bfloat16' and 'float16': products of such numbers, weights and sums of float32, "
        "and with 'float16' a scaled loss; where a loss overflows, training begins anew in "
        "float32, with a warning. 'auto': on a CPU with instructions for bfloat16, bfloat16 for "
        "networks from a width of 128, else float32. On a CUDA device, for FT-Transformer bfloat16 "
        "from compute capability 8.0 on, float16 from 7.0 (V100, T4) and float32 before (P100). "
        "For other networks TF32 where there is TF32.",
    )
    compile: bool | str = param(
        OneOf("auto", True, False),
        default="auto",
        doc="Whether ``torch.compile`` joins the pointwise parts of a training step. Compilation "
        "takes up to a minute. 'auto': on a CUDA device, for fits of at least 200,000 steps.",
    )
    device: Any = param(
        OneOf("auto"),
        _DEVICE,
        default="auto",
        doc="The device to compute on; 'auto': CUDA if there is one, then MPS, then the CPU. With "
        "'auto' or 'cuda', the folds of a CrossValEnsemble share all CUDA devices.",
    )
    n_jobs: int | None = param(
        OneOf(None, -1),
        Int(1),
        default=None,
        doc="Number of CPU threads. None: as many as torch has, but few for a small network, which "
        "gains nothing from more. -1: one a core. A forked process has one thread. After fit and "
        "predict, torch has its own number again. The same number gives the same results to the "
        "bit, however busy the machine is; another number may change the last digits.",
    )
    random_state: Any = param(
        OneOf(None),
        Int(0, 2**32 - 1),
        _RANDOM_STATE,
        default=None,
        doc="Seed of the split, the initial weights, the batches and dropout.",
    )
    verbose: int = param(
        Int(0, 2),
        OneOf(True, False),
        default=0,
        doc="0: silent; 1: a live line of progress, without a terminal some thirty plain lines in "
        "all; 2: a plain line an epoch.",
    )
    n_members: int = param(Int(1), default=1, doc=MEMBERS_DOC)
    callbacks: Any = param(
        OneOf(None),
        ListOf(_CALLABLE),
        default=None,
        doc="Functions that are called after each epoch with the record of the epoch (see "
        "``history_``). A function ends training by returning True. An exception in a function, "
        "such as TrialPruned of Optuna, ends the fit.",
    )

    checkpoint: Any = param(
        OneOf(None),
        Predicate("a path", lambda value: isinstance(value, str | os.PathLike)),
        default=None,
        doc="A file for the state of training, written after an epoch, but so seldom that writing "
        "takes at most a twentieth of the time. The same ``fit`` after a kill goes on from the "
        "file. On a CPU, with the same number of threads, it ends as if nothing had happened, to "
        "the bit; callbacks see only the epochs that are new. The file stays: the same ``fit`` "
        "again trains nothing. A fit with other data, parameters or versions is refused. Needs an "
        "int as ``random_state``, and no ``time_limit``.",
    )

    warm_start: bool = param(
        OneOf(True, False),
        default=False,
        doc="Whether ``fit`` of a fitted network goes on from its weights, with the rows given and "
        "a new optimizer. Columns, categories, scales and classes are kept. Parameters of training "
        "may change; those of the architecture, ``n_members``, ``numeric_transform`` and "
        "``numeric_missing`` may not. Rows that were held out stay so with an int as "
        "``random_state``, or X_val. Members of ensembles are always fitted anew.",
    )

    pretrain: Any = param(
        OneOf(None, *OBJECTIVES),
        Predicate("what tabdl.pretrain leaves", lambda value: isinstance(value, Pretrained)),
        default=None,
        doc="Whether the network first learns from the rows of X alone, without y (2207.03208). "
        "A fifth of the cells of each batch take the value of another row of the batch. "
        "'reconstruction': it learns what the clean values were. 'mask': which cells were "
        "swapped. 'both': the sum of the two losses. With '+supervised' behind, rows with a label "
        "add the loss of their target. Then it trains on clean rows as always. Or what "
        "``tabdl.pretrain`` left: the encoder and the weights that this fit begins from. "
        "Validation rows take no part. With ``time_limit``, pretraining takes at most half of the "
        "time. Callbacks and ``verbose`` do not see it. Not together with ``checkpoint``.",
    )
    pretrain_epochs: int = param(
        Int(1),
        default=20,
        doc="Number of epochs of pretraining, over the training rows and ``X_unlabelled``. Used "
        "with ``pretrain`` only.",
    )

    # The fitted attributes that a task adds, for docstrings; see ``mixins.py``.
    _task_attributes = ""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        dataclass(kw_only=True, eq=False, repr=False)(cls)
        if cls.__doc__:
            parameters = _indented(describe_params(cls, NetworkParams))
            attributes = _indented(_ATTRIBUTES + cls._task_attributes)
            cls.__doc__ = cls.__doc__.replace("{parameters}", parameters)
            cls.__doc__ = cls.__doc__.replace("{attributes}", attributes)


def _indented(text: str) -> str:
    return text.replace("\n", "\n    ")
