"""The samplers of the tables: how often each calls the network, and the images that it draws."""

import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from comfyui_unconditional.checkpoints.files import find_files
from comfyui_unconditional.checkpoints.reading import read_checkpoint
from comfyui_unconditional.networks.placement import place_weights
from comfyui_unconditional.schedulers.config import SchedulerConfig
from comfyui_unconditional.schedulers.ddim import DDIM
from comfyui_unconditional.schedulers.ddpm import DDPM
from comfyui_unconditional.schedulers.errors import ScheduleError
from comfyui_unconditional.schedulers.pndm import PNDM, Method
from comfyui_unconditional.schedulers.randomness import SeededNoise
from comfyui_unconditional.schedulers.sampler import Evaluation, Sampler, drain
from comfyui_unconditional.schedulers.span import Span, Stretch
from comfyui_unconditional.schedulers.timesteps import make_timesteps
from comfyui_unconditional.unet.unet2d import UNet2D
from torch import Tensor

from devtools.comfyui import comfyui_path
from devtools.torchvision_on_cpu import declare_missing_operators

from .era import ERASolver

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDERS = {
    "digits-16": ROOT / "models" / "digits-16",
    "digits-16-cosine": ROOT / "benchmarks" / "models" / "digits-16-cosine",
    "digits-16-bfloat16": ROOT / "models" / "digits-16",
    "deep-field": ROOT / "models" / "deep-field",
}
METHODS = ("S-PNDM", "F-PNDM", "PLMS", "FON")
HOST = tuple(f"ComfyUI {name}" for name in ("euler", "ddim", "ipndm", "dpmpp_2m", "uni_pc"))
EXACT = ("DDIM, unclipped", *METHODS, *HOST)
"""Those whose images depend on the initial noise alone and are not clipped, so that they converge
with more and more steps."""
ROWS = ("DDPM", "DDPM, unclipped", "DDIM", *EXACT)
_POWER = ("DDIM, power", "S-PNDM, power", "PLMS, power", "iPNDM_v, power")
_RIVALS = ("ERA-Solver, power",)
HOST_FEW = tuple(f"ComfyUI {name}, power" for name in ("ipndm", "dpmpp_2m", "uni_pc"))
FEW = (
    *("DDIM, even", *_POWER, "DDIM, optimised", "S-PNDM, optimised", "iPNDM_v, optimised"),
    *(*_RIVALS, *HOST_FEW),
)
"""For few evaluations, with any number of steps: the spacing power, the lists found for the model,
and even steps from where power begins to timestep 0. Not clipped."""
_BATCH = 64

End = Literal["data", "first"]
"""Where a run ends: at alphas_cumprod = 1, or at that of timestep 0 (PNDM, as in diffusers)."""


class Network:
    """A model from disk, as the samplers call it; ``calls`` counts how often."""

    def __init__(self, name: str):
        self.name, self.calls = name, 0
        dtype = torch.bfloat16 if name.endswith("bfloat16") else torch.float32
        checkpoint = read_checkpoint(find_files(FOLDERS[name]), dtype)
        config = checkpoint.read_process()
        assert isinstance(config, SchedulerConfig)
        self.config = config
        self.shape = (checkpoint.config.in_channels, *checkpoint.config.size)
        self.unet = place_weights(checkpoint.build(UNet2D), torch.device("cpu"))

    def __call__(self, x: Tensor, t: float) -> Tensor:
        """Predict; the samplers compute in float32, whatever the network's precision."""
        self.calls += 1
        return self.unet(x.to(self.unet.dtype), t).to(x.dtype)


def make_sampler(row: str, config: SchedulerConfig, steps: int) -> Sampler:
    """Return one of our samplers."""
    if row in FEW:
        return _with_few(*row.split(", "), config=replace(config, clip_sample=False), steps=steps)
    if row in METHODS:
        method: Method = row  # type: ignore[assignment]
        return PNDM.over(config, Stretch(steps), method=method)
    kind = DDPM if row.startswith("DDPM") else DDIM
    return kind.over(replace(config, clip_sample="unclipped" not in row), Stretch(steps))


def _with_few(name: str, spacing: Any, *, config: SchedulerConfig, steps: int) -> Sampler:
    if spacing == "even":
        first = make_timesteps(config, steps, spacing="power")[0]
        return DDIM(config, Span(tuple(round(first * n / steps) for n in range(steps, 0, -1))))
    if name in ("DDIM", "ERA-Solver"):
        kind = DDIM if name == "DDIM" else ERASolver
        return kind.over(config, Stretch(steps), spacing)
    return PNDM.over(config, Stretch(steps), spacing, method=name)


def evaluations(row: str, config: SchedulerConfig, steps: int) -> int:
    """Return how often a sampler calls the network; 0 if PNDM's only step changes nothing."""
    try:
        return steps if row.startswith("ComfyUI") else make_sampler(row, config, steps).evaluations
    except ScheduleError:
        return 0


def end_of(row: str) -> End:
    """Return where a sampler ends."""
    return "first" if row.split(",")[0] in (*METHODS, "iPNDM_v") else "data"


def steps_within(row: str, config: SchedulerConfig, budget: int) -> int | None:
    """Return the largest N that costs 1 .. ``budget`` evaluations, or None.

    N divides T, except for few evaluations.
    """
    T = config.num_train_timesteps
    possible = (n for n in range(min(budget, T), 0, -1) if row in FEW or T % n == 0)
    return next((n for n in possible if 1 <= evaluations(row, config, n) <= budget), None)


@torch.inference_mode()
def draw(row: str, network: Network, steps: int, seeds: range) -> Tensor:
    """Return the images of these seeds, unclipped, float32, shape (n, C, H, W)."""
    batches = []
    for first in range(0, len(seeds), _BATCH):
        noise, before = SeededNoise(seeds[first : first + _BATCH], network.shape), network.calls
        if row.startswith("ComfyUI"):
            batches.append(_draw_in_host(row, network, steps, noise()))
        else:
            sampler = make_sampler(row, network.config, steps)
            batches.append(drain(sampler.sample(network, noise(), noise)))
        assert network.calls - before == evaluations(row, network.config, steps), row
    return torch.cat(batches)


@cache
@torch.inference_mode()
def converged(row: str, steps: int, network: Network, seeds: range) -> dict[End, Tensor]:
    """Return the images to which the exact samplers converge, by many steps of one of them.

    One run gives them at both ends: its last step goes from the noise of timestep 0 to the data.
    """
    ends: dict[End, list[Tensor]] = {end: [] for end in get_args(End)}
    config = replace(network.config, clip_sample=False, set_alpha_to_one=True)
    for first in range(0, len(seeds), _BATCH):
        noise = SeededNoise(seeds[first : first + _BATCH], network.shape)
        seen: list[Evaluation] = [None]  # type: ignore[list-item]
        sampling = make_sampler(row, config, steps).sample(network, noise(), noise)
        ends["data"].append(drain(sampling, lambda last, seen=seen: seen.__setitem__(0, last)))
        ends["first"].append(seen[0].x_t)
    return {end: torch.cat(images) for end, images in ends.items()}


def _draw_in_host(row: str, network: Network, steps: int, noise: Tensor) -> Tensor:
    """Return the images of one of ComfyUI's samplers, on the timesteps of our own."""
    name, _, spacing = row.removeprefix("ComfyUI ").partition(", ")
    patcher = _in_host(network.name)
    import comfy.samplers
    from comfyui_unconditional.host.model_sampling import sigmas_of

    span = Span(tuple(make_timesteps(network.config, steps, spacing=spacing or None)))
    sigmas = sigmas_of(patcher.get_model_object("model_sampling"), span)
    guider = comfy.samplers.CFGGuider(patcher)
    guider.set_conds([[None, {}]], [[None, {}]])

    def count(*_: object) -> None:
        network.calls += 1

    counter = patcher.model.diffusion_model.register_forward_pre_hook(count)
    sampler, nothing = comfy.samplers.sampler_object(name), torch.zeros_like(noise)
    images = guider.sample(noise, nothing, sampler, sigmas, disable_pbar=True, seed=0)
    counter.remove()
    return images


@cache
def _in_host(name: str) -> Any:
    """Import ComfyUI into this process, on the CPU, and return a model of ours as its MODEL."""
    declare_missing_operators()
    sys.path.insert(0, str(comfyui_path()))
    arguments, sys.argv = sys.argv, [sys.argv[0], "--cpu", "--disable-api-nodes"]
    import comfy.options

    comfy.options.enable_args_parsing()
    import comfy.cli_args  # parses the arguments on import

    sys.argv = arguments
    from comfyui_unconditional.nodes.load import load_model

    return load_model(name, find_files(FOLDERS[name]), torch.float32)
