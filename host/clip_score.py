"""How well images match a text, according to the host's CLIP and CLIP Vision."""

import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn import functional as F

from ..pictures.provenance import digest
from ..schedulers.errors import UserError
from .gradients import through
from .steering import Moment, Score

_SCALE = 100.0
"""CLIP's logit for a similarity of 1: the limit to which the published models were trained."""
_SMALLEST = 0.5
"""The side of the smallest cut-out, as a part of the image's shorter side."""


class TextScore(Score):
    """CLIP's logit: 100 times the mean similarity of a text and cut-outs of an image.

    The cut-outs are squares of random size and place. They depend on the image's seed and the noise
    level alone. (Radford et al. 2021, arXiv 2103.00020; cut-outs as in CLIP-guided diffusion,
    Crowson 2021.)

    Args:
        clip: the host's CLIP.
        clip_vision: its CLIP_VISION, of the same CLIP.
        text: what the images should show.
        cutouts: how many of each image.

    Raises:
        UserError: the two cannot be compared.
    """

    at_once = 1

    def __init__(self, clip: Any, clip_vision: Any, text: str, cutouts: int):
        projection = getattr(clip_vision.model, "visual_projection", None)
        if not isinstance(projection, nn.Linear) or clip_vision.model_type != "clip_vision_model":
            raise UserError(
                "To compare images with a text, Steer needs CLIP's own vision model (ViT-L, "
                "ViT-H or ViT-bigG), but this CLIP Vision is of another type "
                f"({getattr(clip_vision, 'model_type', 'unknown')}). Load CLIP's vision model "
                "with 'Load CLIP Vision'."
            )
        self._text = F.normalize(text_embedding(clip, text), dim=-1)
        width = self._text.shape[-1]
        if width != projection.out_features:
            raise UserError(
                f"This CLIP turns a text into {width} numbers, but this CLIP Vision turns an "
                f"image into {projection.out_features}, so they do not belong to the same CLIP. "
                "Use ViT-L (768), ViT-H (1024) or ViT-bigG (1280; SDXL's CLIP) for both."
            )
        self._vision, self._cutouts = clip_vision, cutouts
        self.patcher = clip_vision.patcher
        self.record = {
            "text": text,
            "text_embedding": digest(self._text),
            "clip_vision": digest(projection.weight.detach()),
            "cutouts": cutouts,
        }

    def __call__(self, images: Tensor, moment: Moment) -> Tensor:
        device = self.patcher.load_device
        x = images.to(device, torch.float32)
        x = x + (x.clamp(-1, 1) - x).detach()  # the gradient ignores the clipping
        if x.shape[1] < 3:
            x = x[:, :1].expand(-1, 3, -1, -1)
        x = x[:, :3] / 2 + 0.5
        found = []
        for image, seed in zip(x, moment.seeds, strict=True):
            generator = torch.Generator().manual_seed(_seed_at(seed, moment.sigma))
            pixels = torch.cat(list(self._cut(image, generator)))
            embedding = F.normalize(through(self._vision.model, self._embed, pixels), dim=-1)
            with torch.no_grad():
                text = self._text.to(embedding).clone()
            found.append(_SCALE * (embedding @ text.T).mean())
        return torch.stack(found)

    def _embed(self, pixels: Tensor) -> Tensor:
        return self._vision.model(pixel_values=pixels, intermediate_output=None)[2]

    def _cut(self, image: Tensor, generator: torch.Generator) -> Iterator[Tensor]:
        """Yield cut-outs of an image in 0..1, as the model takes them, shape (1, 3, size, size)."""
        vision = self._vision
        mean, std = (
            torch.tensor(values, device=image.device)[:, None, None]
            for values in (vision.image_mean, vision.image_std)
        )
        height, width = image.shape[1:]
        for _ in range(self._cutouts):
            part, down, right = torch.rand(3, generator=generator).tolist()
            side = max(1, round((_SMALLEST + (1 - _SMALLEST) * part) * min(height, width)))
            top, left = round(down * (height - side)), round(right * (width - side))
            cut = image[None, :, top : top + side, left : left + side]
            size = (vision.image_size, vision.image_size)
            cut = F.interpolate(cut, size, mode="bicubic", antialias=True)
            yield (cut - mean) / std


def _seed_at(seed: int, sigma: float) -> int:
    """Return a seed for a noise level of an image."""
    (bits,) = struct.unpack("<I", struct.pack("<f", sigma))
    return (seed + 0x9E3779B1 * bits) % 2**32


def text_embedding(clip: Any, text: str) -> Tensor:
    """Return the projected embedding of a text, float32 on the CPU, shape (1, width).

    The host leaves the projection out for the CLIP of Stable Diffusion 1. If a file lacks its
    weights, the host uses whatever happens to be in memory.

    Raises:
        UserError: the CLIP has no text projection.
    """
    encoder = _encoder(clip)
    if encoder is None or _lacks_projection(clip, encoder.transformer.text_projection.weight):
        raise UserError(
            "This CLIP has no text projection, which is needed to compare a text with an image; "
            "most files of Stable Diffusion 1 and of clip_l lack it. Load a complete CLIP with "
            "'Load CLIP', for example model.safetensors of openai/clip-vit-large-patch14, or "
            "the CLIP of SDXL or Stable Diffusion 2."
        )
    _, pooled = clip.encode_from_tokens(clip.tokenize(text), return_pooled=True)
    pooled = pooled.float().cpu()
    if not encoder.options_default[2]:  # the host has returned it unprojected
        pooled = F.linear(pooled, encoder.transformer.text_projection.weight.float().cpu())
    return pooled[:1]


def _encoder(clip: Any) -> Any:
    """Return the host's text encoder that gives a CLIP's pooled output; None if there is none."""
    found = {
        name.rpartition(".")[2]: module
        for name, module in clip.cond_stage_model.named_modules()
        if hasattr(module, "options_default")
        and hasattr(getattr(module, "transformer", None), "text_projection")
    }
    # SDXL has two, of which it pools the larger one.
    return found.get("clip_g", next(iter(found.values()), None))


def _lacks_projection(clip: Any, weight: Tensor) -> bool:
    """Whether the weights of a text projection do not come from a file, as far as one can tell."""
    values = weight.float()
    spread = values.std().item()
    # For trained weights it is about 1 / sqrt(width); memory has zeros or numbers of any size.
    if not values.isfinite().all() or not 1e-3 < spread < 1:
        return True
    if torch.equal(values, torch.eye(*values.shape, device=values.device)):
        return True
    with suppress(OSError, SafetensorError, TypeError, IndexError):
        names: list[str] = []
        paths = clip.patcher.cached_patcher_init[1][0]
        for path in [paths] if isinstance(paths, str | Path) else paths:
            with safe_open(path, "pt") as file:
                names += file.keys()
        return not any("text_projection" in name for name in names)
    return False
