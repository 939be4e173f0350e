"""`python docs/artwork.py`: the registry's icon and banner, the README's sky, few steps compared.

The bundled models draw all of them. `icon`, `banner`, `sky` or `few` makes only that one.
"""

import argparse
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from comfyui_unconditional.checkpoints.files import find_files
from comfyui_unconditional.checkpoints.reading import read_checkpoint
from comfyui_unconditional.models.sampling import draw, read_model
from comfyui_unconditional.pictures.images import latent_to_image, to_bytes
from comfyui_unconditional.schedulers.config import SchedulerConfig
from comfyui_unconditional.schedulers.ddim import DDIM
from comfyui_unconditional.schedulers.pndm import PNDM
from comfyui_unconditional.schedulers.randomness import SeededNoise
from comfyui_unconditional.schedulers.span import Stretch
from comfyui_unconditional.unet.unet2d import UNet2D
from PIL import Image, ImageDraw, ImageFont

HERE = Path(__file__).resolve().parent
MODELS = HERE.parent / "models"
ICON, BANNER, SKY = HERE / "icon.png", HERE / "banner.png", HERE / "sky.webp"
FEW = HERE / "few_steps.webp"
ICON_SIZE, BANNER_SIZE = (400, 400), (1680, 720)
"""The registry wants at most 400 x 400, square, and 21 : 9."""

_TITLE, _SUBTITLE = "Unconditional Diffusion", "DDPM, DDIM and PNDM in ComfyUI, from noise to image"
_ICON_SEED = 25
_BANNER_SEEDS = (12, 18, 25)
_COLUMNS = 11
_STEPS = 50
_SIDE = 16
_SKY_SHAPE = (3, 320, 1024)
_SKY_SEED = 2
_FEW_ROWS = (("iPNDM_v", (5, 10, 20)), ("DDIM", (5, 10, 20, 50, 250)))
_FEW_DIGITS, _FEW_SCALE, _FEW_GAP, _FEW_LABEL = 16, 3, 6, 150

Colour = tuple[int, int, int]
_GROUND: Colour = (16, 18, 27)
_DARK: Colour = (28, 32, 48)
_COLD: Colour = (104, 140, 255)
_WARM: Colour = (255, 226, 170)


def make_trajectories(seeds: Iterable[int]) -> np.ndarray:
    """Return x_t at each step of DDIM and the final images.

    Returns:
        float32, shape (steps + 1, seeds, 16, 16), in 0..1.
    """
    network = read_checkpoint(find_files(MODELS / "digits-16")).build(UNet2D)
    config = SchedulerConfig()
    noise = SeededNoise(list(seeds), (1, _SIDE, _SIDE))
    frames = []
    with torch.inference_mode():
        sampling = DDIM.over(config, Stretch(_STEPS)).sample(network, noise(), noise)
        while True:
            try:
                frames.append(next(sampling).x_t)
            except StopIteration as end:
                frames.append(end.value)
                break
    return np.stack([latent_to_image(frame)[..., 0].numpy() for frame in frames])


def draw_icon(trajectory: np.ndarray) -> Image.Image:
    """Draw one digit, (steps + 1, 16, 16), that comes out of noise from one corner on."""
    image = Image.new("RGB", ICON_SIZE, _GROUND)
    pen = ImageDraw.Draw(image)
    pitch = ICON_SIZE[0] // _SIDE
    for y, x in np.ndindex(_SIDE, _SIDE):
        done = min(1.0, (x + y) / (_SIDE * 0.65))
        value = trajectory[_frame(done, trajectory), y, x]
        _draw_pixel(pen, np.array((x, y)) * pitch + 1, pitch - 2, _shade(value, done))
    return image


def draw_banner(trajectories: np.ndarray) -> Image.Image:
    """Draw three runs, (steps + 1, 3, 16, 16), one in each row, with the pack's name below."""
    image = Image.new("RGB", BANNER_SIZE, _GROUND)
    pen = ImageDraw.Draw(image)
    pitch, gap, top = 8, 16, 56
    tile = _SIDE * pitch
    left = (BANNER_SIZE[0] - _COLUMNS * tile - (_COLUMNS - 1) * gap) // 2
    for row in range(trajectories.shape[1]):
        for column in range(_COLUMNS):
            done = column / (_COLUMNS - 1)
            frame = trajectories[_frame(done, trajectories), row]
            corner = np.array((left + column * (tile + gap), top + row * (tile + gap)))
            for y, x in np.ndindex(frame.shape):
                at = corner + np.array((x, y)) * pitch
                _draw_pixel(pen, at, pitch, _shade(frame[y, x], done))
    below = top + 3 * (tile + gap)
    pen.text((left, below + 22), _TITLE, _WARM, ImageFont.load_default(84))
    pen.text((left + 3, below + 132), _SUBTITLE, (170, 178, 204), ImageFont.load_default(38))
    return image


def draw_sky() -> Image.Image:
    """Draw a sky with deep-field, in one piece."""
    network, config = read_model(MODELS / "deep-field")
    seeds = range(_SKY_SEED, _SKY_SEED + 1)
    x = draw(network, PNDM.over(config, Stretch(_STEPS)), _SKY_SHAPE, seeds, 1)
    return Image.fromarray(to_bytes(latent_to_image(x)[0]))


def draw_few_steps() -> Image.Image:
    """Draw the same digits in a row for each sampler and number of evaluations."""
    network, config = read_model(MODELS / "digits-16")
    unclipped = config.changed(clip_sample=False)
    side, font = _SIDE * _FEW_SCALE, ImageFont.load_default(16)
    rows = [(name, steps) for name, counts in _FEW_ROWS for steps in counts]
    pitch = side + _FEW_GAP
    size = (_FEW_LABEL + _FEW_DIGITS * pitch, len(rows) * pitch)
    sheet = Image.new("RGB", size, _GROUND)
    pen = ImageDraw.Draw(sheet)
    for row, (name, steps) in enumerate(rows):
        if name == "DDIM":
            sampler = DDIM.over(unclipped, Stretch(steps))
        else:
            sampler = PNDM.over(config, Stretch(steps), "optimised", method="iPNDM_v")
        x = draw(network, sampler, (1, _SIDE, _SIDE), range(_FEW_DIGITS), _FEW_DIGITS)
        pen.text((12, row * pitch + 14), f"{name}, {sampler.evaluations}", _COLD, font)
        for k, pixels in enumerate(to_bytes(latent_to_image(x))[..., 0]):
            digit = Image.fromarray(pixels).resize((side, side), Image.Resampling.NEAREST)
            sheet.paste(digit, (_FEW_LABEL + k * pitch, row * pitch))
    return sheet


def _frame(done: float, trajectory: np.ndarray) -> int:
    # Half of the steps look like noise: they get less room than the others.
    return round(done**0.6 * (len(trajectory) - 1))


def _shade(value: float, done: float) -> Colour:
    """Colour a value in 0..1: cold while it is noise, warm when it is an image."""
    light = _mix(_COLD, _WARM, done)
    return _mix(_DARK, light, value)


def _mix(one: Colour, other: Colour, part: float) -> Colour:
    red, green, blue = (round(a + (b - a) * float(part)) for a, b in zip(one, other, strict=True))
    return red, green, blue


def _draw_pixel(pen: ImageDraw.ImageDraw, corner: np.ndarray, side: int, colour: Colour) -> None:
    x, y = (int(value) for value in corner)
    pen.rectangle((x, y, x + side - 1, y + side - 1), colour)


def save(path: Path, image: Image.Image) -> None:
    """Write a picture and say where."""
    image.save(path, optimize=True, quality=90)  # a PNG has no quality
    print(f"{path.name}: {image.width} x {image.height}, {path.stat().st_size} bytes")


def main() -> None:
    """Make the named pictures, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="icon, banner, sky, few (default: all)")
    names = parser.parse_args().names or ["icon", "banner", "sky", "few"]
    if "icon" in names:
        save(ICON, draw_icon(make_trajectories([_ICON_SEED])[:, 0]))
    if "banner" in names:
        save(BANNER, draw_banner(make_trajectories(_BANNER_SEEDS)))
    if "sky" in names:
        save(SKY, draw_sky())
    if "few" in names:
        save(FEW, draw_few_steps())


if __name__ == "__main__":
    main()
