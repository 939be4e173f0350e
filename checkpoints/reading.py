"""Read a checkpoint from disk, check it against its configuration, and build the network."""

import contextlib
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ..networks.base import Network, NetworkConfig
from ..networks.errors import CheckpointError, ConfigError
from ..schedulers.config import SchedulerConfig, modern_options
from ..schedulers.process import Process, merge_options, read_process
from ..unet.config import UNetConfig
from ..unet.unet2d import UNet2D
from .digest import FileDigest
from .files import ModelFiles, read_json, read_pipeline
from .formats import FORMATS, Converted
from .formats.diffusers import in_order
from .formats.early_diffusers import modern_fields
from .optimised_timesteps import with_optimised
from .origin import Origin
from .state_dicts import Found, find_network, is_averaged, name_of
from .tensor_files import read_content, read_metadata
from .tensors import cast, check_shapes, check_values, own_dtype

logger = logging.getLogger(__name__)

# The options of a schedule that replace the betas in a model's file.
_BETA_OPTIONS = {
    *("num_train_timesteps", "beta_schedule", "beta_start", "beta_end", "trained_betas")
}


class _Uninitialised:
    """Layers without random initialisation: the weights come from the file."""

    class Conv2d(nn.Conv2d):
        def reset_parameters(self) -> None: ...

    class Linear(nn.Linear):
        def reset_parameters(self) -> None: ...

    class GroupNorm(nn.GroupNorm):
        def reset_parameters(self) -> None: ...

    class Embedding(nn.Embedding):
        def reset_parameters(self) -> None: ...


AnyNetwork = TypeVar("AnyNetwork", bound=Network)


@dataclass(frozen=True)
class Checkpoint:
    """A configuration and weights that fit it.

    ``scheduler`` has the entries of its ``scheduler_config.json``. Without that file, they come
    from the weights' file or are the usual ones of its format; None if nothing is known.
    """

    config: NetworkConfig
    weights: dict[str, Tensor]
    dtype: torch.dtype
    digest: FileDigest
    scheduler: dict[str, Any] | None = None
    origin: Origin = field(default_factory=Origin)
    network: type[Network] = UNet2D
    optimised_timesteps: Path | None = None

    def read_process(self) -> Process:
        """Return the process that ``scheduler`` describes, with the timesteps found for the model.

        Raises:
            ScheduleError, ConfigError: it cannot be used; the message says why.
        """
        takes_sigmas = self.config.is_variance_exploding
        process = read_process(self.scheduler or {}, takes_sigmas=takes_sigmas)
        if self.optimised_timesteps is None or not isinstance(process, SchedulerConfig):
            return process
        return with_optimised(process, self.optimised_timesteps)

    @property
    def sha256(self) -> str | None:
        """The sha256 of the weights' files, computed on first use; None if one changed before."""
        return self.digest.sha256

    def build(self, network: type[AnyNetwork], operations: Any = _Uninitialised) -> AnyNetwork:
        """Return the network with these tensors (not copies), for inference.

        Args:
            network: ``self.network``, or a subclass.
            operations: the layers; see ``Network``.
        """
        model = network(self.config, operations=operations, dtype=self.dtype, device="meta")
        model.load_state_dict(self.weights, strict=True, assign=True)
        return model.requires_grad_(False).eval()


def read_checkpoint(files: ModelFiles, dtype: torch.dtype | None = None) -> Checkpoint:
    """Read a model of any format and check every tensor.

    Settings that a single file's tensors do not show get the usual values of its format, and are
    reported in a warning and in ``origin``. A JSON file of the same name next to it, or its
    metadata, takes precedence.

    Args:
        files: as from ``find_files``.
        dtype: of the weights; None keeps the file's own.

    Raises:
        ConfigError: the configuration cannot be used, or cannot be inferred.
        CheckpointError: the weights are damaged or of an unknown format; a tensor is missing,
            unexpected, misshapen or not finite (the message names it); or the network does not
            generate pixels from noise alone.
        ScheduleError: the options of a single file's schedule contradict each other.
    """
    pipeline = read_pipeline(files.model_index) if files.model_index else {}
    given = _given_fields(files)
    digest = _digest(files)
    content = read_content(files.tensor_files)
    digest.check_unchanged()
    found = _find_network(content, given, files)
    given |= {"_process": found.process, "_version": _version_of(content)}
    _add_betas(found, given, files)
    weights = found.weights
    # Reading every value is limited by the memory's speed; everything else runs in the meantime.
    with ThreadPoolExecutor(1, "values") as background:
        values = background.submit(check_values, weights, files.weights)
        converted = _convert(found, given, files)
        values.result()
    config, weights = converted.config, converted.weights
    target = dtype or own_dtype(weights)
    weights = cast(weights, target, files.weights)
    scheduler = converted.scheduler
    if files.scheduler_config is not None:
        scheduler = pipeline | read_json(files.scheduler_config)
    elif "scheduler" in given:
        scheduler = merge_options(scheduler or {}, {**converted.stored, **given["scheduler"]})
    elif scheduler is None and pipeline:
        scheduler = pipeline
    origin = _origin(found, converted, given, files)
    return Checkpoint(
        config,
        weights,
        target,
        digest,
        scheduler,
        origin,
        converted.network,
        files.optimised_timesteps,
    )


def _version_of(content: Any) -> str | None:
    """Return the version of the program that saved a file, if it is in the file."""
    version = content.get("version") if isinstance(content, dict) else None
    return version if isinstance(version, str) else None


def _digest(files: ModelFiles) -> FileDigest:
    try:
        return FileDigest(files.weights, *files.shards)
    except OSError as error:
        raise CheckpointError(f"{files.weights} cannot be read: {error.strerror}.") from error


def _given_fields(files: ModelFiles) -> dict[str, Any]:
    """Return the given fields of the model's ``config.json``; for a single file often only a few.

    For a single file, the entry "scheduler" has the given scheduler options.
    """
    if not files.is_single:
        assert files.config is not None
        fields = read_json(files.config)
        if "scheduler" in fields:
            raise ConfigError(
                f"{files.config} has the unknown field 'scheduler'. In a model folder the schedule "
                "belongs in scheduler_config.json."
            )
        return modern_fields({"_class_name": "UNet2DModel", **fields})
    given = modern_fields(read_metadata(files.weights))
    if files.config is not None:
        given |= modern_fields(read_json(files.config))
    if files.scheduler_config is not None:
        given["scheduler"] = merge_options(
            {"num_train_timesteps": 1000}, read_json(files.scheduler_config)
        )
    if not isinstance(given.get("scheduler", {}), dict):
        raise ConfigError(
            f"{files.config}: 'scheduler' must be an object with the contents of a "
            "scheduler_config.json."
        )
    if "scheduler" in given:
        given["scheduler"] = modern_options(given["scheduler"])
    return {**given, "_file_name": files.weights.name}


def _find_network(content: Any, given: dict[str, Any], files: ModelFiles) -> Found:
    """Find the network in the files' contents; everything else is dropped."""

    def tensors() -> dict[str, Tensor]:
        fields = {name: value for name, value in given.items() if name != "scheduler"}
        return in_order(_expected(UNet2D, UNetConfig.from_dict(fields)))

    is_whole = "_class_name" in given or "block_out_channels" in given
    with _add_file_to_errors(files):
        return find_network(content, tensors if is_whole else None)


def _add_betas(found: Found, given: dict[str, Any], files: ModelFiles) -> None:
    """Add the betas saved with the network to the schedule, unless a JSON file defines them."""
    scheduler = given.get("scheduler", {})
    if "betas" not in found.process or files.scheduler_config or _BETA_OPTIONS & scheduler.keys():
        return
    betas = found.process["betas"].tolist()
    table = {"num_train_timesteps": len(betas), "trained_betas": betas}
    given["scheduler"] = {**table, **scheduler}


def _convert(found: Found, given: dict[str, Any], files: ModelFiles) -> Converted:
    """Rename the tensors as in diffusers, check them, and log what was assumed."""
    with _add_file_to_errors(files, found.place):
        converted = FORMATS[found.kind].convert(found.weights, given)
        converted.config.check_unconditional()
        check_shapes(converted.weights, _expected(converted.network, converted.config))
    if converted.assumed or (converted.scheduler and files.scheduler_config is None):
        schedule = "" if "scheduler" in given else f" Schedule: {converted.scheduler}."
        logger.warning(
            "%s was read as %s. Not everything can be inferred from its tensors; assumed: %s.%s To "
            "change this, write the fields into %s (those of the schedule into its entry "
            "'scheduler').",
            files.weights.name,
            found.kind,
            converted.assumed,
            schedule,
            files.weights.with_suffix(".json").name,
        )
    return converted


@contextlib.contextmanager
def _add_file_to_errors(files: ModelFiles, place: tuple[str, ...] = ()) -> Iterator[None]:
    """Add the file, the place in it, and the JSON file that can help to error messages."""
    try:
        yield
    except ConfigError as error:
        if not files.is_single:
            raise
        text = str(error)
        hint = " Fields that cannot be inferred can be written" if text.endswith(".") else ""
        json_file = files.weights.with_suffix(".json")
        raise ConfigError(f"{files.weights}: {text}{hint} into {json_file}.") from error
    except CheckpointError as error:
        within = f", in {name_of(place)}" if place else ""
        raise CheckpointError(f"{files.weights}{within}: {error}") from error


def _origin(found: Found, converted: Converted, given: dict[str, Any], files: ModelFiles) -> Origin:
    schedule = converted.scheduler
    if files.scheduler_config is not None:
        schedule = {}
    elif schedule is None:
        usual = read_process({}, takes_sigmas=converted.config.is_variance_exploding)
        schedule = {} if "scheduler" in given else usual.to_dict()
    elif "scheduler" in given:
        schedule = merge_options(schedule, given["scheduler"])
    written = given.get("scheduler", {}).keys() | converted.stored.keys()
    if "trained_betas" in written:  # they override the options that define betas
        written |= {"beta_schedule", "beta_start", "beta_end"}
    return Origin(
        files,
        found.kind,
        name_of(found.place) if found.place else "",
        _is_averaged(found, given, files),
        converted.assumed,
        {name: value for name, value in schedule.items() if name not in written},
    )


def _is_averaged(found: Found, given: dict[str, Any], files: ModelFiles) -> bool | None:
    """Whether the weights are averaged, by their place, their file's name, or the configuration."""
    if found.averaged is not None:
        return found.averaged
    # diffusers' EMAModel writes its settings into the configuration.
    if not files.is_single and (
        files.weights.parent.name == "unet_ema" or "update_after_step" in given
    ):
        return True
    return is_averaged(files.weights.name)


def _expected(network: type[Network], config: NetworkConfig) -> dict[str, Tensor]:
    """Return the network's tensors, without contents."""
    blank = network(config, operations=_Uninitialised, device="meta")
    return blank.state_dict(keep_vars=True)  # detaching the first tensor would take 50 ms
