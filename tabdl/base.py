"""The estimator that every architecture is: the shared parameters, ``fit``, and what ``predict`` rests on.

An architecture adds its own parameters and ``_build_net``; a task (``tasks.py``) adds what to do with ``y`` and the outputs.
"""

import copy
import math
import secrets
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, dataclass_transform

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from tabdl.auto import choose_batch_size, choose_patience
from tabdl.data import Table
from tabdl.devices import (
    PRECISIONS,
    choose_compile,
    choose_device,
    choose_dtype,
    choose_precision,
    is_device,
    predict_device,
    threads,
)
from tabdl.encoding import NUMERIC_TRANSFORMS, FeatureEncoder
from tabdl.inference import net_outputs
from tabdl.members import Ensemble
from tabdl.nn import initialize
from tabdl.params import Float, Int, Kind, ListOf, OneOf, check_params, describe_params, param
from tabdl.progress import progress
from tabdl.rows import held_out, read_part, read_X
from tabdl.scoring import make_score
from tabdl.training import Member, Settings, train_finitely

_CALLABLE = Kind("a callable", callable)
_DEVICE = Kind("a torch.device or its name ('cpu', 'cuda', 'cuda:1', 'mps')", is_device)
_RANDOM_STATE = Kind("a numpy RandomState", lambda value: isinstance(value, np.random.RandomState))
_COLUMNS = Kind("a list of columns", lambda value: isinstance(value, Sequence | np.ndarray) and not isinstance(value, str))

_ATTRIBUTES = """Attributes
----------
history_ : list of dict
    A record for each epoch: ``epoch``, ``train_loss``, ``val_loss``, ``val_score`` (higher is better), ``lr`` (of the epoch's
    last step), ``seconds``.
    Losses of regression are in units of the standardised target; validation values are None without validation rows.
    With ``n_members`` above 1: of one member after the other, each record with the member's number under ``member``.
n_iter_ : int
    Number of epochs trained; with several members a list, one for each.
best_epoch_ : int
    The epoch whose weights are kept; with several members a list.
stop_reason_ : str
    Why training ended: "patience", "max_epochs", "time_limit", "callback" or "interrupted"; with several members a list.
n_parameters_ : int
    Number of trained parameters.
module_ : torch.nn.Module
    The network, ``(x_num (B, Fn), x_cat (B, Fc)) -> (B, K, C)``; K = 1 but for TabM, and times ``n_members``.
encoder_ : FeatureEncoder
    Its ``schema`` names the features.
n_features_in_ : int
feature_names_in_ : ndarray of str
    Only when the columns of X at fit have names."""


@dataclass_transform(kw_only_default=True, field_specifiers=(param,))
@dataclass(kw_only=True, eq=False, repr=False)
class TabularEstimator(BaseEstimator):
    """What all estimators share. Each subclass becomes a dataclass: its fields are its parameters, keyword only."""

    lr: float = param(1e-4, Float("(0, inf)"), doc="Learning rate of AdamW.")
    weight_decay: float = param(
        1e-5,
        Float("[0, inf)"),
        doc="Weight decay of AdamW, on the matrices of linear layers only: not on embeddings, norms, biases.",
    )
    batch_size: int | str = param(
        "auto",
        OneOf("auto"),
        Int(1),
        doc="Rows a step. 'auto', by the number n of training rows: 32 up to 2,800, 64 up to 4,500, 128 up to 6,400, 256 below\n"
        "    32,000, 512 below 200,000, else 1024 (the last three are the paper's).",
    )
    clip_norm: float | None = param(
        None,
        OneOf(None),
        Float("(0, inf)"),
        doc="Largest norm of the gradient of all weights; a longer one is shortened to it. None: no limit.",
    )
    optimizer: str = param(
        "adamw",
        OneOf("adamw", "muon"),
        doc="'muon': Muon (Jordan et al. 2024) for the matrices between embedding and head, scaled so that ``lr`` and\n"
        "    ``weight_decay`` serve both (2502.16982, section 2.2), and AdamW for the rest.",
    )
    lr_schedule: str = param(
        "constant",
        OneOf("constant", "cosine", "coslog4"),
        doc="The learning rate's course over ``max_epochs``, a value a step: 'constant'; 'cosine', from ``lr`` down to 0\n"
        "    (1608.03983); 'coslog4', four cycles of growing length between 0 and ``lr`` (RealMLP, 2407.04491, section 3).",
    )
    warmup_epochs: float = param(
        0.0,
        Float("[0, inf)"),
        doc="Epochs in which the learning rate first grows linearly to ``lr`` (1706.02677, section 2.2).",
    )
    ema_decay: float | None = param(
        None,
        OneOf(None),
        Float("(0, 1)"),
        doc="Decay a step of a moving average of the weights, which is then what is evaluated, kept and predicts; tuned\n"
        "    values were 0.9 to 0.999 (2604.15297). None: no average.",
    )
    hidden_mix: bool = param(
        False,
        OneOf(True, False),
        doc="In training, give each row random channels of its features' vectors from another row, and the same share of that\n"
        "    row's loss (HiddenMix, 2301.02819, section 3.4). Not for networks whose numbers stay numbers.",
    )
    max_epochs: int = param(500, Int(1), doc="Largest number of epochs; the number of epochs with ``early_stopping=False``.")
    early_stopping: bool = param(
        True,
        OneOf(True, False),
        doc="Stop after ``patience`` epochs without a better validation score and keep the best epoch's weights. False: all\n"
        "    rows train, for ``max_epochs`` epochs, and the last weights are kept.",
    )
    patience: int | str = param(
        "auto",
        OneOf("auto"),
        Int(1),
        doc="Epochs without a better validation score before training stops. 'auto': 16 (the paper's), on small tables\n"
        "    as many as 832 steps take, at most 48.",
    )
    validation_fraction: float = param(
        0.2,
        Float("(0, 1)"),
        doc="Share of the rows held out for early stopping, stratified; unused when fit gets X_val and y_val.",
    )
    eval_metric: str | Callable | None = param(
        None,
        OneOf(None),
        Kind("a scorer name", lambda value: isinstance(value, str)),
        _CALLABLE,
        doc="The validation score: a scikit-learn scorer's name, or a callable (estimator, X, y) -> float, higher is better.\n"
        "    None: minus the validation loss. Among equal scores the lower validation loss wins.",
    )
    time_limit: float | None = param(
        None, OneOf(None), Float("(0, inf)"), doc="Seconds that training may take; no epoch begins that would probably end later."
    )
    numeric_transform: str = param(
        "quantile",
        OneOf(*NUMERIC_TRANSFORMS),
        doc="What happens to numbers: 'quantile' to a normal distribution (the paper's), 'standard', 'robust' (median,\n"
        "    interquartile range, smooth clipping) or 'none'.",
    )
    missing_numbers: str = param(
        "impute",
        OneOf("impute", "indicator"),
        doc="What happens to missing numbers: 'impute', they become the middle of the training values; 'indicator', and beside\n"
        "    each number that is missing in training rows stands another that is 1 where it is missing.",
    )
    categorical_features: Any = param(
        "from_dtype",
        OneOf("from_dtype"),
        _COLUMNS,
        doc="Which columns are categories: 'from_dtype' (strings, booleans, categorical dtypes), or names, indices or a mask.",
    )
    precision: str = param(
        "auto",
        OneOf(*PRECISIONS),
        doc="Numbers of the network: 'float32', 'float64', 'bfloat16' (products of bfloat16, weights and sums of float32; where\n"
        "    that overflows, training begins anew in float32, with a warning), or\n"
        "    'auto': on a CPU, bfloat16 for networks from a width of 128 where the processor has instructions for it, else\n"
        "    float32; on a CUDA device, bfloat16 for Transformers and TF32 for the others.",
    )
    compile: bool | str = param(
        "auto",
        OneOf("auto", True, False),
        doc="Whether ``torch.compile`` joins the pointwise parts of a training step; to compile takes up to a minute. 'auto':\n"
        "    on a CUDA device, for fits of at least 200,000 steps.",
    )
    device: Any = param(
        "auto", OneOf("auto"), _DEVICE, doc="Where to compute; 'auto': CUDA if there is one, then MPS, then the CPU."
    )
    n_jobs: int | None = param(
        None,
        OneOf(None, -1),
        Int(1),
        doc="Threads of the CPU. None: as many as torch has, but few for a small network, which gains nothing from more; -1:\n"
        "    one a core. Torch's own number is what it was again after fit and predict.",
    )
    random_state: Any = param(
        None,
        OneOf(None),
        Int(0, 2**32 - 1),
        _RANDOM_STATE,
        doc="Seed of the split, the initial weights, the batches and dropout.",
    )
    verbose: int = param(0, Int(0, 2), OneOf(True, False), doc="0: silent; 1: a live line of progress; 2: a plain line an epoch.")
    n_members: int = param(
        1,
        Int(1),
        doc="Networks that are trained on the same rows, each with its own seed, and whose predictions are averaged.",
    )
    callbacks: Any = param(
        None,
        OneOf(None),
        ListOf(_CALLABLE),
        doc="Each is called after each epoch with its record (see ``history_``) and ends training by returning True; an\n"
        "    exception, such as Optuna's TrialPruned, goes up.",
    )

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        dataclass(kw_only=True, eq=False, repr=False)(cls)
        if cls.__doc__:
            cls.__doc__ = cls.__doc__.replace("{parameters}", _indented(describe_params(cls, TabularEstimator)))
            cls.__doc__ = cls.__doc__.replace("{attributes}", _indented(_ATTRIBUTES + cls._task_attributes))

    # What a task says of itself; see tasks.py.
    _task_attributes = ""
    _has_classes = False

    def fit(self, X, y, *, sample_weight=None, X_val=None, y_val=None, sample_weight_val=None):
        """Train the network.

        Parameters
        ----------
        X : {array-like, data frame} of shape (N, F)
            Numbers, strings, booleans, categories and dates; missing values anywhere.
        y : array-like of shape (N,) or (N, C)
        sample_weight : array-like of shape (N,), optional
            Non-negative weights of the rows in the loss. A row of weight 0 takes no part at all.
        X_val, y_val : like X and y, optional
            Validation rows for early stopping, instead of a part of X.
        sample_weight_val : array-like, optional
            Weights of the validation rows in the validation loss and score.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            For a parameter, a table or a target that cannot be used; the message names it.
        FloatingPointError
            When the loss is no longer finite.
        """
        check_params(self)
        device = choose_device(self.device, self._name)
        dtype = choose_dtype(self.precision, device, self._name)
        split_seed, *seeds = _derive_seeds(self.random_state, self.n_members)
        part = read_part(self, X, y, sample_weight, names=("X", "y", "sample_weight"))
        train_part, val_part = self._parts(part, (X_val, y_val, sample_weight_val), split_seed)
        target = self._make_target(part, train_part)
        encoder = FeatureEncoder(self.numeric_transform, self._name, self.missing_numbers)
        encoder.fit(part.columns, train_part.rows, train_part.weights)
        rows, val = (_table(p, encoder, target, dtype) for p in (train_part, val_part))
        score = self._score(target, val_part)
        nets = [self._new_net(encoder.schema, target, rows, init_seed).to(device, dtype) for init_seed in seeds[::2]]
        members = [Member(net, rows, val, score, train_seed) for net, train_seed in zip(nets, seeds[1::2], strict=True)]
        with progress(self._name, self.verbose, self.max_epochs, self.n_members) as shown:
            settings = self._settings(len(rows), device, choose_precision(self.precision, device, nets[0]), shown)
            with threads(self.n_jobs, 3 * nets[0].multiplications * settings.batch_size):
                outcomes = train_finitely(members, settings=settings, loss=self._train_loss(target), val_loss=target.val_loss)
                self._keep(nets, encoder, target, outcomes)
                self._use_validation(val, choose_precision(self.precision, device, self.module_))
        return self

    @property
    def _name(self):
        return type(self).__name__

    def _parts(self, part, given, seed):
        """Return the training rows, and the validation rows or None."""
        if (given[0] is None) != (given[1] is None) or (given[0] is None and given[2] is not None):
            raise ValueError(f"{self._name}: X_val and y_val belong together, and sample_weight_val to them; got only some.")
        if given[0] is not None:
            kinds = [column.kind for column in part.columns]
            return part, read_part(self, *given, names=("X_val", "y_val", "sample_weight_val"), kinds=kinds)
        if not self.early_stopping:
            return part, None
        return held_out(part, self.validation_fraction, seed, self._name, stratify=self._has_classes and part.y.ndim == 1)

    def _new_net(self, schema, target, rows, seed):
        with torch.device("meta"):  # initialize() fills the weights, from a generator of ours
            net = self._build_net(schema, target.n_outputs, rows)
        net = net.to_empty(device="cpu")
        generator = torch.Generator().manual_seed(seed)
        initialize(net, generator)
        net.adapt(rows, generator)
        if self.hidden_mix and net.embedding.n_channels is None:
            raise ValueError(
                f"{self._name}: hidden_mix=True mixes channels of the features' vectors, and here numbers have none, or all "
                "features are one-hot; give num_embedding a value other than None, or set hidden_mix=False."
            )
        return net

    def _settings(self, n_rows, device, precision, shown):
        batch_size = choose_batch_size(n_rows) if self.batch_size == "auto" else int(self.batch_size)
        n_steps = math.ceil(n_rows / batch_size)
        patience = choose_patience(n_steps) if self.patience == "auto" else self.patience
        # Early stopping takes patience + 1 epochs at least.
        n_epochs = min(self.max_epochs, patience + 1) if self.early_stopping else self.max_epochs
        return Settings(
            lr=self.lr,
            weight_decay=self.weight_decay,
            clip_norm=self.clip_norm,
            optimizer=self.optimizer,
            lr_schedule=self.lr_schedule,
            warmup_epochs=self.warmup_epochs,
            ema_decay=self.ema_decay,
            hidden_mix=self.hidden_mix,
            batch_size=batch_size,
            max_epochs=self.max_epochs,
            patience=patience if self.early_stopping else None,
            time_limit=self.time_limit,
            precision=precision,
            is_compiled=choose_compile(self.compile, device, n_epochs * n_steps),
            callbacks=[*shown, *(self.callbacks or ())],
        )

    def _score(self, target, val_part):
        """Return the score of the validation rows, or None."""
        if val_part is None:
            return None
        table = val_part.table() if callable(self.eval_metric) else None
        weight = None if val_part.weight is None else val_part.weights
        return make_score(self.eval_metric, target.answers, table, val_part.targets, weight, self._name)

    def _keep(self, nets, encoder, target, outcomes):
        if any(outcome.stop_reason == "interrupted" for outcome in outcomes):
            nets, outcomes = self._after_interrupt(nets, outcomes)
        self.module_ = (nets[0] if self.n_members == 1 else Ensemble(nets)).eval()
        self.encoder_, self._target = encoder, target
        self.n_parameters_ = sum(parameter.numel() for parameter in self.module_.parameters())
        iterations = [len(outcome.history) for outcome in outcomes]
        bests, reasons = [outcome.best_epoch for outcome in outcomes], [outcome.stop_reason for outcome in outcomes]
        if self.n_members == 1:
            self.history_ = outcomes[0].history
            [self.n_iter_], [self.best_epoch_], [self.stop_reason_] = iterations, bests, reasons
        else:
            self.history_ = [{"member": i} | record for i, outcome in enumerate(outcomes) for record in outcome.history]
            self.n_iter_, self.best_epoch_, self.stop_reason_ = iterations, bests, reasons

    def _use_validation(self, val, precision):
        """Improve the fitted estimator with the validation rows, a Table or None; here there is nothing to do."""

    def _after_interrupt(self, nets, outcomes):
        """Say what an interrupted fit keeps, and return the networks that had an epoch, and their outcomes."""
        begun = [(net, outcome) for net, outcome in zip(nets, outcomes, strict=True) if outcome.history]
        n_epochs = max(len(outcome.history) for _, outcome in begun if outcome.stop_reason == "interrupted") if begun else 0
        only = "" if self.n_members == 1 else f" of {len(begun)} of n_members={self.n_members} members"
        warnings.warn(
            f"{self._name}: interrupted after epoch {n_epochs}; fitted with the "
            f"{'best' if self.early_stopping else 'latest'} weights so far{only}.",
            stacklevel=4,
        )
        return [net for net, _ in begun], [outcome for _, outcome in begun]

    def _answers(self, X):
        """Return what the target makes of the network's outputs for X: a dict with ``predict`` and more."""
        check_is_fitted(self)
        columns = read_X(self, X, kinds=self.encoder_.kinds)
        device = predict_device(self.device)
        dtype = choose_dtype(self.precision, device, self._name)
        net = self.module_.to(device, dtype)
        x_num, x_cat = self.encoder_.transform(columns, dtype=_numpy_dtype(dtype))
        table = Table(torch.from_numpy(x_num), torch.from_numpy(x_cat))
        with threads(self.n_jobs, net.multiplications * min(net.cpu_chunk_rows, len(table))):
            outputs = net_outputs(net, table, choose_precision(self.precision, device, net))
        return self._target.answers(outputs)

    def __sklearn_is_fitted__(self):
        return hasattr(self, "module_")

    def __getstate__(self):
        """Return what is pickled: parameters and fitted state without training rows; the network's weights on the CPU."""
        state = super().__getstate__().copy()
        if "module_" in state:
            state["module_"] = copy.deepcopy(state["module_"]).cpu()
        return state

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        tags.input_tags.string = True
        return tags


def _derive_seeds(random_state, n_members):
    """Return independent seeds: one of the split, then two of each member, of its weights and of its training.

    A member's seeds do not depend on the number of members. Numpy's global random state is neither read nor moved.
    """
    if random_state is None:
        seed = secrets.randbits(32)
    else:
        seed = random_state.randint(2**31) if isinstance(random_state, np.random.RandomState) else int(random_state)
    return [int(seed) for seed in np.random.SeedSequence(seed).generate_state(1 + 2 * n_members)]


def _table(part, encoder, target, torch_dtype):
    """Return the rows of a part as tensors; None for None."""
    if part is None:
        return None
    dtype = _numpy_dtype(torch_dtype)
    x_num, x_cat = encoder.transform(part.columns, part.rows, dtype)
    y = target.encode(part.targets, dtype)
    weight = part.weights * target.row_weight(part.targets)
    # Equal weights are no weights; the loss expects a mean of 1.
    weight = None if np.ptp(weight) == 0 else torch.from_numpy((weight / weight.mean()).astype(dtype))
    return Table(torch.from_numpy(x_num), torch.from_numpy(x_cat), torch.from_numpy(y), weight)


def _numpy_dtype(dtype):
    return np.float64 if dtype == torch.float64 else np.float32


def _indented(text):
    return text.replace("\n", "\n    ")
