"""A network with the parts that it has only during training."""

import functools
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..networks.enlarging import EnlargingConvolution, take_over
from ..unet.attention import Attention
from ..unet.config import UNetConfig
from ..unet.resnet import ResnetBlock
from ..unet.unet2d import UNet2D
from .augmentation import LABELS
from .options import TrainingOptions


class NetworkInTraining(nn.Module):
    """A UNet2D with dropout, and with an embedding of how its pictures were augmented.

    The embedding starts at 0 and is added to that of the timestep. Without its labels, the network
    is the same as the saved one.
    """

    def __init__(self, unet: UNet2D, options: TrainingOptions, device: torch.device):
        super().__init__()
        self.unet = unet
        self.labels: nn.Linear | None = None
        if options.augment:
            self.labels = nn.Linear(LABELS, unet.config.time_input_channels, bias=False)
            nn.init.zeros_(self.labels.weight)
        # By measurement on a CPU: half to two thirds of the time, with the gradients.
        for layer in take_over(unet) if device.type == "cpu" else ():
            layer.__dict__["_conv_forward"] = EnlargingConvolution(layer, unet.edges)
        for module in unet.modules():
            if isinstance(module, nn.Dropout):
                module.p = options.dropout
            if isinstance(module, Attention) and device.type == "cpu":
                _in_float32(module)
            if isinstance(module, (ResnetBlock, Attention)) and options.checkpointing:
                _compute_again(module)

    def forward(self, x: Tensor, timesteps: Tensor, labels: Tensor | None = None) -> Tensor:
        """Predict like the network, for pictures augmented as in ``labels``, shape (B, 9)."""
        if self.labels is None or labels is None:
            return self.unet(x, timesteps)
        embedded = self.labels(labels)

        def add(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Tensor]:
            return (inputs[0] + embedded,)

        with self.unet.time_embedding.register_forward_pre_hook(add):
            return self.unet(x, timesteps)


def _in_float32(module: nn.Module) -> None:
    """Compute in float32 even under autocast.

    On a CPU, attention's backward pass in bfloat16 takes five times as long.
    """
    forward: Any = module.forward

    def exact(x: Tensor) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            return forward(x.float())

    module.forward = exact


def _compute_again(module: nn.Module) -> None:
    """Keep only the module's input for the gradients, and compute the rest a second time."""
    forward: Any = module.forward

    def kept(*inputs: Tensor, **options: bool) -> Any:
        return checkpoint(functools.partial(forward, **options), *inputs, use_reentrant=False)

    module.forward = kept


def training_size(
    unet: UNetConfig, shape: tuple[int, int, int, int], options: TrainingOptions
) -> tuple[int, int]:
    """Return a network's number of parameters, and the bytes needed to train it.

    Args:
        unet: the network.
        shape: of the pictures that are computed at once, (B, C, H, W).
        options: how to train.
    """
    counted: dict[Any, int] = {}

    def count(tensor: Tensor) -> Tensor:
        counted[tensor.untyped_storage()._cdata] = tensor.untyped_storage().nbytes()
        alive.append(tensor)
        return tensor

    alive: list[Tensor] = []
    network = UNet2D(unet, device="meta")
    weights = sum(tensor.numel() for tensor in network.parameters())
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(count, lambda kept: kept):
        network(torch.empty(1, *shape[1:], device="meta"), torch.zeros(1, device="meta"))
    own = {tensor.untyped_storage()._cdata for tensor in network.parameters()}
    layers = sum(size for key, size in counted.items() if key not in own)
    if options.precision == "bfloat16":
        layers /= 2
    if options.checkpointing:
        layers /= 4
    # Weights, averages, gradients, and AdamW's two moments; in float32.
    return weights, int(1.2 * layers * shape[0]) + 5 * 4 * weights
