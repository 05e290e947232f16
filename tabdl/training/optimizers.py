"""Optimizers of the weights of all networks: Adam, AdamW and Muon; running averages of weights."""

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from tabdl.network.contract import parameter_groups
from tabdl.training.devices import multiplies_bfloat16
from tabdl.training.run import TrainingConfig
from tabdl.training.stacking import StackedNetworks

_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


class Optimizer:
    """Adam or AdamW in one kernel, or Muon for hidden matrices and AdamW for the rest.

    On CUDA a step can be recorded. A recorded step reads numbers from where they were, so the
    learning rate, and a weight decay that changes, are tensors there that :meth:`set` writes into.

    Parameters
    ----------
    networks : StackedNetworks
        Open; ``decayed`` and ``lr_factors`` of the modules say how parameters are treated. A factor
        multiplies the learning rate and, beside it, the weight decay.
    config : TrainingConfig
    device : torch.device
    """

    def __init__(
        self, networks: StackedNetworks, config: TrainingConfig, device: torch.device
    ) -> None:
        self.config = config
        self.has_own_decay = config.weight_decay_schedule != "constant"
        self.is_cuda = device.type == "cuda"
        self.factors: tuple[Sequence[float], float] | None = None
        self.shares = self._shares(networks, config, device)
        adamw, muon = self._groups(networks)
        weight_decay = {"weight_decay": 0.0} if self.has_own_decay else {}
        options = {"betas": (0.9, config.beta2), "fused": True, "capturable": self.is_cuda}
        self.optimizers: list[torch.optim.Optimizer] = []
        if adamw:
            adam = torch.optim.Adam if config.optimizer == "adam" else torch.optim.AdamW
            self.optimizers.append(adam([g | weight_decay for g in adamw], **options))
        if muon:
            self.optimizers.append(Muon([g | weight_decay for g in muon]))
        self.groups = self._all_groups()
        if self.has_own_decay:
            for group, given in zip(self.groups, adamw + muon, strict=True):
                group["own_decay"] = given["weight_decay"]
                group["kept"] = self._number(1.0, device)

    def _all_groups(self):
        return [group for optimizer in self.optimizers for group in optimizer.param_groups]

    def state(self) -> list[dict[int, Any]]:
        """Return the state of each optimizer, by the number of the weight."""
        return [optimizer.state_dict()["state"] for optimizer in self.optimizers]

    def load_state(self, states: list[dict[int, Any]]) -> None:
        """Go on from a :meth:`state`."""
        for optimizer, state in zip(self.optimizers, states, strict=True):
            groups = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({"state": state, "param_groups": groups})
        # Torch has made new ones.
        self.groups = self._all_groups()

    def _groups(self, networks):
        """Return the parameter groups of AdamW and of Muon."""
        config = self.config
        adamw = []
        muon = []
        for group in parameter_groups(networks.nets[0], config.optimizer == "muon"):
            tensors = [networks.parameters[name] for name in group.names]
            lr = config.lr * group.lr_factor
            # The 0.02 of RealMLP was tuned with code that decays a weight by the factor squared.
            decay = config.weight_decay * group.has_weight_decay * group.lr_factor
            (muon if group.is_hidden_matrix else adamw).append(
                {
                    "params": tensors,
                    "lr": self._number(lr, tensors[0].device),
                    "base_lr": lr,
                    "weight_decay": decay,
                }
            )
        return adamw, muon

    def _number(self, value, device):
        return torch.tensor(value, device=device) if self.is_cuda else value

    def _shares(self, networks, config, device):
        """Return the share of a step that each of several networks takes, (M,), or None.

        An update, with its decay, is linear in the learning rate. So a network whose learning rate
        is smaller than the others' takes a share of the same step.
        """
        if not config.has_cooldown or len(networks) == 1:
            return None
        self.weights = list(networks.parameters.values())
        return torch.ones(len(networks), device=device, dtype=self.weights[0].dtype)

    def set(self, lr_factors: Sequence[float], decay_factor: float) -> None:
        """Multiply the learning rates and the weight decay of the next step.

        Parameters
        ----------
        lr_factors : list of float
            One for each network. They differ only in a training with cooldowns.
        decay_factor : float
        """
        if (lr_factors, decay_factor) == self.factors:
            return
        self.factors = lr_factors, decay_factor
        lr_factor = max(lr_factors)
        if self.shares is not None and lr_factor > 0:
            shares = torch.tensor(lr_factors, dtype=self.shares.dtype) / lr_factor
            self.shares.copy_(shares, non_blocking=True)
        for group in self.groups:
            _write(group, "lr", group["base_lr"] * lr_factor)
            if self.has_own_decay:
                lost = group["base_lr"] * lr_factor * group["own_decay"] * decay_factor
                _write(group, "kept", 1 - lost)

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)

    @torch.no_grad()
    def step(self) -> None:
        """Decay, then move, each weight."""
        if self.shares is None:
            self._step()
            return
        before = [weight.clone() for weight in self.weights]
        self._step()
        for weight, old in zip(self.weights, before, strict=True):
            share = self.shares.view(-1, *[1] * (weight.ndim - 1))
            weight.copy_(torch.lerp(old, weight, share))

    def _step(self):
        if self.has_own_decay:
            for group in self.groups:
                if group["own_decay"]:
                    for parameter in group["params"]:
                        parameter.mul_(group["kept"])
        for optimizer in self.optimizers:
            optimizer.step()


def _write(group, name, value):
    if isinstance(group[name], Tensor):
        group[name].fill_(value)
    else:
        group[name] = value


class Muon(torch.optim.Optimizer):
    """Muon: steps along the orthogonal matrix next to the momentum of the gradient.

    Each matrix of a stack, of several networks or of separate layers, is moved on its own. The root
    mean square of an update is about 0.2 of the learning rate, as that of AdamW is, so that the
    learning rate and weight decay of AdamW serve. ``torch.optim.Muon`` with
    ``adjust_lr_fn="match_rms_adamw"`` is the same for one matrix; it takes no stacks, and its
    learning rate becomes a constant of a recorded step.

    Parameters
    ----------
    groups : list of dict
        ``params`` of (..., A, B), ``lr`` and ``weight_decay``.
    momentum : float

    References
    ----------
    Jordan et al.: "Muon: An optimizer for hidden layers in neural networks", 2024,
    https://kellerjordan.github.io/posts/muon/. Liu et al.: "Muon is Scalable for LLM Training",
    2025, 2502.16982, section 2.2.
    """

    def __init__(self, groups: list[dict[str, Any]], momentum: float = 0.95) -> None:
        super().__init__(groups, {"momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Move each matrix; ``closure`` is that of torch's optimizers, and unused."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                momentum = group["momentum"]
                if not state:
                    state["momentum"] = torch.zeros_like(parameter)
                state["momentum"].lerp_(parameter.grad, 1 - momentum)
                update = orthogonalized(parameter.grad.lerp(state["momentum"], momentum))
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                scale = 0.2 * math.sqrt(max(parameter.shape[-2:]))
                parameter.sub_(update.to(parameter.dtype) * (group["lr"] * scale))


def orthogonalized(matrices: Tensor, n_steps: int = 5) -> Tensor:
    """Return nearly orthogonal matrices with the same singular vectors.

    The iteration of Newton and Schulz makes the singular values 0.7 to 1.2. Products of float32
    matrices are of bfloat16 numbers where the device has instructions for them.

    Parameters
    ----------
    matrices : Tensor of shape (..., A, B)
    n_steps : int
    """
    a, b, c = _NEWTON_SCHULZ
    # Emulated products take 35 times as long as float32's on a CPU.
    is_bfloat16 = matrices.dtype == torch.float32 and multiplies_bfloat16(matrices.device)
    x = matrices.bfloat16() if is_bfloat16 else matrices
    x = x.reshape(-1, *matrices.shape[-2:])
    is_tall = x.shape[1] > x.shape[2]
    x = x.mT if is_tall else x
    x = x / torch.linalg.matrix_norm(x, keepdim=True).clamp(min=1e-7)
    for _ in range(n_steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if is_tall else x).reshape(matrices.shape)


class WeightAverage:
    """The exponential moving average of the weights, which begins with the initial weights.

    Polyak, Juditsky: "Acceleration of Stochastic Approximation by Averaging" (1992); for tables:
    2604.15297. Buffers, such as batch normalisation's running statistics, are those of the moment.

    Parameters
    ----------
    parameters : list of Tensor
    decay : float in (0, 1)
    """

    def __init__(self, parameters: Sequence[Tensor], decay: float) -> None:
        self.parameters = [parameter.detach() for parameter in parameters]
        self.averages = [parameter.clone() for parameter in self.parameters]
        self._update = get_ema_multi_avg_fn(decay)

    def update(self) -> None:
        """Take in the weights of the moment, once a step."""
        self._update(self.averages, self.parameters, None)

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the networks have the averages while the context is open."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self):
        for parameter, average in zip(self.parameters, self.averages, strict=True):
            current = parameter.clone()
            parameter.copy_(average)
            average.copy_(current)

    @torch.no_grad()
    def leave(self) -> None:
        """Give the networks the averages for good."""
        for parameter, average in zip(self.parameters, self.averages, strict=True):
            parameter.copy_(average)
