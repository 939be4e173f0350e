"""What makes a loaded network fast: the order of its weights in memory, and its filters."""

from typing import TypeVar

import torch
from torch import nn

from .convolution import Filters, accelerate

Network = TypeVar("Network", bound=nn.Module)


def place_weights(
    network: Network, device: torch.device, filters: Filters | None = None
) -> Network:
    """Put the weights, which stay as they are, into the fastest order; return ``network``.

    In float32 on a CPU, convolution filters are stored channels-last. The outputs of convolutions
    are then channels-last too, and neither they nor the next layer's input need reordering, which
    makes a run about a tenth faster. In half precision the group norm of small images loses more
    than the convolutions gain, so there, and on GPUs, the order does not change.

    Also there, layers with many channels use fast filters; see ``convolution``.

    Args:
        network: with weights that nobody writes into any more, unless ``filters`` says so.
        device: where it will run.
        filters: for fast filters; None: the defaults.
    """
    dtype = next(network.parameters()).dtype
    if device.type == "cpu" and dtype == torch.float32:
        for tensor in network.parameters():
            if tensor.ndim == 4:
                tensor.data = tensor.data.contiguous(memory_format=torch.channels_last)
        accelerate(network, filters or Filters())
    return network
