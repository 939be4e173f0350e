"""A checkpoint on disk becomes a network: read, checked against its configuration, assigned."""

import contextlib
import logging
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ..schedulers.config import SchedulerConfig, modern_options
from ..unet.config import UNetConfig
from ..unet.errors import CheckpointError, ConfigError, shown
from ..unet.unet2d import UNet2D
from .digest import FileDigest
from .files import ModelFiles, read_json, read_pipeline
from .formats import FORMATS, Converted
from .formats.diffusers import in_order
from .formats.early_diffusers import modern_fields
from .origin import Origin
from .state_dicts import Found, find_network, is_averaged, name_of
from .tensor_files import read_content, read_metadata

logger = logging.getLogger(__name__)

DTYPES = (torch.float32, torch.float16, torch.bfloat16)


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
    """A configuration and weights that fit it.

    The ``weights`` may be mapped to the file, and change with it.

    ``scheduler`` holds the entries of its ``scheduler_config.json``; where there is none, those
    that come with the weights' file or are usual for its format; None where nothing is known.
    """

    config: UNetConfig
    weights: dict[str, Tensor]
    dtype: torch.dtype
    digest: FileDigest
    scheduler: dict[str, Any] | None = None
    origin: Origin = field(default_factory=Origin)

    @property
    def sha256(self) -> str | None:
        """That of the weights' files, hashed on first use; None if one changed before that."""
        return self.digest.sha256

    def build(self, network: type[Network], operations: Any = _Uninitialised) -> Network:
        """Return the network with these very tensors in it, for inference."""
        model = network(self.config, operations=operations, dtype=self.dtype, device="meta")
        model.load_state_dict(self.weights, strict=True, assign=True)
        return model.requires_grad_(False).eval()


def read_checkpoint(files: ModelFiles, dtype: torch.dtype | None = None) -> Checkpoint:
    """Read a model of any format and check every tensor.

    What a single file's tensors do not tell is taken as usual for its format, and said in a
    warning and in ``origin``; a JSON file of the same name beside it, or its metadata, wins.

    Args:
        files: as from ``find_files``.
        dtype: of the weights; None keeps the file's own.

    Raises:
        ConfigError: the configuration cannot be used, or cannot be known.
        CheckpointError: the weights are damaged or of an unknown format, or a tensor is missing,
            extra, misshapen or not finite; the message names it. Or the network does not draw
            pixels from noise alone.
        ScheduleError: the options of a single file's schedule contradict each other.
    """
    pipeline = read_pipeline(files.model_index) if files.model_index else {}
    told = _told(files)
    digest = _digest(files)
    content = read_content(files.tensor_files)
    digest.check_unchanged()
    found = _find_network(content, told, files)
    if found.betas is not None and "scheduler" not in told and files.scheduler_config is None:
        told["scheduler"] = {
            "num_train_timesteps": len(found.betas),
            "trained_betas": found.betas.tolist(),
        }
    weights = found.weights
    # Reading every value takes as long as the machine's memory takes; all else fits into that.
    with ThreadPoolExecutor(1, "values") as beside:
        values = beside.submit(_check_values, weights, files.weights)
        converted = _convert(found, told, files)
        values.result()
    config, weights = converted.config, converted.weights
    target = dtype or _own_dtype(weights)
    weights = _cast(weights, target, files.weights)
    scheduler = converted.scheduler
    if files.scheduler_config is not None:
        scheduler = pipeline | read_json(files.scheduler_config)
    elif "scheduler" in told:
        scheduler = {**(scheduler or {}), **told["scheduler"]}
    elif scheduler is None and pipeline:
        scheduler = pipeline
    origin = _origin(found, converted, told, files)
    return Checkpoint(config, weights, target, digest, scheduler, origin)


def _digest(files: ModelFiles) -> FileDigest:
    try:
        return FileDigest(files.weights, *files.shards)
    except OSError as error:
        raise CheckpointError(f"{files.weights} cannot be read: {error.strerror}.") from error


def _told(files: ModelFiles) -> dict[str, Any]:
    """What is written about the model: the fields of its ``config.json``, or a few of them.

    For a single file the entry "scheduler" is what is known of its schedule.
    """
    if not files.is_single:
        assert files.config is not None
        fields = read_json(files.config)
        if "scheduler" in fields:
            raise ConfigError(
                f"{files.config} has the unknown field 'scheduler'; in a model folder the schedule "
                "stands in scheduler_config.json."
            )
        return modern_fields({"_class_name": "UNet2DModel", **fields})
    told = modern_fields(read_metadata(files.weights))
    if files.config is not None:
        told |= modern_fields(read_json(files.config))
    if files.scheduler_config is not None:
        told["scheduler"] = {"num_train_timesteps": 1000, **read_json(files.scheduler_config)}
    if not isinstance(told.get("scheduler", {}), dict):
        raise ConfigError(f"{files.config}: 'scheduler' must hold a scheduler_config.json.")
    if "scheduler" in told:
        told["scheduler"] = modern_options(told["scheduler"])
    return {**told, "_file_name": files.weights.name}


def _find_network(content: Any, told: dict[str, Any], files: ModelFiles) -> Found:
    """Find the network in what the files hold; whatever else they hold is dropped."""

    def tensors() -> dict[str, Tensor]:
        fields = {name: value for name, value in told.items() if name != "scheduler"}
        return in_order(_expected(UNetConfig.from_dict(fields)))

    is_whole = "_class_name" in told or "block_out_channels" in told
    with _errors_that_name(files):
        return find_network(content, tensors if is_whole else None)


def _convert(found: Found, told: dict[str, Any], files: ModelFiles) -> Converted:
    """Bring the tensors into diffusers' names, check them, and say what was assumed."""
    with _errors_that_name(files, found.place):
        converted = FORMATS[found.kind].convert(found.weights, told)
        converted.config.check_unconditional()
        _check_shapes(converted.weights, _expected(converted.config))
    if converted.assumed or (converted.scheduler and files.scheduler_config is None):
        schedule = "" if "scheduler" in told else f" The schedule: {converted.scheduler}."
        logger.warning(
            "%s was read as %s. Its tensors do not tell everything; assumed: %s.%s To change "
            "this, write the fields into %s (the schedule's into its entry 'scheduler').",
            files.weights.name,
            found.kind,
            converted.assumed,
            schedule,
            files.weights.with_suffix(".json").name,
        )
    return converted


@contextlib.contextmanager
def _errors_that_name(files: ModelFiles, place: tuple[str, ...] = ()) -> Iterator[None]:
    """Let an error say which file it is about, where in it, and which JSON file can help."""
    try:
        yield
    except ConfigError as error:
        if not files.is_single:
            raise
        text = str(error)
        hint = " What the tensors do not tell can be written" if text.endswith(".") else ""
        json_file = files.weights.with_suffix(".json")
        raise ConfigError(f"{files.weights}: {text}{hint} into {json_file}.") from error
    except CheckpointError as error:
        within = f", in {name_of(place)}" if place else ""
        raise CheckpointError(f"{files.weights}{within}: {error}") from error


def _origin(found: Found, converted: Converted, told: dict[str, Any], files: ModelFiles) -> Origin:
    schedule = converted.scheduler
    if files.scheduler_config is not None:
        schedule = {}
    elif schedule is None:
        schedule = {} if "scheduler" in told else SchedulerConfig().to_dict()
    written = set(told.get("scheduler", {}))
    if "trained_betas" in written:  # which win over all that would make betas
        written |= {"beta_schedule", "beta_start", "beta_end"}
    return Origin(
        files,
        found.kind,
        name_of(found.place) if found.place else "",
        _is_averaged(found, told, files),
        converted.assumed,
        {name: value for name, value in schedule.items() if name not in written},
    )


def _is_averaged(found: Found, told: dict[str, Any], files: ModelFiles) -> bool | None:
    """Whether the weights are averaged, by where they are or what programs write beside them."""
    if found.averaged is not None:
        return found.averaged
    # Into its configuration diffusers' EMAModel writes how it averages.
    if not files.is_single and (
        files.weights.parent.name == "unet_ema" or "update_after_step" in told
    ):
        return True
    return is_averaged(files.weights.name)


def _expected(config: UNetConfig) -> dict[str, Tensor]:
    """The network's tensors, without their contents."""
    blank = UNet2D(config, operations=_Uninitialised, device="meta")
    return blank.state_dict(keep_vars=True)  # detaching a first tensor here takes 50 ms


def _check_shapes(weights: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
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
            f"It does not fit its configuration. Tensors {'; '.join(found)}. "
            "Weights and configuration must come from the same model."
        )


def _check_values(weights: dict[str, Tensor], path: Path) -> None:
    for name, tensor in weights.items():
        if not tensor.is_floating_point():
            raise CheckpointError(
                f"{path}: {shown(name)} holds {tensor.dtype}, not floating-point numbers; "
                "quantised weights cannot be loaded."
            )
        if not _is_finite(tensor):
            raise CheckpointError(
                f"{path}: {shown(name)} contains NaN or infinite values. The model is broken "
                "(training may have diverged); use another checkpoint."
            )


def _is_finite(tensor: Tensor) -> bool:
    # The sum needs no copy of the tensor, but may itself overflow.
    return bool(torch.isfinite(tensor.sum(dtype=torch.float32)) or tensor.isfinite().all())


def _cast(weights: dict[str, Tensor], dtype: torch.dtype, path: Path) -> dict[str, Tensor]:
    """Return the tensors in ``dtype``; one whose values it cannot hold is an error."""
    cast = {name: tensor.to(dtype) for name, tensor in weights.items()}
    largest = torch.finfo(dtype).max
    for name, tensor in cast.items():
        if torch.finfo(weights[name].dtype).max > largest and not _is_finite(tensor):
            raise CheckpointError(
                f"{path}: {shown(name)} holds values up to {weights[name].abs().max().item():.3g}, "
                f"which become infinite in {str(dtype).removeprefix('torch.')} (its largest number "
                f"is {largest:.6g}). "
                + (
                    "Choose dtype float32 or bfloat16 in the loader."
                    if dtype == torch.float16
                    else "The model is broken (training may have diverged); use another checkpoint."
                )
            )
    return cast


def _own_dtype(weights: dict[str, Tensor]) -> torch.dtype:
    """The dtype that all tensors share, where it is one to compute with; else float32."""
    dtypes = {tensor.dtype for tensor in weights.values()}
    dtype = dtypes.pop()
    return dtype if not dtypes and dtype in DTYPES else torch.float32


def _some(names: Iterable[str], limit: int = 4) -> str:
    names = list(names)
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(shown(name) for name in names[:limit]) + more
