"""Files as the Trainer of lucidrains/denoising-diffusion-pytorch saves them."""

import json
import math
from pathlib import Path
from typing import Any

import torch
from comfyui_unconditional.checkpoints.files import find_files
from comfyui_unconditional.checkpoints.reading import Checkpoint, read_checkpoint
from lucidrains_oracle import Oracle, Weights
from torch import Tensor

TINY = Oracle((2, 3, 4), dim=8, mults=(1, 2), channels=1)

_OWN = "its own"


def betas_of(schedule: str, steps: int) -> Tensor:
    """The betas of the package's schedules, float64, shape (steps,)."""
    if schedule == "linear":
        scale = 1000 / steps
        return torch.linspace(scale * 1e-4, scale * 0.02, steps, dtype=torch.float64)
    s = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    if schedule == "cosine":
        alphas_cumprod = torch.cos((s + 0.008) / 1.008 * math.pi / 2) ** 2
    else:
        alphas_cumprod = torch.sigmoid(torch.tensor(3.0)) - torch.sigmoid(6 * s - 3)
    return (1 - alphas_cumprod[1:] / alphas_cumprod[:-1]).clamp(0, 0.999)


def loss_weight(betas: Tensor, objective: str, gamma: float | None) -> Tensor:
    """The weights of the loss, with min-SNR where ``gamma`` is given."""
    alphas_cumprod = torch.cumprod(1 - betas, 0)
    snr = alphas_cumprod / (1 - alphas_cumprod)
    clipped = snr if gamma is None else snr.clamp(max=gamma)
    return clipped / {"epsilon": snr, "sample": 1, "v_prediction": snr + 1}[objective]


def save_trained(
    folder: Path,
    oracle: Oracle,
    weights: Weights,
    given: dict[str, Any] | None,
    *,
    version: str | None = _OWN,
    process: Weights | None = None,
) -> Path:
    """Write ``model-1.pt``, whose averaged weights are ``weights``, and the JSON next to it.

    Args:
        given: the contents of the JSON; None for none.
        version: in the file; by default the oracle's, which versions before 1.0 did not write.
        process: the tables saved with the network; None: those of noise prediction.
    """
    if version == _OWN:
        version = ".".join(map(str, oracle.version)) if oracle.version >= (1,) else None
    if process is None:
        betas = betas_of("linear", 1000)
        process = {"betas": betas, "loss_weight": loss_weight(betas, "epsilon", None)}
    tables = {name: tensor.float() for name, tensor in process.items()}
    network = {f"model.{name}": tensor for name, tensor in weights.items()}
    plain = tables | {name: tensor / 2 for name, tensor in network.items()}
    averaged = {f"ema_model.{name}": tensor for name, tensor in (tables | network).items()}
    online = {f"online_model.{name}": tensor for name, tensor in plain.items()}
    counters = {"initted": torch.tensor(True), "step": torch.tensor(7)}
    content: dict[str, Any] = {
        "step": 7,
        "model": plain,
        "opt": {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 1e-4}]},
        "ema": counters | online | averaged,
        "scaler": None,
    }
    if version is not None:
        content["version"] = version
    folder.mkdir(exist_ok=True)
    file = folder / "model-1.pt"
    torch.save(content, file)
    file.with_suffix(".json").unlink(missing_ok=True)
    if given is not None:
        file.with_suffix(".json").write_text(json.dumps(given))
    return file


def trained(folder: Path, oracle: Oracle, given: dict[str, Any] | None, **how: Any) -> Checkpoint:
    """The checkpoint read from such a file; see ``save_trained``."""
    return read_checkpoint(find_files(save_trained(folder, oracle, oracle.weights(), given, **how)))
