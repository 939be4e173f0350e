"""Run ComfyUI's own samplers with our MODEL in this process."""

import sys
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from devtools.host import comfyui_path
from devtools.torchvision_on_cpu import declare_missing_operators

from .network import FOLDERS, Network


def draw(name: str, network: Network, steps: int, noise: Tensor) -> Tensor:
    """Return the images of one of the host's samplers, on the timesteps of our own samplers.

    Args:
        name: the sampler's, as in KSampler.
        network: counts the calls; its weights are loaded a second time, as the host's MODEL.
        steps: N of the leading list, whose noise levels the sampler receives, followed by 0.
        noise: shape (B, C, H, W), of the images.
    """
    _import_host()
    import comfy.samplers
    from comfyui_unconditional.host.model_sampling import sigmas_of
    from comfyui_unconditional.schedulers.span import Span
    from comfyui_unconditional.schedulers.timesteps import make_timesteps

    patcher = _patcher(network.name)
    span = Span(tuple(make_timesteps(network.config, steps)))
    sigmas = sigmas_of(patcher.get_model_object("model_sampling"), span)
    guider = comfy.samplers.CFGGuider(patcher)
    guider.set_conds([[None, {}]], [[None, {}]])
    counter = patcher.model.diffusion_model.register_forward_pre_hook(
        lambda _, arguments: network.count(len(arguments[0]))
    )
    try:
        return guider.sample(
            noise,
            torch.zeros_like(noise),
            comfy.samplers.sampler_object(name),
            sigmas,
            disable_pbar=True,
            seed=0,
        )
    finally:
        counter.remove()


@lru_cache
def _import_host() -> None:
    """Make ComfyUI importable, on the CPU."""
    declare_missing_operators()
    sys.path.insert(0, str(comfyui_path()))
    arguments, sys.argv = sys.argv, [sys.argv[0], "--cpu", "--disable-api-nodes"]
    try:
        import comfy.options

        comfy.options.enable_args_parsing()
        import comfy.cli_args  # parses the arguments on import
    finally:
        sys.argv = arguments


@lru_cache
def _patcher(name: str) -> Any:
    """Return a model of this pack as a MODEL."""
    from comfyui_unconditional.checkpoints.files import find_files
    from comfyui_unconditional.nodes.load import load_model

    return load_model(name, find_files(FOLDERS[name]), torch.float32)
