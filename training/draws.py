"""The random numbers of a training, from its seed, the step and the part of its batch."""

import random
from contextlib import ExitStack
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor


def generator(key: str, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a generator that is seeded by the text ``key``."""
    return torch.Generator(device).manual_seed(random.Random(key).getrandbits(32))


def seeded_layers(seed: int, step: int, micro: int, device: torch.device) -> Any:
    """Return a context in which dropout is the same for the same step."""
    stack = ExitStack()
    accelerators = [] if device.type == "cpu" else [device]
    stack.enter_context(
        torch.random.fork_rng(accelerators, device_type=device.type)
        if accelerators
        else torch.random.fork_rng([])
    )
    torch.manual_seed(random.Random(f"{seed}/{step}/{micro}/layers").getrandbits(32))
    return stack


@lru_cache(maxsize=2)
def order(seed: int, epoch: int, n: int) -> Tensor:
    """Return in which order an epoch takes ``n`` pictures."""
    return torch.randperm(n, generator=generator(f"{seed}/epoch {epoch}"))
