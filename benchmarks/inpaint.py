"""`python benchmarks/inpaint.py`: how well hidden halves of digits are filled in.

The right half of real digits is drawn by ``digits-16``: with the latent's mask, as ComfyUI and this
pack's samplers apply it; with *Restore* (holes); and with RePaint, at equal evaluations.
"""

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from comfyui_unconditional.evaluate.digit_classifier import load_classifier
from comfyui_unconditional.evaluate.distances import Gaussian, frechet
from comfyui_unconditional.models.digits import digits
from comfyui_unconditional.models.judge import as_saved, unanimous_votes
from comfyui_unconditional.models.sampling import read_model
from comfyui_unconditional.schedulers.ddim import DDIM
from comfyui_unconditional.schedulers.ddpm import DDPM
from comfyui_unconditional.schedulers.noise_schedule import NoiseSchedule
from comfyui_unconditional.schedulers.prediction import add_noise, clip_x0, from_x0, to_x0_eps
from comfyui_unconditional.schedulers.randomness import SeededNoise
from comfyui_unconditional.schedulers.repaint import PRESETS, Known, RePaint
from comfyui_unconditional.schedulers.sampler import Model, ScheduleSampler, drain
from comfyui_unconditional.schedulers.span import Stretch
from torch import Tensor
from tqdm import tqdm

_MODEL = Path(__file__).resolve().parent.parent / "models" / "digits-16"
_EDGE, _BATCH = 8, 50


@dataclass(frozen=True)
class Case:
    """A way to fill in the half: the sampler with its settings, and how the other half is kept."""

    how: str
    kind: type[ScheduleSampler]
    steps: int
    settings: dict[str, Any]

    def __str__(self) -> str:
        words = dict.fromkeys([self.how, self.kind.__name__, f"{self.steps} steps"])
        return ", ".join([*words, *(f"{name} {value}" for name, value in self.settings.items())])


def cases() -> list[Case]:
    """Return the cases to compare, by the number of evaluations."""
    found = []
    for preset, steps in (("draft", 50), ("good", 250)):
        found += [Case("latent's mask", DDIM, steps, {"eta": 0.0})]
        found += [Case(how, DDPM, steps, {}) for how in ("latent's mask", "Restore")]
        for numbers in (PRESETS[preset], *([(10, 2, 6)] if preset == "draft" else [])):
            names = ("jump_length", "resamplings")
            for eta in (0.0, 1.0) if numbers in PRESETS.values() else (1.0,):
                settings = dict(zip(names, numbers[1:], strict=True)) | {"eta": eta}
                found.append(Case("RePaint", RePaint, numbers[0], settings))
    return found


class Half:
    """Fills in the right half of real digits.

    Args:
        count: of digits, which are chosen at random.
    """

    def __init__(self, count: int):
        self._network, self._config = read_model(_MODEL)
        self._alphas_cumprod = NoiseSchedule.from_config(self._config).alphas_cumprod
        images, self._labels = digits()
        self._real = as_saved(images)
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(1))
        self._chosen = order[:count]
        self.known = images[self._chosen]
        self._mask = (torch.arange(16) >= _EDGE).float().expand(1, 1, 16, 16)
        self._classifier = load_classifier()
        self._of_real = self._gaussian(self._real)

    @torch.inference_mode()
    def draw(self, case: Case) -> tuple[Tensor, int]:
        """Return an image of each digit, with its index as seed, and the evaluations of one."""
        sampler = case.kind.over(self._config, Stretch(case.steps), **case.settings)
        if case.how == "Restore":
            sampler = replace(sampler, config=self._config.changed(clip_sample=False))
        images = []
        for k, known in enumerate(tqdm(self.known.split(_BATCH), str(case), unit="batch")):
            noise = SeededNoise(range(k * _BATCH, k * _BATCH + len(known)), (1, 16, 16))
            first, model = noise(), self._network
            if isinstance(sampler, RePaint):
                sampler = replace(sampler, known=Known(known, self._mask))
            else:
                model = self._masked(known, first if case.how != "Restore" else None)
            x = drain(sampler.sample(model, first, noise))
            images.append(torch.where(self._mask == 0, known, x))
        return as_saved(torch.cat(images)), sampler.evaluations

    def _masked(self, known: Tensor, noise: Tensor | None) -> Model:
        """Return the network with the input of ComfyUI's mask or, without noise, of Restore."""
        mask, config = self._mask, self._config

        def model(x_t: Tensor, t: float) -> Tensor:
            a = self._alphas_cumprod[int(t)]
            seen = x_t if noise is None else mask * x_t + (1 - mask) * add_noise(known, noise, a)
            x0, _ = to_x0_eps(self._network(seen, t), seen, a, config.prediction_type)
            if noise is None:
                x0 = clip_x0(x0, config)
            return from_x0(mask * x0 + (1 - mask) * known, x_t, a, config.prediction_type)

        return model

    def score(self, images: Tensor) -> str:
        """Return the figures of images, one for each digit, as the columns of a table."""
        # A digit must not vote for its own half.
        votes = unanimous_votes(images, self._real, self._labels, without=self._chosen)
        jumps = (images[..., 1:] - images[..., :-1]).abs().mean((0, 1, 2))
        border = jumps[_EDGE - 1] / jumps[: _EDGE - 1].mean()
        distance = frechet(self._gaussian(images), self._of_real)
        return f"{votes:.3f} | {border:.2f} | {distance:.2f}"

    @torch.inference_mode()
    def _gaussian(self, images: Tensor) -> Gaussian:
        return Gaussian.of(self._classifier.features(images).double() / self._classifier.scale)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python benchmarks/inpaint.py", description=__doc__)
    parser.add_argument("--pictures", type=int, default=200)
    half = Half(parser.parse_args().pictures)
    print("| | evaluations | undivided votes | jump across the border | Fréchet distance |")
    print("| --- | --- | --- | --- | --- |")
    print(f"| the real digits | | {half.score(as_saved(half.known))} |")
    for case in cases():
        images, evaluations = half.draw(case)
        print(f"| {case} | {evaluations} | {half.score(images)} |", flush=True)


if __name__ == "__main__":
    main()
