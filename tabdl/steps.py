"""One epoch's steps: gather a batch of each member, forward, backward, optimizer; all without a word to the host."""

import contextlib
import math

import torch
from torch import Tensor

from tabdl.feeding import make_feeder
from tabdl.graphs import Replayed
from tabdl.members import Members
from tabdl.memory import HeapPin
from tabdl.optimizers import Optimizer, WeightAverage
from tabdl.schedules import SCHEDULES, DropoutSchedule, learning_rate_factor


class Steps:
    """The steps of all members' networks together; open it as a context.

    Parameters
    ----------
    members : list of Member
    loss : callable
        ``(outputs (B, K, C), y) -> (B,)``.
    settings : Settings

    Attributes
    ----------
    lr : float
        The learning rate of the latest step.
    """

    def __init__(self, members, loss, settings):
        self.loss, self.settings, self.lr = loss, settings, settings.lr
        self.device = next(members[0].net.parameters()).device
        self.n_orders = members[0].net.n_orders
        self.n_batch = settings.batch_size * self.n_orders
        self.feeder = make_feeder([member.rows for member in members], self.device, self.n_batch)
        self.n_visited = _visited(settings.epoch_rows or min(member.n_rows for member in members), settings)
        self.n_done, self.n_steps_epoch = 0, math.ceil(self.n_visited / settings.batch_size)
        self.indices = [None if member.index is None else member.index.to(self.device) for member in members]
        self.sizes = [member.n_rows for member in members]
        self.orders = [torch.Generator(self.device).manual_seed(member.seed) for member in members]
        # Dropout has generators of its own: a recorded graph draws from them, and nothing else may.
        self.noise = [torch.Generator(self.device).manual_seed(_other_seed(member.seed)) for member in members]
        self.networks = Members([member.net for member in members], self.noise, settings.is_compiled)
        self.n_channels = members[0].net.embedding.n_channels if settings.hidden_mix else None
        self.step_rows = members[0].net.cpu_step_rows if self.device.type == "cpu" else None

    def __enter__(self):
        self.networks.__enter__()
        self.optimizer = Optimizer(self.networks, self.settings, self.device)
        parameters = list(self.networks.parameters.values())
        self.average = None if self.settings.ema_decay is None else WeightAverage(parameters, self.settings.ema_decay)
        is_scheduled = self.settings.dropout_schedule != "constant"
        self.dropout = DropoutSchedule(self.networks.dropouts, self.device) if is_scheduled else None
        wide = torch.float32 if self.device.type == "mps" else torch.float64
        self.total = torch.zeros(len(self.networks), dtype=wide, device=self.device)
        self.step, self.heap_pin = Replayed(self._step, self.device, self.noise), HeapPin(self.device)
        return self

    def __exit__(self, *exception):
        self.heap_pin.release()
        if self.dropout is not None:
            self.dropout.release()
        if self.average is not None:
            self.average.leave()
        self.networks.__exit__(*exception)
        self.step = None  # it refers to this object: a recorded step's memory would wait for the garbage collector

    def kept_weights(self):
        """Return a context in which the networks have the weights that are evaluated and kept: the averages, if wanted."""
        return contextlib.nullcontext() if self.average is None else self.average.in_place()

    def run_epoch(self):
        """Take one step for each batch of a new random order, and return the mean losses, (M,), on the device."""
        self.networks.train()
        self.total.zero_()
        orders = [self._order(*member)[: self.n_visited] for member in zip(self.sizes, self.indices, self.orders, strict=True)]
        with self.settings.precision.matmuls(self.device):
            for index in self.feeder.batches(torch.stack(orders).flatten(1), self.n_batch):
                self._schedule()
                self.step(index)
                self.n_done += 1
        return self.total / (self.n_visited * self.n_orders)

    def _schedule(self):
        """Set the next step's learning rate, weight decay and dropout."""
        settings, n_steps = self.settings, self.settings.max_epochs * self.n_steps_epoch
        n_warmup = settings.warmup_epochs * self.n_steps_epoch
        factor = learning_rate_factor(settings.lr_schedule, self.n_done, n_steps, n_warmup)
        self.lr = settings.lr * factor
        self.optimizer.set(factor, SCHEDULES[settings.weight_decay_schedule](self.n_done / n_steps))
        if self.dropout is not None:
            self.dropout.set(SCHEDULES[settings.dropout_schedule](self.n_done / n_steps))

    def _order(self, n_rows, index, generator):
        """Return random orders of a member's rows side by side, (N, n_orders)."""
        orders = [torch.randperm(n_rows, generator=generator, device=self.device) for _ in range(self.n_orders)]
        return torch.stack(orders if index is None else [index[order] for order in orders], 1)

    def _step(self, index):
        batch = self.feeder.gather(index)
        self.optimizer.zero_grad()
        n_rows = index.shape[1]
        # On a CPU a step in parts, whose activations stay in its caches, is faster; the gradients add up to the batch's.
        for start in range(0, n_rows, self.step_rows or n_rows):
            losses = self._losses(batch.columns(slice(start, start + (self.step_rows or n_rows))))
            losses.sum().div(n_rows).backward()
            self.total += losses.detach().sum(1)
        if self.settings.clip_norm is not None:
            clip_gradients(list(self.networks.parameters.values()), self.settings.clip_norm, len(self.networks))
        self.optimizer.step()
        if self.average is not None:
            self.average.update()

    def _losses(self, part):
        """Return the losses, (M, B), of a part of a batch, and leave the graph of their gradients."""
        mix = None if self.n_channels is None else self._draw_mix(part.x_num)
        with self.settings.precision.autocast(self.device):
            outputs = self.networks(part.x_num, part.x_cat, mix)
        self.heap_pin.set()
        outputs = outputs.to(part.x_num.dtype)
        losses = self._weighted(outputs, part)
        if mix is None:
            return losses
        others = self._weighted(outputs, part.rolled(self.n_orders))
        return torch.lerp(others, losses, mix[0])

    def _draw_mix(self, like):
        """Return the share of its channels that each row keeps, (M, B), and which ones, (M, B, channels), 1 or 0.

        The share has the distribution Beta(1/2, 1/2), that of sin² of a uniform angle.
        """
        shares, kept = [], []
        for generator in self.noise:
            angle, number = (
                torch.rand(like.shape[1], n, generator=generator, dtype=like.dtype, device=self.device)
                for n in (1, self.n_channels)
            )
            shares.append((angle * (math.pi / 2)).sin().square())
            kept.append((number < shares[-1]).to(like.dtype))
        return torch.stack(shares).squeeze(-1), torch.stack(kept)

    def _weighted(self, outputs, batch):
        """Return the weighted losses, (M, B), of outputs (M, B, K, C)."""
        losses = self.loss(outputs.flatten(0, 1), batch.y.flatten(0, 1)).unflatten(0, outputs.shape[:2])
        return losses if batch.weight is None else losses * batch.weight


def _visited(n_rows, settings):
    """Return how many rows an epoch visits."""
    leftover = n_rows % settings.batch_size if settings.drop_last else 0
    return n_rows if leftover == n_rows else n_rows - leftover


def weighted_mean(losses: Tensor, weight: Tensor | None):
    """Return the mean of ``losses * weight``; the weights' mean is 1 over the table, not over the batch.

    So a batch of light rows moves the network less, and no batch divides by zero.
    """
    return losses.mean() if weight is None else (losses * weight).mean()


def clip_gradients(parameters, max_norm, n_members):
    """Shorten each member's gradient to ``max_norm`` where it is longer; nothing waits for the device.

    Parameters
    ----------
    parameters : list of Tensor
        With several members, (M, ...).
    max_norm : float
    n_members : int
        M.
    """
    if n_members == 1:
        torch.nn.utils.clip_grad_norm_(parameters, max_norm)
        return
    gradients = [parameter.grad for parameter in parameters]
    norms = sum(gradient.flatten(1).square().sum(1) for gradient in gradients).sqrt()
    scale = (max_norm / (norms + 1e-6)).clamp(max=1)
    for gradient in gradients:
        gradient.mul_(scale.view(-1, *[1] * (gradient.ndim - 1)))


def _other_seed(seed):
    """Return a seed that no member has beside ``seed``, but by a rare chance."""
    return (seed * 0x9E3779B97F4A7C15 + 0xBF58476D1CE4E5B9) % 2**63
