"""Where a network's weights lie in memory, and how."""

from itertools import chain
from typing import TypeVar

import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)


def arrange(network: Network, device: torch.device) -> Network:
    """Lay out the weights for computing on ``device``; the numbers stay, and so does the network.

    Weights that are mapped to a file are copied into memory. Otherwise overwriting the file would
    change the weights of a loaded model, and truncating it would kill the process.

    On a CPU in float32 the copies of the filters are channels last. Convolutions
    then give their results channels last too, and need neither reorder them nor what comes next:
    a run takes about a tenth less time. In half precision the group norm of small images loses
    more by it than the convolutions gain, so there, and on GPUs, the filters stay as they are.
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
    """Whether the memory is not from torch's own allocator, but for example a mapped file."""
    return tensor.device.type == "cpu" and not tensor.untyped_storage().resizable()
