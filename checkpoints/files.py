"""Finds the files of a model by their layout and names alone, and reads JSON files.

A model is a diffusers folder or a single file of weights. In addition to the plain weights, a
folder may have variants (``diffusion_pytorch_model.fp16.safetensors``); a variant of a model is
written ``name@variant``.
"""

import json
import logging
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..networks.errors import CheckpointError, ConfigError, shown
from .formats import CLASS_NAMES

logger = logging.getLogger(__name__)

CONFIG = "config.json"
WEIGHTS = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")
SCHEDULER_CONFIG = "scheduler_config.json"
OPTIMISED_TIMESTEPS = "optimised_timesteps.json"
MODEL_INDEX = "model_index.json"
SINGLE_FILES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")
"""The suffixes of single files that may be a whole model."""

# EDM and StyleGAN publish pickled Python objects in these.
_CODE = (".pkl", ".pickle")

# A configuration has a few kilobytes; one with a million trained betas stays below this limit.
_LARGEST_JSON = 32 * 2**20

_MAX_SHARDS = 1000
_SHARD = re.compile(r"-\d{5}-of-\d{5}")
_WEIGHTS = re.compile(
    r"diffusion_pytorch_model(?:\.(?P<before>[A-Za-z0-9_-]+))?\.(?P<kind>safetensors|bin)"
    r"(?P<index>\.index(?:\.(?P<after>[A-Za-z0-9_-]+))?\.json)?"
)
# Parts of a pipeline, by name or class, that show that it is conditional or not in pixel space.
_OTHER_PARTS = {
    "works on the latents of an autoencoder, not on pixels (latent diffusion)": re.compile(
        r"(vae|vqvae|vq_?gan|movq|autoencoder|first_stage)(_.*)?|.*(Autoencoder|VQModel|VAE).*"
    ),
    "generates images from text": re.compile(
        r"(text_|tokenizer|bert|prior|caption).*|.*(TextModel|Tokenizer|T5Encoder|Bert).*"
    ),
    "edits or upscales an image": re.compile(
        r"(image_encoder|image_normalizer|low_res_scheduler|super_res).*"
    ),
}
_TRAINING_CHECKPOINT = re.compile(r"checkpoint-\d+")

# What training programs save along with the network, and adapters. A name that merely contains
# such a word does not match: net-and-optimizer.pt has a network in it.
_TRAINING_STATE = re.compile(
    r"(?:opt|optim(?:izer)?(?:_states?)?|(?:lr_?)?scheduler|(?:grad_?)?scaler|sampler"
    r"|dl_state_dict|random_states?|rng_states?|training_args|trainer_state|.*_optim_states"
    r"|pytorch_lora_weights|adapter_model|learned_embeds)"
    r"(?:[._-]?\d+)*",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class ModelFiles:
    """The files of one model; ``config`` and ``scheduler_config`` are None if there is none.

    ``weights`` is the file with the tensors or, if ``shards`` is not empty, their index. A folder
    always has a ``config``; for a single file it may consist of one field.
    """

    config: Path | None
    weights: Path
    scheduler_config: Path | None
    shards: tuple[Path, ...] = ()
    is_single: bool = False
    model_index: Path | None = None
    """The index of the pipeline that the network is part of."""
    optimised_timesteps: Path | None = None
    """The timesteps found for the model."""

    @property
    def tensor_files(self) -> tuple[Path, ...]:
        """The files that hold the tensors."""
        return self.shards or (self.weights,)

    @property
    def fingerprint(self) -> str:
        """Changes when a file does: the size, times and inode of each.

        Unlike the modification time, the change time cannot be set back.
        """
        schedule = (self.scheduler_config, self.optimised_timesteps)
        present = [path for path in (self.config, self.weights, *schedule) if path]
        present += self.shards
        return ", ".join(map(fingerprint, present))


def fingerprint(path: Path) -> str:
    """Return a text that changes when a file does: its size, times and inode."""
    stat = path.stat()
    return f"{path.name} {stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns} {stat.st_ino}"


@lru_cache  # log each only once
def warn_unreadable(path: Path, reason: str | None) -> None:
    """Log a warning that a folder or file is left out of the list of models."""
    logger.warning("%s cannot be read, so it is not listed: %s", path, reason)


def is_model_folder(folder: Path) -> bool:
    """Whether a folder has a network's configuration, at its root or in ``unet/``."""
    return _has_config(folder) or _has_config(folder / "unet")


def is_foreign(folder: Path) -> bool:
    """Whether a folder is a model of another kind.

    Either it is a pipeline without a network that could be loaded here, or its network is of
    another class (Stable Diffusion's UNet2DConditionModel, a VAE).
    """
    networks = network_folders(folder).values()
    if not networks:
        return (folder / MODEL_INDEX).is_file()
    return not any(_could_be_ours(network / CONFIG) for network in networks)


def is_training_checkpoint(folder: Path) -> bool:
    """Whether this is the name of a checkpoint folder from diffusers' training scripts."""
    return _TRAINING_CHECKPOINT.fullmatch(folder.name) is not None


def is_single_file(path: Path) -> bool:
    """Whether a file may be a whole model, by its name alone; shards are not."""
    return path.suffix.lower() in SINGLE_FILES and not _SHARD.search(path.name)


def is_training_state(path: Path) -> bool:
    """Whether this is the name of an optimizer state or similar, saved along with a network."""
    return _TRAINING_STATE.fullmatch(path.stem) is not None


def network_folders(folder: Path) -> dict[str, Path]:
    """Return the networks of a model folder by the suffix of their names ("" or "/unet", …).

    A pipeline's own entry is its ``unet/``, and ``/unet_ema`` is another entry. In a training
    checkpoint both have a suffix.
    """
    found: dict[str, Path] = {}
    if _has_config(folder / "unet"):
        found["/unet" if is_training_checkpoint(folder) else ""] = folder / "unet"
    elif _has_config(folder):
        found[""] = folder
    if _has_config(folder / "unet_ema"):
        found["/unet_ema"] = folder / "unet_ema"
    return found


def find_variants(network: Path) -> list[str]:
    """Return the names of the variants of a network's weights; "" is the plain one.

    Without any weights the result is also [""]: loading the model reports what is missing.
    """
    return sorted(_weights(network)) or [""]


def find_files(path: Path, variant: str = "") -> ModelFiles:
    """Find the files of a model.

    A folder may have everything at its root (google/ddpm-*), or ``unet/`` and ``scheduler/``
    (diffusers' ``train_unconditional.py``), or be such a ``unet/`` or ``unet_ema/`` itself.
    safetensors are preferred to ``.bin``, and one file to shards. A single file ``x.pt`` may have
    ``x.json`` and ``scheduler_config.json`` next to it.

    Args:
        path: a folder or a file.
        variant: of a folder's weights; "" for the plain ones.

    Raises:
        CheckpointError: the folder, its configuration, its weights or a shard are missing, the
            index of the shards names anything but a file next to it, or the file is of a kind that
            is never opened.
    """
    if not path.is_dir():
        check_not_code(str(path))
    if path.is_file():
        config, scheduler = path.with_suffix(".json"), path.with_name(SCHEDULER_CONFIG)
        return ModelFiles(_existing(config), path, _existing(scheduler), is_single=True)
    if not path.is_dir():
        raise CheckpointError(f"The folder {path} does not exist.")
    if (path / "unet" / CONFIG).is_file():
        network = path / "unet"
    elif (path / CONFIG).is_file():
        network = path
    else:
        raise CheckpointError(
            f"{path} is not a model folder: it has no {CONFIG} and no unet/{CONFIG}. "
            "Download the whole repository, not just the weights."
        )
    weights = _weights(network).get(variant)
    if weights is None:
        raise CheckpointError(_missing_weights(network, variant))
    indices = (home / MODEL_INDEX for home in _homes(network))
    scheduler = _scheduler_config(network)
    return ModelFiles(
        network / CONFIG,
        weights,
        scheduler,
        _shards(weights) if weights.suffix == ".json" else (),
        model_index=next((index for index in indices if index.is_file()), None),
        optimised_timesteps=scheduler and _existing(scheduler.with_name(OPTIMISED_TIMESTEPS)),
    )


def check_not_code(name: str) -> None:
    """Raise ``CheckpointError`` if a file may contain Python code, by its name alone."""
    if name.lower().endswith(_CODE):
        suffix = name[name.rindex(".") :]
        raise CheckpointError(f"{shown(name)} was not opened. {_why_not_code(suffix)}")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file that contains one object.

    Raises:
        ConfigError: it is unreadable, not JSON, too large, or not an object.
    """
    try:
        if path.stat().st_size > _LARGEST_JSON:
            raise ConfigError(f"{path} is too large for a configuration. Download it again.")
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(
            f"{path} is not valid JSON ({error}). Download it again, or fix it by hand."
        ) from error
    if not isinstance(content, dict):
        raise ConfigError(
            f"{path} contains a {type(content).__name__}, not a configuration. Download it again."
        )
    return content


def read_pipeline(path: Path) -> dict[str, Any]:
    """Return the scheduler's ``_class_name`` from a ``model_index.json``; empty without one.

    Raises:
        CheckpointError: a part of the pipeline shows that its network does not work on pixels, or
            needs more than noise.
        ConfigError: the file cannot be read.
    """
    index = read_json(path)
    # A part is [library, class]; an unused one is [null, null].
    classes = {
        name: str(part[1])
        for name, part in index.items()
        if isinstance(part, list) and len(part) == 2 and part[1] is not None
    }
    for what, pattern in _OTHER_PARTS.items():
        found = [part for part in classes.items() if any(map(pattern.fullmatch, part))]
        if found:
            parts = ", ".join(shown(f"'{name}' ({kind})", 80) for name, kind in found[:4])
            pipeline = shown(str(index.get("_class_name", "pipeline")), 80)
            raise CheckpointError(
                f"According to {path}, the network is part of a {pipeline} with {parts}: it {what}."
                " Only unconditional pixel-space models can be loaded here, for example those of a "
                "DDPMPipeline. Use this one with diffusers."
            )
    return {"_class_name": classes["scheduler"]} if "scheduler" in classes else {}


def _weights(network: Path) -> dict[str, Path]:
    """Return the best file of each variant: safetensors before ``.bin``, a file before an index."""
    ranked: list[tuple[tuple[bool, bool, str], str, Path]] = []
    for path in network.iterdir():
        match = _WEIGHTS.fullmatch(path.name)
        if match is None or _SHARD.search(path.name) or not path.is_file():
            continue
        rank = (match["kind"] == "bin", match["index"] is not None, path.name)
        ranked.append((rank, match["before"] or match["after"] or "", path))
    return {variant: path for _, variant, path in sorted(ranked, reverse=True)}


def _missing_weights(network: Path, variant: str) -> str:
    variants = sorted(name for name in _weights(network) if name)
    if variants or variant:
        wanted = f"of the variant '{variant}'" if variant else "without a variant"
        return (
            f"{network} has no weights {wanted}. Available variants: "
            f"{', '.join(variants) or 'none'}."
        )
    code = next((path for path in network.iterdir() if path.suffix.lower() in _CODE), None)
    hint = "" if code is None else f" {code.name} was not opened. {_why_not_code(code.suffix)}"
    return f"{network} has no weights. Put {' or '.join(WEIGHTS)} there.{hint}"


def _why_not_code(suffix: str) -> str:
    return (
        f"A {suffix} file (for example EDM's) contains Python code that would run on this "
        "machine. Use a diffusers folder, safetensors, or plain tensors (.bin, .pt, .ckpt)."
    )


def _homes(network: Path) -> list[Path]:
    """Return the network's own folder, and the pipeline or training run that it is part of."""
    homes = [network]
    if network.name in ("unet", "unet_ema"):
        homes.append(network.parent)
        if is_training_checkpoint(network.parent):
            homes.append(network.parent.parent)
    return homes


def _scheduler_config(network: Path) -> Path | None:
    """Find it next to the network, or in a folder ``scheduler/`` of one of its homes."""
    places = [network / SCHEDULER_CONFIG]
    places += [home / "scheduler" / SCHEDULER_CONFIG for home in _homes(network)]
    return next((place for place in places if place.is_file()), None)


def _shards(index: Path) -> tuple[Path, ...]:
    """Return the files that an index names, in order. They must be next to the index."""
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{index} has no 'weight_map'. Download it again.")
    names = {str(name) for name in weight_map.values()}
    if len(names) > _MAX_SHARDS:
        raise CheckpointError(f"{index} names {len(names)} files; the maximum is {_MAX_SHARDS}.")
    kind = ".safetensors" if ".safetensors." in index.name else ".bin"
    for name in sorted(names):
        if re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", name) is None or not name.endswith(kind):
            raise CheckpointError(
                f"{index} names the file {name!r:.100}, which is not a {kind} file next to it. "
                "Files outside the model's folder are not opened."
            )
        if not (index.parent / name).is_file():
            raise CheckpointError(
                f"{name}, a part of the model, is missing in {index.parent}. Download it."
            )
    return tuple(index.parent / name for name in sorted(names))


def _existing(path: Path) -> Path | None:
    return path if path.is_file() else None


def _has_config(folder: Path) -> bool:
    try:
        return (folder / CONFIG).is_file()
    except OSError as error:
        warn_unreadable(folder, error.strerror)
        return False


def _could_be_ours(config: Path) -> bool:
    """Whether a configuration belongs to a network that can be loaded here, or is unreadable.

    Unreadable ones are listed, because loading them reports what is wrong.
    """
    try:
        fields = read_json(config)
    except ConfigError:
        return True
    if "_class_name" in fields:
        return fields["_class_name"] in CLASS_NAMES
    return "architectures" not in fields  # which transformers writes
