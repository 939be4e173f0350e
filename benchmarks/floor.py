"""A lower bound for the time of an evaluation: its convolutions and linear layers alone."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .peers import Peers, matrix_layers
from .timing import take_turns


@dataclass(frozen=True)
class Floor:
    """Seconds of one evaluation and of its matrix layers alone, and the layers' operations."""

    evaluation: float
    layers: float
    operations: float
    best_rate: float
    """Operations per second of the largest convolution, alone."""

    def __str__(self) -> str:
        rate, best = self.operations / self.layers / 1e9, self.best_rate / 1e9
        return (
            f"{self.evaluation * 1e3:.1f} ms per evaluation, of which convolutions and linear "
            f"layers alone {self.layers * 1e3:.1f} ms ({100 * self.layers / self.evaluation:.0f} "
            f"%): {self.operations / 1e9:.1f} GFLOP at {rate:.0f} GFLOP/s; the fastest layer "
            f"reaches {best:.0f} GFLOP/s, at which all would take "
            f"{self.operations / self.best_rate * 1e3:.1f} ms"
        )


def measure_floor(peers: Peers, batch: int, dtype: torch.dtype, seconds: float) -> Floor:
    """Time an evaluation of ours, and its layers one by one with the same inputs."""
    network = peers.ours if dtype == torch.float32 else peers.half
    device = next(network.parameters()).device
    x = torch.randn(batch, *peers.shape, dtype=dtype, device=device)
    with torch.inference_mode():
        layers = matrix_layers(network, lambda: network(x, 500))

        def alone() -> None:
            for layer, given in layers:
                layer(given)

        counts = [_operations(layer, layer(given)) for layer, given in layers]
        largest, given = layers[counts.index(max(counts))]
        times = take_turns(
            {
                "evaluation": lambda: network(x, 500),
                "alone": alone,
                "largest": lambda: largest(given),
            },
            name=f"floor, batch {batch}",
            seconds=seconds,
        )
    return Floor(
        times["evaluation"].median,
        times["alone"].median,
        sum(counts),
        max(counts) / min(times["largest"].seconds),
    )


def _operations(layer: nn.Module, out: Tensor) -> float:
    if isinstance(layer, nn.Conv2d):
        height, width = layer.kernel_size
        return 2.0 * out.numel() * layer.in_channels // layer.groups * height * width
    assert isinstance(layer, nn.Linear)
    return 2.0 * out.numel() * layer.in_features
