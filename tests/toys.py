"""Small models with common configurations, and checkpoints of them on disk."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from comfyui_unconditional.unet.config import UNetConfig
from comfyui_unconditional.unet.unet2d import UNet2D
from diffusers import UNet2DModel
from safetensors.torch import load_file, save_file

_GOOGLE = {
    "act_fn": "silu",
    "attention_head_dim": None,
    "center_input_sample": False,
    "downsample_padding": 0,
    "flip_sin_to_cos": False,
    "freq_shift": 1,
    "in_channels": 3,
    "out_channels": 3,
    "layers_per_block": 2,
    "mid_block_scale_factor": 1,
    "norm_eps": 1e-6,
    "norm_num_groups": 8,
    "time_embedding_type": "positional",
}

# google/ddpm-cifar10-32, google/ddpm-*-256 and train_unconditional.py, each with narrow levels.
CIFAR: dict[str, Any] = {
    **_GOOGLE,
    "sample_size": 32,
    "block_out_channels": [16, 32, 32, 32],
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
}
CAT: dict[str, Any] = {
    **_GOOGLE,
    "sample_size": 256,
    "block_out_channels": [16, 16, 32, 32, 48, 48],
    "down_block_types": [*["DownBlock2D"] * 4, "AttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "AttnUpBlock2D", *["UpBlock2D"] * 4],
}
TRAINED: dict[str, Any] = {
    "sample_size": 64,
    "in_channels": 3,
    "out_channels": 3,
    "layers_per_block": 2,
    "block_out_channels": [16, 16, 32, 32, 48, 48],
    "norm_num_groups": 16,
    "down_block_types": [*["DownBlock2D"] * 4, "AttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "AttnUpBlock2D", *["UpBlock2D"] * 4],
}
# google/ncsnpp-*, trained on sigmas.
NCSNPP: dict[str, Any] = {
    **_GOOGLE,
    "sample_size": 32,
    "block_out_channels": [32, 32, 64, 64],
    "downsample_padding": 1,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "mid_block_scale_factor": 1.41421356237,
    "norm_num_groups": None,
    "time_embedding_type": "fourier",
    "down_block_types": ["SkipDownBlock2D", "AttnSkipDownBlock2D", *["SkipDownBlock2D"] * 2],
    "up_block_types": [*["SkipUpBlock2D"] * 2, "AttnSkipUpBlock2D", "SkipUpBlock2D"],
}
# The smallest that has everything, for tests about files.
TINY: dict[str, Any] = {
    **_GOOGLE,
    "sample_size": 8,
    "layers_per_block": 1,
    "block_out_channels": [8, 16],
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
}

_LEGACY = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


def reference_model(config: dict[str, Any], seed: int = 0) -> UNet2DModel:
    """Return diffusers' model with random weights, norms and biases included."""
    torch.manual_seed(seed)
    model = UNet2DModel(**config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def ours_and_theirs(fields: dict[str, Any]) -> tuple[UNet2D, UNet2DModel]:
    """Our network and diffusers' with the same random weights."""
    theirs = reference_model(fields)
    network = UNet2D(UNetConfig.from_dict(fields)).eval()
    network.load_state_dict(theirs.state_dict(), strict=True)
    return network, theirs


def contents(folder: Path) -> dict[str, bytes]:
    """The files below a folder, by their paths in it."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    """Replace a network's safetensors file by one with changed tensors."""
    path = folder / "diffusion_pytorch_model.safetensors"
    weights = {name: tensor.clone() for name, tensor in load_file(path).items()}
    change(weights)
    save_file(weights, path.with_suffix(".new"))
    path.with_suffix(".new").replace(path)


def legacy_names(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the weights under the attention names of 2022."""
    pattern = re.compile(r"(attentions\.\d+)\.(to_q|to_k|to_v|to_out\.0)\.")
    return {
        pattern.sub(lambda m: f"{m[1]}.{_LEGACY[m[2]]}.", name): tensor
        for name, tensor in weights.items()
    }


def early_names(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the weights under the names of the first diffusers."""
    early = {"down_": "downsample_", "up_": "upsample_", "mid_block": "mid"}
    first = re.compile("^(down_|up_|mid_block)")
    old = legacy_names(weights)
    return {first.sub(lambda m: early[m[1]], name): tensor for name, tensor in old.items()}


def write_checkpoint(
    folder: Path,
    config: dict[str, Any],
    *,
    layout: str = "root",
    suffix: str = "safetensors",
    legacy: bool = False,
    scheduler: dict[str, Any] | None = None,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
) -> UNet2DModel:
    """Write a model in a published layout, and return diffusers' model with its weights.

    ``layout`` is "root" (google/ddpm-*) or "pipeline" (``unet/`` and ``scheduler/``); None as
    ``scheduler`` writes no scheduler configuration.
    """
    model = reference_model(config, seed).to(dtype)
    network = folder if layout == "root" else folder / "unet"
    network.mkdir(parents=True, exist_ok=True)
    written = {"_class_name": "UNet2DModel", "_diffusers_version": "0.0.4", **config}
    (network / "config.json").write_text(json.dumps(written))
    weights = legacy_names(model.state_dict()) if legacy else model.state_dict()
    weights = {name: tensor.contiguous() for name, tensor in weights.items()}
    target = network / f"diffusion_pytorch_model.{suffix}"
    if suffix == "safetensors":
        save_file(weights, target, metadata={"format": "pt"})
    else:
        torch.save(weights, target)
    if scheduler is not None:
        place = folder if layout == "root" else folder / "scheduler"
        place.mkdir(exist_ok=True)
        content = {"_class_name": "DDPMScheduler", **scheduler}
        (place / "scheduler_config.json").write_text(json.dumps(content))
        index = {
            "_class_name": "DDPMPipeline",
            "scheduler": ["diffusers", "DDPMScheduler"],
            "unet": ["diffusers", "UNet2DModel"],
        }
        (folder / "model_index.json").write_text(json.dumps(index))
    return model
