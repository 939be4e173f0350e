"""Training with several processes, as ``torchrun`` starts them: one for each device."""

import os
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous


@dataclass(frozen=True)
class Processes:
    """The processes of a run; a single one without ``torchrun``."""

    device: torch.device
    rank: int = 0
    count: int = 1

    @classmethod
    def join(cls, device: torch.device | None = None) -> "Processes":
        """Join the processes that ``torchrun`` started; without it, return a single one.

        Args:
            device: of a single process, or the kind of device; None: the fastest available.
        """
        kind = (device or default_device()).type
        if "LOCAL_RANK" not in os.environ:
            return cls(device or default_device())
        own = torch.device(kind)
        if kind != "cpu":
            own = torch.device(kind, int(os.environ["LOCAL_RANK"]))
            torch.get_device_module(kind).set_device(own)
        if not dist.is_initialized():
            store, rank, count = next(rendezvous("env://"))
            own_names = dist.PrefixStore(_group_name(), store)  # pyright: ignore
            backend = {"cuda": "nccl", "xpu": "xccl"}.get(kind, "gloo")
            dist.init_process_group(backend, store=own_names, rank=rank, world_size=count)
        return cls(own, dist.get_rank(), dist.get_world_size())

    @property
    def is_first(self) -> bool:
        """Whether this process writes the files and messages."""
        return self.rank == 0

    def spread(self, network: nn.Module) -> nn.Module:
        """Return the network with its gradients averaged over the processes."""
        if self.count == 1:
            return network
        ids = None if self.device.type == "cpu" else [self.device]
        return nn.parallel.DistributedDataParallel(network, device_ids=ids)

    def mean(self, value: Tensor) -> Tensor:
        """Return the mean of a tensor over the processes."""
        if self.count > 1:
            dist.all_reduce(value)
            value /= self.count
        return value

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.count > 1:
            dist.barrier()

    def leave(self) -> None:
        """End the group."""
        if self.count > 1:
            dist.destroy_process_group()


def _group_name() -> str:
    """Return a name that is new after a restart.

    torchrun keeps its store, where processes would find the addresses of dead ones. The number of
    restarts may differ between machines.
    """
    if os.environ.get("LOCAL_WORLD_SIZE") != os.environ["WORLD_SIZE"]:
        return "0"
    return os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")


def default_device() -> torch.device:
    """Return the accelerator, or the CPU."""
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return found or torch.device("cpu")
