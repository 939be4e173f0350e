"""`python benchmarks/enlarge.py`: how close enlarged pictures come to real ones.

Real digits and pieces of the deep field are reduced by averaging blocks, and enlarged again:
by bicubic interpolation, and by the bundled models with *Restore* (20 steps of DDIM, eta 1, spacing
power). It needs scikit-learn and scikit-image.
"""

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from comfyui_unconditional.evaluate.digit_classifier import load_classifier
from comfyui_unconditional.evaluate.distances import Gaussian, frechet
from comfyui_unconditional.models import deep_field
from comfyui_unconditional.models.digits import digits
from comfyui_unconditional.models.judge import as_saved
from comfyui_unconditional.models.sampling import read_model
from comfyui_unconditional.schedulers.ddim import DDIM
from comfyui_unconditional.schedulers.noise_schedule import NoiseSchedule
from comfyui_unconditional.schedulers.prediction import clip_x0, from_x0, to_x0_eps
from comfyui_unconditional.schedulers.randomness import SeededNoise
from comfyui_unconditional.schedulers.restoration import Blocks, Measurement
from comfyui_unconditional.schedulers.sampler import drain
from comfyui_unconditional.schedulers.span import Stretch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

_MODELS = Path(__file__).resolve().parent.parent / "models"
_BATCH = 16
_PATCH = 8

Features = Callable[[Tensor], Tensor]
"""Images (n, C, H, W) in -1..1 -> features (m, d), float64."""


def of_digits() -> Features:
    """Return the features of the classifier with which ``evaluate`` compares digits."""
    classifier = load_classifier()
    return lambda images: classifier.features(images).double() / classifier.scale


def of_patches(images: Tensor) -> Tensor:
    """Return the patches of 8 x 8 pixels that cover the images, shape (m, 192)."""
    return F.unfold(images, _PATCH, stride=_PATCH).transpose(1, 2).flatten(0, 1).double()


def skies(count: int) -> Tensor:
    """Return pieces of 64 x 64 pixels from all over the deep field, shape (count, 3, 64, 64)."""
    whole = deep_field.pictures()[0] / 127.5 - 1
    pieces = whole.unfold(1, 64, 64).unfold(2, 64, 64).flatten(1, 2).transpose(0, 1)
    order = torch.randperm(len(pieces), generator=torch.Generator().manual_seed(1))
    return pieces[order[:count]]


@torch.inference_mode()
def enlarged(name: str, small: Tensor, factor: int) -> Tensor:
    """Return a bundled model's enlargements of small images with *Restore*, seeds from 0 on."""
    network, config = read_model(_MODELS / name)
    alphas_cumprod = NoiseSchedule.from_config(config).alphas_cumprod
    sampler = DDIM.over(config, Stretch(20), "power", eta=1.0)
    sampler = replace(sampler, config=config.changed(clip_sample=False))
    images = []
    for k, part in enumerate(tqdm(small.split(_BATCH), f"{name} x {factor}", unit="batch")):
        measurement = Measurement(Blocks(factor), part)

        def model(x_t: Tensor, t: float, measurement: Measurement = measurement) -> Tensor:
            a = alphas_cumprod[int(t)]
            x0, _ = to_x0_eps(network(x_t, t), x_t, a, config.prediction_type)
            return from_x0(measurement.project(clip_x0(x0, config)), x_t, a, config.prediction_type)

        height, width = (factor * side for side in part.shape[2:])
        seeds = range(k * _BATCH, k * _BATCH + len(part))
        noise = SeededNoise(seeds, (part.shape[1], height, width))
        x = drain(sampler.sample(model, noise(), noise))
        images.append(measurement.project_into_range(x))
    return torch.cat(images)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python benchmarks/enlarge.py", description=__doc__)
    parser.add_argument("--digits", type=int, default=256)
    parser.add_argument("--skies", type=int, default=128)
    arguments = parser.parse_args()
    every = as_saved(digits()[0])
    order = torch.randperm(len(every), generator=torch.Generator().manual_seed(1))
    real = {"digits-16": every[order[: arguments.digits]], "deep-field": skies(arguments.skies)}
    features: dict[str, Features] = {"digits-16": of_digits(), "deep-field": of_patches}
    print("| model | factor | how | Fréchet distance | largest difference of A x and y |")
    print("|---|---|---|---|---|")
    for name, factors in (("digits-16", (2, 4)), ("deep-field", (2, 4, 8))):
        with torch.inference_mode():
            reference = Gaussian.of(features[name](real[name]))
        for factor in factors:
            small = Blocks(factor).measure(real[name])
            bicubic = F.interpolate(small, scale_factor=factor, mode="bicubic").clamp(-1, 1)
            for how, images in (("bicubic", bicubic), ("Restore", enlarged(name, small, factor))):
                apart = (Blocks(factor).measure(images) - small).abs().max().item()
                with torch.inference_mode():
                    distance = frechet(Gaussian.of(features[name](images)), reference)
                print(f"| {name} | {factor} | {how} | {distance:.3g} | {apart:.2g} |", flush=True)


if __name__ == "__main__":
    main()
