"""lucidrains/denoising-diffusion-pytorch, as its Trainer saves it (``model-7.pt``).

Since version 1.9 names and shapes determine the whole network. Earlier versions computed different
things from the same tensors; since 1.0 the file has the version. The betas are saved next to the
network, and the weights of the loss show what it predicts.
"""

import re
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from ...lucidrains.config import CLASS_NAME, LucidrainsConfig
from ...lucidrains.network import LucidrainsUNet
from ...networks.errors import CheckpointError, ConfigError
from .conversion import Converted, Weights, count, rename, shape_of

CLASS_NAMES = (CLASS_NAME,)

# The package's own example; files do not have it.
_SIZE = 128
_HEADS, _HEAD_WIDTH = 4, 32
_GROUPS = 8

# Fields of the JSON that are not part of the configuration.
_EXTRAS = ("scheduler", "version")

Version = tuple[int, ...]

# The first versions in which: attention is no longer a cosine similarity; downsampling is a pixel
# unshuffle; the attention's norm is RMSNorm, not layer norm; the variance of standardised weights
# has a minimum, not an addend; weights are not standardised; values are not averaged.
_USUAL_ATTENTION: Version = (0, 28)
_UNSHUFFLE: Version = (0, 32)
_RMS_NORM: Version = (1, 7)
_CLAMPED_VARIANCE: Version = (1, 7, 1)
_PLAIN_WEIGHTS: Version = (1, 7, 2)
_PLAIN_VALUES: Version = (1, 7, 4)
# The most common version whose attention has the old names.
_OLD = "1.6.4"


def matches(names: Iterable[str]) -> bool:
    """Whether the tensors have the names of the package's ``Unet``."""
    return {
        "init_conv.weight",
        "time_mlp.1.weight",
        "downs.0.0.block1.proj.weight",
        "final_conv.weight",
    } <= set(names)


def convert(weights: Weights, given: dict[str, Any]) -> Converted:
    """Give the attention its newest names, and infer the configuration from the shapes.

    Raises:
        ConfigError: the diffusion process is not known to be that of GaussianDiffusion, or the
            version is needed and unknown.
        CheckpointError: a tensor is missing, the version is too old, or the process is another.
    """
    fields = {name: value for name, value in given.items() if name not in _EXTRAS}
    if "_class_name" in given:  # a folder, saved by this pack
        return Converted(LucidrainsConfig.from_dict(fields), weights, network=LucidrainsUNet)
    process: Weights = given.get("_process", {})
    _check_process(weights, given)
    modern = rename(weights, lambda name: re.sub(r"\.fn\.(?:fn\.)?", ".", name))
    has_old_names = modern.keys() != weights.keys()
    inferred = _infer(modern)
    levels = len(inferred["block_out_channels"])
    assumed: dict[str, Any] = {"sample_size": max(_SIZE, 2 ** (levels - 1))}

    version = _version(given, process)
    if inferred["strided_downsampling"]:
        _check_strided(version)
    if has_old_names:
        if version is None:
            assumed["version"], version = _OLD, _parsed(_OLD)
        inferred["attention_norm"] = "layer" if version < _RMS_NORM else "rms"
        inferred["averages_values"] = version < _PLAIN_VALUES
        if version < _PLAIN_WEIGHTS:
            clamps = version >= _CLAMPED_VARIANCE
            modern = {name: _standardised(name, tensor, clamps) for name, tensor in modern.items()}
    else:
        assumed["sinusoidal_pos_emb_theta"] = 10000
    if "downs.0.0.block1.norm.weight" in modern:
        assumed["resnet_block_groups"] = _GROUPS
    if not inferred["num_mem_kv"]:
        heads, inferred["attn_dim_head"] = _heads(modern, levels, fields.pop("attn_heads", None))
        inferred["attn_heads"] = heads
        if not has_old_names and "attn_heads" not in given:
            assumed["attn_heads"] = list(heads)

    left = {name: value for name, value in assumed.items() if name not in given}
    own = {name: value for name, value in assumed.items() if name != "version"}
    config = LucidrainsConfig.from_dict({**inferred, **own, **fields})
    is_learned = config.out_channels == 2 * config.in_channels
    prediction = "epsilon" if is_learned else _prediction(process)
    stored = {"variance_type": "learned_range"} if is_learned else {}
    if prediction is not None:
        stored["prediction_type"] = prediction
    usual = {} if prediction is not None else {"prediction_type": "epsilon"}
    return Converted(config, modern, usual, left, stored, LucidrainsUNet)


def _check_process(weights: Weights, given: dict[str, Any]) -> None:
    """Raise unless the process is GaussianDiffusion's, or the user says so."""
    if "time_mlp.0.weights" in weights:
        raise CheckpointError(
            "The network has learned or random Fourier features of the time. In this package, "
            "only the continuous-time and elucidated (EDM) classes use them, whose diffusion "
            "process is not DDPM's, so it cannot be loaded. Use the package itself."
        )
    scheduler = given.get("scheduler")
    if scheduler is None:
        raise ConfigError(
            "The file has no betas for the network. In this package, only GaussianDiffusion saves "
            "them; the continuous-time and elucidated (EDM) classes, whose diffusion process is "
            "not DDPM's, do not. If it was trained by GaussianDiffusion, write its schedule, for "
            'example {"scheduler": {"beta_schedule": "squaredcos_cap_v2", "prediction_type": '
            '"v_prediction"}},'
        )
    if scheduler.get("beta_schedule") == "sigmoid" and "trained_betas" not in scheduler:
        raise ConfigError(
            "The package's sigmoid schedule is not the one that diffusers calls 'sigmoid'. "
            "Write the betas themselves as 'trained_betas'"
        )


def _version(given: dict[str, Any], process: Weights) -> Version | None:
    """Return the package's version from the JSON or else the file; None if unknown."""
    version = given.get("version")
    if version is not None:
        if not isinstance(version, str) or not re.fullmatch(r"\d+(\.\d+)*", version):
            raise ConfigError(
                f"'version' must be a version of the package like \"1.6.4\", not {version!r:.50}. "
                "Write another one"
            )
        return _parsed(version)
    if match := re.match(r"\d+(\.\d+)*", str(given.get("_version", ""))):
        return _parsed(match[0])
    # Between 0.32 and 1.5 nothing changed in the network, and only these weighted their loss so.
    return (1, 0) if "p2_loss_weight" in process else None


def _parsed(version: str) -> Version:
    return tuple(int(number) for number in version.split("."))


def _check_strided(version: Version | None) -> None:
    """Raise unless the version of a network that downsamples by strided convolutions is known."""
    if version is None or version >= _UNSHUFFLE:
        raise ConfigError(
            "The network downsamples by strided convolutions, so the package's version is before "
            "0.32, but the file does not say which. Up to 0.27, the same tensors belong to another "
            'attention. If it is 0.28 or newer, write {"version": "0.31.1"}'
        )
    if version < _USUAL_ATTENTION:
        raise CheckpointError(
            f"Version {'.'.join(map(str, version))} of lucidrains/denoising-diffusion-pytorch is "
            "not supported: before 0.28, attention compared directions. Use the package itself."
        )


def _infer(weights: Weights) -> dict[str, Any]:
    """Return the fields that can be inferred from names and shapes."""
    levels = range(count(weights, "downs."))
    outputs = shape_of(weights, "final_conv.weight", 4)[0]
    inputs = shape_of(weights, "init_conv.weight", 4)[1]
    is_conditioned = inputs == 2 * outputs
    is_full = tuple(f"downs.{i}.2.to_out.weight" in weights for i in levels)
    convs = [f"downs.{i}.3.1.weight" for i in levels]
    convs = [name if name in weights else name.replace(".3.1.", ".3.") for name in convs]
    shapes = [shape_of(weights, name, 4) for name in convs]
    inferred: dict[str, Any] = {
        "self_condition": is_conditioned,
        "in_channels": outputs if is_conditioned else inputs,
        "out_channels": outputs,
        "dim": shape_of(weights, "time_mlp.1.weight", 2)[1],
        "init_dim": shape_of(weights, "init_conv.weight", 4)[0],
        "block_out_channels": tuple(shape[0] for shape in shapes),
        "full_attn": is_full,
        "num_mem_kv": 0,
        "strided_downsampling": shapes[0][2:] == (4, 4),
    }
    if "downs.0.2.mem_kv" in weights:
        # (2, heads, count, width) in full attention, (2, heads, width, count) in linear attention.
        memory = [shape_of(weights, f"downs.{i}.2.mem_kv", 4) for i in levels]
        inferred["attn_heads"] = tuple(shape[1] for shape in memory)
        pairs = list(zip(memory, is_full, strict=True))
        inferred["attn_dim_head"] = tuple(shape[3 if full else 2] for shape, full in pairs)
        inferred["num_mem_kv"] = memory[0][2 if is_full[0] else 3]
    return inferred


def _heads(weights: Weights, levels: int, given: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the heads of each level and their widths; ``given`` is the number in the JSON."""
    inner = [shape_of(weights, f"downs.{i}.2.to_qkv.weight", 4)[0] // 3 for i in range(levels)]
    usual = all(width == _HEADS * _HEAD_WIDTH for width in inner)
    heads = given if given is not None or not usual else _HEADS
    heads = [heads] * levels if isinstance(heads, int) else heads
    if (
        not isinstance(heads, list | tuple)
        or len(heads) != levels
        or any(type(h) is not int or h < 1 or w % h for h, w in zip(heads, inner, strict=True))
    ):
        raise ConfigError(
            f"The attention has {inner} channels on its levels, and the number of heads is "
            f"{'unknown' if given is None else f'not {given!r:.50}'}. Write the number of heads, "
            'for example {"attn_heads": 4}'
        )
    return tuple(heads), tuple(w // h for h, w in zip(heads, inner, strict=True))


def _standardised(name: str, tensor: Tensor, clamps: bool) -> Tensor:
    """Return the weights that a weight-standardised convolution (Qiao et al. 2019) uses."""
    if not re.search(r"\.block\d\.proj\.weight$", name) or tensor.ndim != 4:
        return tensor
    wide = tensor.float()
    variance, mean = torch.var_mean(wide, dim=(1, 2, 3), correction=0, keepdim=True)
    variance = variance.clamp(min=1e-5) if clamps else variance + 1e-5
    return ((wide - mean) * variance.rsqrt()).to(tensor.dtype)


def _prediction(process: Weights) -> str | None:
    """Return what the network predicts, judging by the weights of its loss; None if unclear.

    With s the signal-to-noise ratio, or min(s, c) for min-SNR weighting (Hang et al. 2023), the
    loss is weighted by s for the image, s / snr for the noise and s / (snr + 1) for v.
    """
    if not {"betas", "loss_weight"} <= process.keys():
        return None
    alphas_cumprod = torch.cumprod(1 - process["betas"].double(), dim=0)
    snr, weight = alphas_cumprod / (1 - alphas_cumprod), process["loss_weight"].double()
    # At the last step of a short linear schedule snr is 0, and s / snr is not a number.
    meaningful = snr.isfinite() & weight.isfinite() & (snr > 0)
    snr, weight = snr[meaningful], weight[meaningful]
    if not len(snr):
        return None
    found = []
    for kind, factor in (("sample", 1), ("epsilon", snr), ("v_prediction", snr + 1)):
        s = weight * factor
        if torch.allclose(s, snr.clamp(max=s.max().item()), rtol=1e-3, atol=1e-9):
            found.append(kind)
    return found[0] if len(found) == 1 else None
