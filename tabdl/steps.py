"""One epoch's steps: gather a batch of each member, forward, backward, AdamW; all without a word to the host."""

import torch
from torch import Tensor

from tabdl.feeding import make_feeder
from tabdl.graphs import Replayed
from tabdl.members import Members
from tabdl.memory import HeapPin
from tabdl.nn import decayed_names


class Steps:
    """The steps of all members' networks together; open it as a context.

    Parameters
    ----------
    members : list of Member
    loss : callable
        ``(outputs (B, K, C), y) -> (B,)``.
    settings : Settings
    """

    def __init__(self, members, loss, settings):
        self.loss, self.settings = loss, settings
        self.device = next(members[0].net.parameters()).device
        self.n_orders = members[0].net.n_orders
        self.n_batch = settings.batch_size * self.n_orders
        self.feeder = make_feeder([member.rows for member in members], self.device, self.n_batch)
        self.n_rows = [len(member.rows) for member in members]
        self.orders = [torch.Generator(self.device).manual_seed(member.seed) for member in members]
        # Dropout has generators of its own: a recorded graph draws from them, and nothing else may.
        self.noise = [torch.Generator(self.device).manual_seed(_other_seed(member.seed)) for member in members]
        self.networks = Members([member.net for member in members], self.noise, settings.is_compiled)
        self.step_rows = members[0].net.cpu_step_rows if self.device.type == "cpu" else None

    def __enter__(self):
        self.networks.__enter__()
        self.optimizer = make_adamw(self.networks, self.settings.lr, self.settings.weight_decay, self.device)
        wide = torch.float32 if self.device.type == "mps" else torch.float64
        self.total = torch.zeros(len(self.networks), dtype=wide, device=self.device)
        self.step, self.heap_pin = Replayed(self._step, self.device, self.noise), HeapPin(self.device)
        return self

    def __exit__(self, *exception):
        self.heap_pin.release()
        self.networks.__exit__(*exception)

    @property
    def lr(self):
        """The learning rate of the next step."""
        return self.settings.lr

    def run_epoch(self):
        """Take one step for each batch of a new random order, and return the mean losses, (M,), on the device."""
        self.networks.train()
        self.total.zero_()
        n_rows = min(self.n_rows)
        orders = [self._order(n, generator)[:n_rows] for n, generator in zip(self.n_rows, self.orders, strict=True)]
        with self.settings.precision.matmuls(self.device):
            for index in self.feeder.batches(torch.stack(orders).flatten(1), self.n_batch):
                self.step(index)
        return self.total / (n_rows * self.n_orders)

    def _order(self, n_rows, generator):
        """Return random orders of the rows side by side, (N, n_orders)."""
        return torch.stack([torch.randperm(n_rows, generator=generator, device=self.device) for _ in range(self.n_orders)], 1)

    def _step(self, index):
        batch = self.feeder.gather(index)
        self.optimizer.zero_grad(set_to_none=True)
        n_rows = index.shape[1]
        # On a CPU a step in parts, whose activations stay in its caches, is faster; the gradients add up to the batch's.
        for start in range(0, n_rows, self.step_rows or n_rows):
            part = batch.columns(slice(start, start + (self.step_rows or n_rows)))
            with self.settings.precision.autocast(self.device):
                outputs = self.networks(part.x_num, part.x_cat)
            self.heap_pin.set()
            losses = self._losses(outputs.to(batch.x_num.dtype), part)
            losses.sum().div(n_rows).backward()
            self.total += losses.detach().sum(1)
        if self.settings.clip_norm is not None:
            clip_gradients(list(self.networks.parameters.values()), self.settings.clip_norm, len(self.networks))
        self.optimizer.step()

    def _losses(self, outputs, batch):
        """Return the weighted losses, (M, B), of outputs (M, B, K, C)."""
        losses = self.loss(outputs.flatten(0, 1), batch.y.flatten(0, 1)).unflatten(0, outputs.shape[:2])
        return losses if batch.weight is None else losses * batch.weight


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


def make_adamw(networks, lr, weight_decay, device):
    """Return AdamW in one kernel, with weight decay where :func:`decayed_names` says; on CUDA it can be recorded."""
    decayed, groups = decayed_names(networks.nets[0]), {True: [], False: []}
    for name, tensor in networks.parameters.items():
        groups[name in decayed].append(tensor)
    is_cuda = device.type == "cuda"
    return torch.optim.AdamW(
        [{"params": tensors, "weight_decay": weight_decay * is_decayed} for is_decayed, tensors in groups.items() if tensors],
        # A recorded step reads the learning rate from where it was when it was recorded.
        lr=torch.tensor(lr, device=device) if is_cuda else lr,
        fused=True,
        capturable=is_cuda,
    )


def _other_seed(seed):
    """Return a seed that no member has beside ``seed``, but by a rare chance."""
    return (seed * 0x9E3779B97F4A7C15 + 0xBF58476D1CE4E5B9) % 2**63
