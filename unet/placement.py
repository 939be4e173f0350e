"""Where a network's weights are in memory, and in which order."""

from itertools import chain
from typing import TypeVar

import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)


def place_weights(network: Network, device: torch.device) -> Network:
    """Copy mapped weights into memory, in the fastest order for ``device``; return ``network``.

    Weights that are mapped to a file are copied into memory of their own. Otherwise overwriting
    the file would change the weights of a loaded model, and truncating it would kill the process.

    In float32 on a CPU, convolution filters are stored channels-last. The outputs of convolutions
    are then channels-last too, and neither they nor the next layer's input need reordering, which
    makes a run about a tenth faster. In half precision the group norm of small images loses more
    than the convolutions gain, so there, and on GPUs, the order does not change.
    """
    dtype = next(network.parameters()).dtype
    channels_last = device.type == "cpu" and dtype == torch.float32
    for tensor in chain(network.parameters(), network.buffers()):
        data = tensor.data
        if channels_last and data.ndim == 4:
            data = data.contiguous(memory_format=torch.channels_last)
        tensor.data = data.clone() if _is_foreign(data) else data
    return network


def _is_foreign(tensor: Tensor) -> bool:
    """Whether the memory is not from torch's own allocator, for example a mapped file."""
    return tensor.device.type == "cpu" and not tensor.untyped_storage().resizable()
