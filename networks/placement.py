"""Prepares a loaded network to run: the order of its weights, its filters, norms and edges."""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn

from .base import Network
from .convolution import FastConvolution, accelerate
from .edges import share_edges
from .linear import FastLinear, accelerate_linear
from .normalization import accelerate_norms
from .prepared import PreparedWeights

Placed = TypeVar("Placed", bound=Network)


def place_weights(
    network: Placed,
    device: torch.device,
    prepared: PreparedWeights | None = None,
    is_patched: Callable[[nn.Module], bool] = lambda layer: False,
) -> Placed:
    """Put the weights into the fastest memory order, with the same values; return ``network``.

    On a CPU, convolution filters are stored channels-last. The outputs of convolutions are then
    channels-last too, and neither they nor the next layer's input need reordering. Convolutions use
    fast filters (see ``convolution``), and attention and some group norms other kernels (see
    ``linear`` and ``normalization``).
    A processor that has to emulate bfloat16 keeps the usual order for it.

    On all devices, layers that pad use ``network.edges`` from now on.

    Args:
        network: its weights must not be written to any more, unless ``prepared`` is disabled
            meanwhile.
        device: where it will run.
        prepared: of the whole network; None: the defaults.
        is_patched: whether a host computes a layer in another way than from its weights.
    """
    share_edges(network, network.edges)
    if device.type != "cpu" or not has_fast_kernels(next(network.parameters()).dtype):
        return network
    for tensor in network.parameters():
        if tensor.ndim == 4 and tensor.stride(1) != 1:
            # contiguous() would leave filters of one channel as they are, and a network for
            # grey images would then pass on channels-first ones.
            in_order = torch.empty_like(tensor.data, memory_format=torch.channels_last)
            tensor.data = in_order.copy_(tensor.data)
    prepared = prepared or PreparedWeights()
    accelerate(network, prepared)
    accelerate_linear(network, prepared, is_patched)
    accelerate_norms(network, is_patched)
    return network


def bytes_to_make(network: nn.Module) -> int:
    """Return the maximum memory that weights not yet prepared will take in a network."""
    fast = (
        module.__dict__.get(name)
        for module in network.modules()
        for name in ("_conv_forward", "fast")
    )
    return sum(f.bytes_to_make for f in fast if isinstance(f, (FastConvolution, FastLinear)))


def has_fast_kernels(dtype: torch.dtype) -> bool:
    """Whether torch's CPU kernels compute in this precision and do not emulate it."""
    if dtype == torch.bfloat16:
        # Older versions of torch do not say. The capability is lower where the user limits the
        # instructions.
        supports = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
        return supports() and "AVX512" in torch.backends.cpu.get_cpu_capability()
    return dtype == torch.float32
