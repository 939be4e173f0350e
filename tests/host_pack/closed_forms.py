"""A test node that replaces a network by a known function."""

from typing import Any

from comfy_api.latest import io

from .latents import folder
from .node import node

_SIGMA_DATA = 0.5


@node(
    io.Model.Output(),
    inputs=(
        io.Model.Input("model"),
        io.Combo.Input("kind", options=["consistency", "score", "gaussian score"]),
        io.String.Input("pictures", default=""),
    ),
)
def closed_form(model: Any, kind: str, pictures: str) -> io.NodeOutput:
    """The MODEL with the exact network for a finite set of pictures, or for Gaussian data.

    ``pictures`` is the name of an array (N, C, H, W) in -1..1. The Gaussian has a mean of 0.3 and a
    standard deviation of 0.1, in 0..1.
    """
    import numpy as np
    import torch
    from comfy.patcher_extension import WrappersMP

    known = torch.from_numpy(np.load(folder() / f"{pictures}.npy")) if pictures else None

    def answer(_: Any, x: Any, timesteps: Any, *more: Any, **named: Any) -> Any:
        times = timesteps.double()[:, None, None, None]
        match kind:
            case "consistency":
                return _consistency(x.double(), (times / 250).exp(), known).to(x.dtype)
            case "score":
                data = (known + 1) / 2
                return ((_mean(x.double(), times, data) - x) / times**2).to(x.dtype)
            case _:
                return ((0.3 - x) / (0.1**2 + times**2)).to(x.dtype)

    wrapped = model.clone()
    wrapped.add_wrapper(WrappersMP.DIFFUSION_MODEL, answer)
    return io.NodeOutput(wrapped)


def _mean(x: Any, sigma: Any, pictures: Any) -> Any:
    """The mean of the pictures, given one of them with noise of a level: the exact denoiser."""
    distances = (x[:, None] - pictures.to(x)[None]).square().flatten(2).sum(2)
    weights = (-distances / (2 * sigma.flatten()[:, None] ** 2)).softmax(1)
    return (weights @ pictures.to(x).flatten(1)).view_as(x)


def _consistency(x_in: Any, sigma: Any, pictures: Any) -> Any:
    """The network's output at the end of the probability flow through x (Heun's method)."""
    x = x_in * (sigma**2 + _SIGMA_DATA**2).sqrt()
    end, steps, rho = 0.002, 60, 7
    start, level = x, sigma.clamp(min=end)
    for k in range(1, steps + 1):
        high, low = sigma.clamp(min=end) ** (1 / rho), end ** (1 / rho)
        following = (high + k / steps * (low - high)) ** rho
        slope = (x - _mean(x, level, pictures)) / level
        moved = x + (following - level) * slope
        again = (moved - _mean(moved, following, pictures)) / following
        x, level = x + (following - level) * (slope + again) / 2, following
    c_skip = _SIGMA_DATA**2 / ((sigma - end) ** 2 + _SIGMA_DATA**2)
    c_out = (sigma - end) * _SIGMA_DATA / (sigma**2 + _SIGMA_DATA**2).sqrt()
    return (x - c_skip * start) / c_out.clamp(min=1e-12)
