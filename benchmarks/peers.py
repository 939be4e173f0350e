"""Our network and samplers, and those of diffusers with the same weights and the same noise."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from comfyui_unconditional.networks.batch_parts import fastest_part
from comfyui_unconditional.networks.placement import place_weights
from comfyui_unconditional.schedulers.config import SchedulerConfig
from comfyui_unconditional.schedulers.ddim import DDIM
from comfyui_unconditional.schedulers.ddpm import DDPM
from comfyui_unconditional.schedulers.pndm import PNDM
from comfyui_unconditional.schedulers.randomness import SeededNoise
from comfyui_unconditional.schedulers.sampler import Model, Sampler, drain
from comfyui_unconditional.schedulers.span import Span
from comfyui_unconditional.schedulers.timesteps import END, make_timesteps
from comfyui_unconditional.unet.config import UNetConfig
from comfyui_unconditional.unet.unet2d import UNet2D
from torch import Tensor

from devtools.torchvision_on_cpu import declare_missing_operators

declare_missing_operators()

from diffusers import (  # noqa: E402 -- imports torchvision
    DDIMScheduler,
    DDPMScheduler,
    PNDMScheduler,
    UNet2DModel,
)

CIFAR, TRAINED, DIGITS = "ddpm-cifar10-32", "train_unconditional, 64 px", "digits-16"
CAT, SKY = "ddpm-cat-256", "deep-field, 512 x 256"
_MODELS = Path(__file__).resolve().parent.parent / "models"
DIGITS_FOLDER = _MODELS / DIGITS
STEPS = {"F-PNDM": 50, "DDIM": 50, "DDPM": 100}
"""The samplers that are timed, and with how many steps."""

_GOOGLE = {
    "attention_head_dim": None,
    "downsample_padding": 0,
    "flip_sin_to_cos": False,
    "freq_shift": 1,
    "norm_eps": 1e-6,
}
_SIX_LEVELS = {
    "block_out_channels": [128, 128, 256, 256, 512, 512],
    "down_block_types": [*["DownBlock2D"] * 4, "AttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "AttnUpBlock2D", *["UpBlock2D"] * 4],
}


def _bundled(name: str) -> dict[str, Any]:
    fields = json.loads((_MODELS / name / "unet" / "config.json").read_text())
    return {name: value for name, value in fields.items() if not name.startswith("_")}


SHAPES: dict[str, dict[str, Any]] = {
    CIFAR: {
        "sample_size": 32,
        "block_out_channels": [128, 256, 256, 256],
        "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
        **_GOOGLE,
    },
    TRAINED: {"sample_size": 64, **_SIX_LEVELS},
    DIGITS: _bundled(DIGITS),
    CAT: {"sample_size": 256, **_SIX_LEVELS, **_GOOGLE},
    SKY: {**_bundled("deep-field"), "sample_size": (256, 512)},
}


@dataclass(frozen=True)
class Peers:
    """Both networks; ``ours`` and ``half`` have the weights of ``theirs``."""

    ours: UNet2D
    half: UNet2D
    theirs: Any
    shape: tuple[int, int, int]
    scheduler: SchedulerConfig


@cache
def make_peers(name: str, device: torch.device) -> Peers:
    """Build the networks of a shape: digits-16 with its own weights, others with random ones.

    Random networks are not clipped: they predict images far outside the range, and clipping would
    amplify rounding differences a hundredfold.
    """
    torch.manual_seed(0)
    theirs = UNet2DModel(**SHAPES[name])
    if name == DIGITS:
        theirs = UNet2DModel.from_pretrained(DIGITS_FOLDER / "unet")
    theirs = theirs.to(device).requires_grad_(False).eval()
    config = UNetConfig.from_dict(SHAPES[name])
    networks = []
    for dtype in (torch.float32, torch.bfloat16):
        network = UNet2D(config, dtype=dtype, device=device).requires_grad_(False).eval()
        network.load_state_dict(theirs.state_dict())
        networks.append(place_weights(network, device))
    scheduler = SchedulerConfig(clip_sample=name == DIGITS)
    return Peers(*networks, theirs, (config.in_channels, *config.size), scheduler)


def our_sampler(sampler: str, config: SchedulerConfig, stop: int | None = None) -> Sampler:
    """Return our sampler over its whole list of steps, or over the first ``stop`` of them."""
    timesteps = make_timesteps(config, STEPS[sampler])
    span = Span(tuple(timesteps[:stop]), END if stop is None else timesteps[stop])
    return {"DDIM": DDIM, "DDPM": DDPM, "F-PNDM": PNDM}[sampler](config, span)


def sample_ours(
    network: UNet2D,
    shape: tuple[int, int, int],
    sampler: Sampler,
    seeds: Sequence[int],
    model: Model | None = None,
) -> Tensor:
    """Sample as our nodes do, in the network's precision; the samplers compute in float32."""
    device = next(network.parameters()).device
    noise = SeededNoise(seeds, shape)

    def predict(x: Tensor, t: float) -> Tensor:
        return evaluate_ours(network, x.to(network.dtype), t).to(x.dtype)

    with torch.inference_mode():
        return drain(sampler.sample(model or predict, noise().to(device), noise))


def evaluate_ours(network: UNet2D, x: Tensor, t: float) -> Tensor:
    """Evaluate (B, C, H, W) images in parts, as the pack does in ComfyUI."""
    batch, channels, height, width = x.shape
    for_one = network.activation_bytes((1, channels, height, width), x.dtype)
    part = fastest_part(batch, for_one, x.device)
    return torch.cat([network(images, t) for images in x.split(part)])


def their_scheduler(sampler: str, config: SchedulerConfig) -> Any:
    """Return diffusers' scheduler with its timesteps set."""
    if sampler == "F-PNDM":  # never clips
        scheduler = PNDMScheduler()
    else:
        kind = DDIMScheduler if sampler == "DDIM" else DDPMScheduler
        scheduler = kind(clip_sample=config.clip_sample)
    scheduler.set_timesteps(STEPS[sampler])
    return scheduler


def sample_theirs(
    peers: Peers, sampler: str, seeds: Sequence[int], evaluations: int | None = None
) -> Tensor:
    """Sample as diffusers' pipelines do, the first ``evaluations`` or all."""
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    x = torch.cat([torch.randn((1, *peers.shape), generator=g) for g in generators])
    network, scheduler = peers.theirs, their_scheduler(sampler, peers.scheduler)
    x = x.to(network.device)
    more = {} if sampler == "F-PNDM" else {"generator": generators}
    with torch.no_grad():
        for t in scheduler.timesteps[:evaluations]:
            x = scheduler.step(network(x, t).sample, t, x, **more).prev_sample
    return x
