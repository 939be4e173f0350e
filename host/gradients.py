"""Gradients in a host that computes in inference mode."""

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn


@contextlib.contextmanager
def with_gradients() -> Iterator[None]:
    """Record operations for gradients within the context; compute the gradients in it too.

    Clone tensors from outside the context first, because the host's networks add in place.
    """
    recording = torch.autograd.graph.allow_mutation_on_saved_tensors
    with torch.inference_mode(False), torch.enable_grad(), recording():
        yield


def through(module: nn.Module, call: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """Return ``call(*inputs)``, which may call ``module``, with gradients by the inputs.

    Autograd rejects weights that were loaded in inference mode. During the call, tensors that share
    their memory take their place.
    """
    named = (*module.named_parameters(), *module.named_buffers())
    shared = {f"module.{name}": _shared(tensor) for name, tensor in named}
    return torch.func.functional_call(_Call(module, call), shared, inputs)


class _Call(nn.Module):
    """A function of tensors as the forward pass of a module that contains another one."""

    def __init__(self, module: nn.Module, call: Callable[..., Tensor]):
        super().__init__()
        self.module, self._call = module, call

    def forward(self, *inputs: Tensor) -> Tensor:
        return self._call(*inputs)


def _shared(tensor: Tensor) -> Tensor:
    """Return a tensor with the same memory that autograd accepts."""
    if not tensor.is_inference():
        return tensor.detach()
    own = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
    return own.set_(
        tensor.untyped_storage(), tensor.storage_offset(), tensor.shape, tensor.stride()
    )
