"""Graphs with our samplers on a LATENT: the input, and the result of the core."""

import json
from functools import cache
from typing import Any

import ours
import torch
from comfyui_unconditional.checkpoints.files import find_files
from comfyui_unconditional.checkpoints.reading import read_checkpoint
from comfyui_unconditional.schedulers.config import SchedulerConfig
from comfyui_unconditional.schedulers.ddim import DDIM
from comfyui_unconditional.schedulers.ddpm import DDPM
from comfyui_unconditional.schedulers.pndm import PNDM
from comfyui_unconditional.schedulers.prediction import add_noise
from comfyui_unconditional.schedulers.randomness import SeededNoise
from comfyui_unconditional.schedulers.sampler import Model, drain
from comfyui_unconditional.schedulers.span import Stretch
from comfyui_unconditional.schedulers.timesteps import make_timesteps
from comfyui_unconditional.unet.unet2d import UNet2D
from float64 import FIRST_SEED, SEEDS
from graphs import files, read_metadata
from torch import Tensor
from wiring import Bench, Wires

from devtools.wires import Link

SAMPLERS = ("PNDM", "DDPM", "DDIM")


def sampler(wires: Wires, kind: str, model: Link, node: str = "Sampler", **inputs: Any) -> Link:
    defaults = {"seed": 7, "steps": 10} | ({"eta": 0.3} if kind == "DDIM" else {})
    return wires(f"Unconditional{kind}{node}", model=model, **defaults | inputs)


def sixteen_images(
    wires: Wires, name: str, steps: int, eta: float = 0.0, *, model: Link | None = None
) -> Link:
    """Our sampler over ``float64.SEEDS`` on digits-16, by the name that ``bundled`` has for it."""
    link = wires.model() if model is None else model
    more: dict[str, Any] = {"seed": FIRST_SEED, "batch_size": len(SEEDS), "steps": steps}
    if name in ("DDPM", "DDIM"):
        more |= {"eta": eta} if name == "DDIM" else {}
        return sampler(wires, name, link, **more)
    return sampler(wires, "PNDM", link, method=name, **more)


def advanced(wires: Wires, kind: str, model: Link, latent: Link, **inputs: Any) -> Link:
    return sampler(wires, kind, model, node="SamplerAdvanced", latent=latent, **inputs)


def some_images(count: int = 2) -> Tensor:
    """Images that are neither noise nor digits."""
    generator = torch.Generator().manual_seed(3)
    small = torch.rand(count, 1, 4, 4, generator=generator) * 2 - 1
    return torch.nn.functional.interpolate(small, size=(16, 16), mode="bilinear")


EMPTY = torch.zeros(2, 1, 16, 16)


def exact_network() -> Model:
    """digits-16 in float64, as ``Wires.exact`` makes it; it takes and gives float32."""
    network = _float64()
    return lambda x, t: network(x.double(), t).to(x.dtype)


@cache
def _float64() -> UNet2D:
    return read_checkpoint(find_files(ours.DIGITS)).build(UNet2D).double()


def expected_image_to_image(kind: str, images: Tensor, seeds: list[int], steps: int) -> Tensor:
    """The last 10 of ``steps`` steps from the noised images, by the core alone."""
    config = SchedulerConfig()
    network = exact_network()
    span = Stretch(steps, steps - 10).of(make_timesteps(config, steps))
    if kind == "PNDM":
        sampler = PNDM(config, span)
    elif kind == "DDPM":
        sampler = DDPM(config, span)
    else:
        sampler = DDIM(config, span, 0.3)
    noise = SeededNoise(seeds, (1, 16, 16))
    x = add_noise(images, noise(), sampler.alpha_cumprod(span.timesteps[0]))
    noise.skip(steps - 10)
    with torch.inference_mode():
        return drain(sampler.sample(network, x, noise))


def report_of(bench: Bench, wires: Wires, node: Link) -> dict[str, Any]:
    """The report of a sampler on its run."""
    wires("TestSaveLatent", samples=node, name=f"report-{node[0]}")
    (text,) = bench.run(wires).outputs[node[0]]["unconditional_run"]
    report = json.loads(text)
    keys = {"steps", "evaluations", "seconds_per_image", "timesteps", "end", "asked", "lost"}
    assert set(report) == keys | {"drift"}
    return report


def half_mask() -> Tensor:
    """A mask of 1 (to be drawn) on the right half; shape (1, 16, 16)."""
    mask = torch.zeros(1, 16, 16)
    mask[..., 8:] = 1
    return mask


def ksampler(wires: Wires, model: Link, latent: Link, **inputs: Any) -> Link:
    """The host's DDIM over our trailing timesteps, which are those of its "simple" scheduler."""
    nothing = wires("UnconditionalConditioning")
    defaults = {
        "add_noise": "disable",
        "noise_seed": 0,
        "steps": 20,
        "cfg": 1.0,
        "sampler_name": "ddim",
        "scheduler": "simple",
        "positive": nothing,
        "negative": nothing,
        "start_at_step": 0,
        "end_at_step": 10000,
        "return_with_leftover_noise": "disable",
    }
    return wires("KSamplerAdvanced", model=model, latent_image=latent, **{**defaults, **inputs})


def native(wires: Wires, model: Link, batch_size: int = 1, **inputs: Any) -> Link:
    """The host's KSampler on an empty latent of the model's size."""
    nothing = wires("UnconditionalConditioning")
    defaults = {
        **{"seed": 5, "steps": 20, "cfg": 1.0, "sampler_name": "euler", "scheduler": "karras"},
        **{"positive": nothing, "negative": nothing, "denoise": 1.0},
        "latent_image": wires("UnconditionalEmptyLatent", model=model, batch_size=batch_size),
    }
    return wires("KSampler", model=model, **{**defaults, **inputs})


def trajectory(wires: Wires, model: Link | None = None, **inputs: Any) -> Link:
    """The Trajectory node's LATENT; its trajectory and frames are outputs 1 and 2."""
    given = {"seed": 7, "steps": 10, "batch_size": 2, **inputs}
    return wires("UnconditionalTrajectory", model=model or wires.model(), **given)


def output(wires: Wires, samples: Link, prefix: str = "trajectory", **inputs: Any) -> str:
    """Add an Image Output and return its key."""
    given = {"samples": samples, "filename_prefix": prefix, **inputs}
    return wires("UnconditionalImageOutput", **given)[0]


def records(bench: Bench, wires: Wires, *latents: Link) -> list[dict[str, Any]]:
    """What each picture of these LATENTs says of how it was made."""
    shown = [output(wires, latent, prefix="records") for latent in latents]
    run = bench.run(wires)
    paths = [path for key in shown for path in files(bench.host, run, key)]
    return [read_metadata(path)["unconditional"] for path in paths]


def model_report(bench: Bench, wires: Wires, loader: Link) -> dict[str, Any]:
    """What a loader says of its model."""
    latent = wires("UnconditionalEmptyLatent", model=loader, width=0, height=0, batch_size=1)
    wires("TestSaveLatent", samples=latent, name="report")
    return json.loads(bench.run(wires).outputs[loader[0]]["unconditional_model"][0])
