"""The steps of an epoch: gather a batch of each run, forward, backward, optimizer.

Nothing in them waits for the device.
"""

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from tabdl.training.augmentation import augmented, mixup_shares
from tabdl.training.batches import make_batches
from tabdl.training.cooldown import Cooldown
from tabdl.training.cuda_graphs import CUDAGraphStep
from tabdl.training.heap import HeapTrimGuard
from tabdl.training.loss_scale import LossScale
from tabdl.training.optimizers import Optimizer, WeightAverage
from tabdl.training.pace import Pace, TimedPace
from tabdl.training.parts import StepParts, part_rows
from tabdl.training.run import Loss, TrainingConfig, TrainingRun
from tabdl.training.schedules import SCHEDULES, DropoutSchedule, learning_rate_factor
from tabdl.training.stacking import StackedNetworks
from tabdl.training.swap_noise import swap_cells
from tabdl.training.threads import Faster, one_or_all


class EpochRunner:
    """The steps of the networks of all runs together; open it as a context.

    Parameters
    ----------
    runs : list of TrainingRun
    loss : callable
        ``(outputs (B, K, C), y) -> (B,)``.
    config : TrainingConfig

    Attributes
    ----------
    pace : Pace
    """

    def __init__(self, runs: Sequence[TrainingRun], loss: Loss, config: TrainingConfig) -> None:
        first = runs[0].net
        self.loss = loss
        self.config = config
        # What the learning rate of the latest step was multiplied with, for each network.
        self.lr_factors = [1.0] * len(runs)
        self.cooldowns: list[Cooldown | None] = [None] * len(runs)
        self.device = next(first.parameters()).device
        self.n_batch_streams = first.n_batch_streams
        self.n_batch = config.batch_size * self.n_batch_streams
        self.batches = make_batches([run.table for run in runs], self.device, self.n_batch)
        self.n_visited = _visited(config.epoch_rows or min(run.n_rows for run in runs), config)
        # What the learning rate is multiplied with in a phase of an epoch.
        self.phase_factor = 1.0
        self.phases = first.phases
        self.n_passes = _n_passes(first)
        self.n_steps_epoch = math.ceil(self.n_visited / config.batch_size) * self.n_passes
        self.pace = self._new_pace(runs)
        # The batches of this epoch that no step has taken yet.
        self.left: Iterator[Tensor] | None = None
        self.indices = [None if run.index is None else run.index.to(self.device) for run in runs]
        self.sizes = [run.n_rows for run in runs]
        self.orders = [self._generator(run.seed) for run in runs]
        # Dropout has generators of its own: a recorded graph draws from them, and nothing else may.
        self.noise = [self._generator(_other_seed(run.seed)) for run in runs]
        nets = [run.net for run in runs]
        self.networks = StackedNetworks(nets, self.noise, config.is_compiled)
        self.n_channels = first.embedding.n_channels if config.hidden_mix else None
        hidden = config.feature_dropout
        self.feature_dropout = None if hidden is None else hidden.to(self.device)
        self.donors = None if config.donors is None else config.donors.to(self.device)
        self.block_rows = first.cpu_step_rows if self.device.type == "cpu" else None
        # Rows of a part are mixed, with draws for the part.
        n_threads = 1 if config.mixes_rows or config.is_compiled else torch.get_num_threads()
        self.part_rows = self.block_rows and part_rows(first, config.batch_size, n_threads)
        is_free = self.device.type == "cpu" and not self.part_rows and torch.get_num_threads() > 1
        self.faster = Faster() if is_free else None

    def _new_pace(self, runs):
        config = self.config
        if config.time_limit is None:
            return Pace(config, self.n_steps_epoch)
        n_val = sum(0 if run.val is None else len(run.val) for run in runs)
        n_val_epochs = n_val / len(runs) / (self.n_visited * self.n_passes)
        return TimedPace(config, self.n_steps_epoch, self.device, n_val_epochs)

    def _generator(self, seed):
        return torch.Generator(self.device).manual_seed(seed)

    def __enter__(self) -> "EpochRunner":
        self.networks.__enter__()
        config = self.config
        device = self.device
        is_scaled = config.precision.half == torch.float16
        self.loss_scale = LossScale(len(self.networks), device) if is_scaled else None
        self.parts = StepParts(
            self.networks,
            self.block_rows,
            self.part_rows,
            self.n_batch,
            at_once=not config.mixes_rows,
            scale=None if self.loss_scale is None else self.loss_scale.scale,
        )
        self.parts.__enter__()
        self.optimizer = Optimizer(self.networks, config, device)
        self.average = None
        self.dropout = None
        if config.ema_decay is not None:
            parameters = list(self.networks.parameters.values())
            self.average = WeightAverage(parameters, config.ema_decay)
        if config.dropout_schedule != "constant":
            self.dropout = DropoutSchedule(self.networks.dropouts, device)
        wide = torch.float32 if device.type == "mps" else torch.float64
        self.total = torch.zeros(len(self.networks), dtype=wide, device=device)
        self.step: CUDAGraphStep | None = CUDAGraphStep(self._step, device, self.noise)
        self.heap_guard = HeapTrimGuard(device)
        return self

    def __exit__(self, *exception: Any) -> None:
        self.heap_guard.release()
        self.parts.__exit__(*exception)
        if self.dropout is not None:
            self.dropout.release()
        if self.average is not None:
            self.average.leave()
        self.networks.__exit__(*exception)
        # It refers to this object: a recorded step's memory would wait for the garbage collector.
        self.step = None

    def kept_weights(self) -> contextlib.AbstractContextManager:
        """Return a context in which the networks have the weights that are evaluated and kept.

        These are the averages, where the config asks for averages.
        """
        return contextlib.nullcontext() if self.average is None else self.average.in_place()

    def lr(self, number: int) -> float:
        """Return the learning rate of a network in the latest step."""
        return self.config.lr * self.lr_factors[number]

    def cool_down(self, number: int, n_epochs: int) -> None:
        """Let the learning rate of a network fall to zero from now on; 0 epochs: not yet."""
        if n_epochs:
            self.cooldowns[number] = Cooldown(self.pace.n_done, n_epochs * self.n_steps_epoch)

    def state(self) -> dict[str, Any]:
        """Return what the next epochs depend on, between two epochs; see ``checkpoint.py``."""
        return {
            "nets": [net.state_dict() for net in self.networks.nets],
            "optimizers": self.optimizer.state(),
            "averages": None if self.average is None else self.average.averages,
            "generators": [generator.get_state() for generator in [*self.orders, *self.noise]],
            "n_done": self.pace.n_done,
            "cooldowns": [None if c is None else (c.start, c.n_steps) for c in self.cooldowns],
            "loss_scale": None if self.loss_scale is None else self.loss_scale.state(),
        }

    @torch.no_grad()
    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from a :meth:`state`."""
        for net, own in zip(self.networks.nets, state["nets"], strict=True):
            net.load_state_dict(own)
        self.optimizer.load_state(state["optimizers"])
        if self.average is not None:
            for average, saved in zip(self.average.averages, state["averages"], strict=True):
                average.copy_(saved)
        generators = [*self.orders, *self.noise]
        for generator, saved in zip(generators, state["generators"], strict=True):
            generator.set_state(saved)
        if self.loss_scale is not None:
            self.loss_scale.load_state(state["loss_scale"])
        self.pace.n_done = state["n_done"]
        self.cooldowns = [None if own is None else Cooldown(*own) for own in state["cooldowns"]]

    def run_round(self) -> Tensor:
        """Take a step for each batch up to the next evaluation; return the mean losses, (M,).

        A round is an epoch, in a new random order, but for what a time limit changes. The losses
        are those of the last phase.
        """
        self.networks.train()
        self._forget_losses()
        self.pace.begin_round()
        with self.config.precision.matmuls(self.device), self.parts.team.share():
            for index in self._batches():
                assert self.step is not None, "the context is open"
                self._schedule()
                with self._threads(index.shape[1]):
                    self.step(index)
                self.n_rows += index.shape[1]
                if self.pace.step_done():
                    break
        self.pace.end_round()
        return self.total / self.n_rows

    def _threads(self, n_rows):
        """Return a context for a step.

        Training by the clock is another one each time: steps that cannot be parted may as well
        choose their threads then.
        """
        if self.faster is None or not self.pace.follows_clock:
            return contextlib.nullcontext()
        return one_or_all(self.faster, n_rows)

    def _forget_losses(self):
        self.total.zero_()
        self.n_rows = 0

    def _batches(self):
        """Yield the batches of the epoch that is not through, and of further ones if need be."""
        while True:
            if self.left is None:
                self.left = self._epoch()
            # ``yield from`` would close what the next round goes on with.
            while (index := next(self.left, None)) is not None:
                yield index
            self.left = None
            if self.pace.ends_with_epoch():
                return

    def _pass(self):
        """Return the batches of a pass through the rows."""
        parts = zip(self.sizes, self.indices, self.orders, strict=True)
        orders = [self._order(*part)[: self.n_visited] for part in parts]
        return self.batches.epoch(torch.stack(orders).flatten(1), self.n_batch)

    def _epoch(self):
        """Yield the batches of an epoch, and begin each of its phases."""
        n_before = self.pace.n_done
        phases = self.phases(n_before // self.n_steps_epoch)
        if not phases:
            yield from self._pass()
            return
        for phase in phases:
            self._begin(phase)
            for _ in range(phase.n_passes):
                yield from self._pass()
        # A first epoch that is shorter counts as one.
        self.pace.n_done = n_before + self.n_steps_epoch

    def _begin(self, phase):
        self.networks.change(phase.begin)
        decay = self.config.weight_decay * phase.decay_factor
        config = replace(self.config, weight_decay=decay)
        self.optimizer = Optimizer(self.networks, config, self.device)
        # What was recorded is the step of another phase.
        self.step = CUDAGraphStep(self._step, self.device, self.noise)
        self.phase_factor = phase.lr_factor
        self._forget_losses()

    def _schedule(self):
        """Set the learning rate, weight decay and dropout of the next step."""
        config = self.config
        pace = self.pace
        n_warmup = config.warmup_epochs * self.n_steps_epoch
        schedule = "constant" if config.has_cooldown else config.lr_schedule
        factor = learning_rate_factor(schedule, pace.position, pace.n_steps, n_warmup)
        rate, n_steps = config.lr_decay
        factor *= pace.lr_factor * self.phase_factor * rate ** (pace.position / n_steps)
        self.lr_factors = [
            factor if cooldown is None else factor * cooldown.factor(pace.n_done)
            for cooldown in self.cooldowns
        ]
        t = pace.position / pace.n_steps
        self.optimizer.set(self.lr_factors, SCHEDULES[config.weight_decay_schedule](t))
        if self.dropout is not None:
            self.dropout.set(SCHEDULES[config.dropout_schedule](t))

    def _order(self, n_rows, index, generator):
        """Return random orders of the rows of a run side by side, (N, n_batch_streams)."""
        orders = [
            torch.randperm(n_rows, generator=generator, device=self.device)
            for _ in range(self.n_batch_streams)
        ]
        return torch.stack(orders if index is None else [index[order] for order in orders], 1)

    def _step(self, index):
        batch = self.batches.gather(index)
        if self.config.swap_rate is not None:
            batch = swap_cells(batch, self.config.swap_rate, self.noise)
        noise = self.config.swap_noise, self.feature_dropout, self.n_batch_streams
        batch = augmented(batch, *noise, self.noise, self.donors)
        self.optimizer.zero_grad()
        self.parts.backward(self._losses, batch, self.total)
        parameters = list(self.networks.parameters.values())
        if self.loss_scale is not None:
            self.loss_scale.unscale(parameters)
        if self.config.clip_value is not None:
            torch.nn.utils.clip_grad_value_(parameters, self.config.clip_value)
        if self.config.clip_norm is not None:
            clip_gradients(parameters, self.config.clip_norm, len(self.networks))
        self.optimizer.step()
        if self.average is not None:
            self.average.update()

    def _losses(self, networks, part):
        """Return the losses, (M, B), of a part of a batch, with the graph of the gradients."""
        mix = self._mix(part.x_num)
        with self.config.precision.autocast(self.device):
            outputs = networks(part.x_num, part.x_cat, mix)
        self.heap_guard.set()
        outputs = outputs.to(part.x_num.dtype)
        losses = self._weighted(outputs, part)
        if mix is None:
            return losses
        others = self._weighted(outputs, part.rolled(self.n_batch_streams))
        return torch.lerp(others, losses, mix[0])

    def _mix(self, like):
        """Return what ``TabularNet.mixed`` takes, for each network; None where rows stay apart."""
        if self.config.mixup:
            return (mixup_shares(self.config.mixup, like, self.noise),)
        return None if self.n_channels is None else self._draw_mix(like, self.n_channels)

    def _draw_mix(self, like, n_channels):
        """Return the share of the channels that each row keeps, (M, B), and which it keeps.

        The latter is 1 or 0, (M, B, channels). The share has the distribution Beta(1/2, 1/2), that
        of sin² of a uniform angle.
        """
        shares = []
        kept = []
        for generator in self.noise:
            options = {"generator": generator, "dtype": like.dtype, "device": self.device}
            angle = torch.rand(like.shape[1], 1, **options)
            number = torch.rand(like.shape[1], n_channels, **options)
            shares.append((angle * (math.pi / 2)).sin().square())
            kept.append((number < shares[-1]).to(like.dtype))
        return torch.stack(shares).squeeze(-1), torch.stack(kept)

    def _weighted(self, outputs, batch):
        """Return the weighted losses, (M, B), of outputs (M, B, K, C)."""
        losses = self.loss(outputs.flatten(0, 1), batch.y.flatten(0, 1))
        losses = losses.unflatten(0, outputs.shape[:2])
        return losses if batch.weight is None else losses * batch.weight


def _n_passes(net):
    """Return how often an epoch goes through the rows."""
    return max(1, *(sum(phase.n_passes for phase in net.phases(epoch)) for epoch in (0, 1)))


def _visited(n_rows, config):
    """Return how many rows an epoch visits."""
    leftover = n_rows % config.batch_size if config.drop_last else 0
    return n_rows if leftover == n_rows else n_rows - leftover


def weighted_mean(losses: Tensor, weight: Tensor | None) -> Tensor:
    """Return the mean of ``losses * weight``; the mean weight is 1 over the table.

    So a batch of light rows moves the network less, and no batch divides by zero.
    """
    return losses.mean() if weight is None else (losses * weight).mean()


def clip_gradients(parameters: Sequence[Tensor], max_norm: float, n_members: int) -> None:
    """Shorten the gradient of each network to ``max_norm`` where it is longer.

    Nothing waits for the device.

    Parameters
    ----------
    parameters : list of Tensor
        With several networks, (M, ...). One that no output depends on has no gradient.
    max_norm : float
    n_members : int
        M.
    """
    if n_members == 1:
        torch.nn.utils.clip_grad_norm_(parameters, max_norm)
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    squares = [gradient.flatten(1).square().sum(1) for gradient in gradients]
    norms = sum(squares, start=torch.zeros_like(squares[0])).sqrt()
    scale = (max_norm / (norms + 1e-6)).clamp(max=1)
    for gradient in gradients:
        gradient.mul_(scale.view(-1, *[1] * (gradient.ndim - 1)))


def _other_seed(seed: int) -> int:
    """Return a seed that no other run has, but by a rare chance."""
    return (seed * 0x9E3779B97F4A7C15 + 0xBF58476D1CE4E5B9) % 2**63
