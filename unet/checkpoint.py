"""A checkpoint on disk becomes a network: read, checked against its configuration, assigned."""

import pickle
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from .config import UNetConfig
from .digest import FileDigest
from .errors import CheckpointError, shown
from .files import ModelFiles, read_json
from .unet2d import UNet2D

DTYPES = (torch.float32, torch.float16, torch.bfloat16)

# Names that diffusers gave to the attention layers until 0.15; google/ddpm-* has them.
_LEGACY_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
_LEGACY = re.compile(rf"(attentions\.\d+)\.({'|'.join(_LEGACY_NAMES)})\.")


class _Uninitialised:
    """Layers that draw no random weights: those of the file take their place."""

    class Conv2d(nn.Conv2d):
        def reset_parameters(self) -> None: ...

    class Linear(nn.Linear):
        def reset_parameters(self) -> None: ...

    class GroupNorm(nn.GroupNorm):
        def reset_parameters(self) -> None: ...

    class Embedding(nn.Embedding):
        def reset_parameters(self) -> None: ...


Network = TypeVar("Network", bound=UNet2D)


@dataclass(frozen=True)
class Checkpoint:
    """A configuration and weights that fit it."""

    config: UNetConfig
    weights: dict[str, Tensor]
    dtype: torch.dtype
    digest: FileDigest

    @property
    def sha256(self) -> str:
        """That of the weights' file; it may have to be waited for."""
        return self.digest.sha256

    def build(self, network: type[Network], operations: Any = _Uninitialised) -> Network:
        """Return the network with these very tensors in it, for inference."""
        model = network(self.config, operations=operations, dtype=self.dtype, device="meta")
        model.load_state_dict(self.weights, strict=True, assign=True)
        return model.requires_grad_(False).eval()


def read_checkpoint(files: ModelFiles, dtype: torch.dtype | None = None) -> Checkpoint:
    """Read a model and check every tensor.

    Args:
        files: as from ``find_files``.
        dtype: of the weights; None keeps the file's own.

    Raises:
        ConfigError: the configuration cannot be used.
        CheckpointError: the weights are damaged, or a tensor is missing, extra, misshapen or not
            finite; the message names it.
    """
    config = UNetConfig.from_dict(read_json(files.config))
    digest = _digest(files.weights)
    weights = _modern_names(_read_tensors(files.weights))
    digest.check_unchanged()
    _check_shapes(weights, _expected(config), files.weights)
    _check_values(weights, files.weights)
    target = dtype or _own_dtype(weights)
    weights = {name: tensor.to(target) for name, tensor in weights.items()}
    digest.start()
    return Checkpoint(config, weights, target, digest)


def _digest(path: Path) -> FileDigest:
    try:
        return FileDigest(path)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}.") from error


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path} is not a readable safetensors file ({error!s:.200}). It may be a partial "
            "download, or a Git LFS pointer; download it again."
        ) from error
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} was not opened: it is damaged, or holds code beside tensors, which could do "
            "anything to this machine. Convert it to safetensors where you trust it."
        ) from error
    except Exception as error:  # torch raises many types on a damaged archive
        raise CheckpointError(
            f"{path} cannot be read ({type(error).__name__}: {error!s:.200}). It may be a partial "
            "download; download it again."
        ) from error
    if not isinstance(content, dict) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in content.items()
    ):
        raise CheckpointError(f"{path} does not hold a plain list of named tensors.")
    return content


def _modern_names(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    def modern(name: str) -> str:
        return _LEGACY.sub(lambda match: f"{match[1]}.{_LEGACY_NAMES[match[2]]}.", name)

    return {modern(name): tensor for name, tensor in weights.items()}


def _expected(config: UNetConfig) -> dict[str, Tensor]:
    return UNet2D(config, operations=_Uninitialised, device="meta").state_dict()


def _check_shapes(weights: dict[str, Tensor], expected: dict[str, Tensor], path: Path) -> None:
    problems = {
        "missing": sorted(expected.keys() - weights.keys()),
        "not part of this configuration": sorted(weights.keys() - expected.keys()),
        "of another shape": [
            f"{name} is {tuple(weights[name].shape)} in the file and {tuple(tensor.shape)} by "
            "the configuration"
            for name, tensor in expected.items()
            if name in weights and weights[name].shape != tensor.shape
        ],
    }
    found = [f"{what}: {_some(names)}" for what, names in problems.items() if names]
    if found:
        raise CheckpointError(
            f"{path} does not fit its config.json. Tensors {'; '.join(found)}. "
            "Weights and configuration must come from the same model."
        )


def _check_values(weights: dict[str, Tensor], path: Path) -> None:
    for name, tensor in weights.items():
        if not tensor.is_floating_point():
            raise CheckpointError(
                f"{path}: {shown(name)} holds {tensor.dtype}, not floating-point numbers; "
                "quantised weights cannot be loaded."
            )
        # The sum needs no copy of the tensor, but may itself overflow.
        if not torch.isfinite(tensor.sum(dtype=torch.float32)) and not tensor.isfinite().all():
            raise CheckpointError(
                f"{path}: {shown(name)} contains NaN or infinite values. The model is broken "
                "(training may have diverged); use another checkpoint."
            )


def _own_dtype(weights: dict[str, Tensor]) -> torch.dtype:
    """The dtype that all tensors share, where it is one to compute with; else float32."""
    dtypes = {tensor.dtype for tensor in weights.values()}
    dtype = dtypes.pop()
    return dtype if not dtypes and dtype in DTYPES else torch.float32


def _some(names: Iterable[str], limit: int = 4) -> str:
    names = list(names)
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(shown(name) for name in names[:limit]) + more
