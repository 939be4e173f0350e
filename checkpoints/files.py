"""Which files make up a model, by their layouts and names alone, and how JSON files are read.

A model is a diffusers folder, or one file of weights. Beside the plain weights a folder may have
variants (``diffusion_pytorch_model.fp16.safetensors``); a model's variant is written
``name@variant``.
"""

import json
import logging
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..unet.errors import CheckpointError, ConfigError, shown
from .formats.early_diffusers import CLASS_NAMES

logger = logging.getLogger(__name__)

CONFIG = "config.json"
WEIGHTS = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")
SCHEDULER_CONFIG = "scheduler_config.json"
MODEL_INDEX = "model_index.json"
SINGLE_FILES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")
"""How the name of one file that is a whole model may end."""

# EDM and StyleGAN publish whole Python objects in these.
_CODE = (".pkl", ".pickle")

# A configuration is some kilobytes; one with a million trained betas stays below this.
_LARGEST_JSON = 32 * 2**20

_MOST_SHARDS = 1000
_SHARD = re.compile(r"-\d{5}-of-\d{5}")
_WEIGHTS = re.compile(
    r"diffusion_pytorch_model(?:\.(?P<before>[A-Za-z0-9_-]+))?\.(?P<kind>safetensors|bin)"
    r"(?P<index>\.index(?:\.(?P<after>[A-Za-z0-9_-]+))?\.json)?"
)
# The parts of a pipeline, by name or class, with which its network does not draw pixels from noise.
_OTHER_PARTS = {
    "works on the latents of an autoencoder, not on pixels (latent diffusion)": re.compile(
        r"(vae|vqvae|vq_?gan|movq|autoencoder|first_stage)(_.*)?|.*(Autoencoder|VQModel|VAE).*"
    ),
    "makes images from a text": re.compile(
        r"(text_|tokenizer|bert|prior|caption).*|.*(TextModel|Tokenizer|T5Encoder|Bert).*"
    ),
    "changes or enlarges a given image": re.compile(
        r"(image_encoder|image_normalizer|low_res_scheduler|super_res).*"
    ),
}
_TRAINING_CHECKPOINT = re.compile(r"checkpoint-\d+")

# What training programs save beside the network, and what only adds to one. No name that merely
# contains such a word: net-and-optimizer.pt has a network in it.
_BESIDE_A_NETWORK = re.compile(
    r"(?:opt|optim(?:izer)?(?:_states?)?|(?:lr_?)?scheduler|(?:grad_?)?scaler|sampler"
    r"|dl_state_dict|random_states?|rng_states?|training_args|trainer_state|.*_optim_states"
    r"|pytorch_lora_weights|adapter_model|learned_embeds)"
    r"(?:[._-]?\d+)*",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class ModelFiles:
    """The files of one model; ``config`` and ``scheduler_config`` are None where there is none.

    ``weights`` is the file with the tensors or, where ``shards`` has those, their index. In a
    folder there is always a ``config``; beside a single file it may say as little as one field.
    """

    config: Path | None
    weights: Path
    scheduler_config: Path | None
    shards: tuple[Path, ...] = ()
    is_single: bool = False
    model_index: Path | None = None
    """That of the pipeline that the network is part of."""

    @property
    def tensor_files(self) -> tuple[Path, ...]:
        """The files that hold the tensors."""
        return self.shards or (self.weights,)

    @property
    def fingerprint(self) -> str:
        """Changes when a file does: the size of each, its times, and which file it is.

        The time of its last change cannot be set back, other than that of its contents.
        """
        present = [path for path in (self.config, self.weights, self.scheduler_config) if path]
        present += self.shards
        stats = [path.stat() for path in present]
        return ", ".join(
            f"{path.name} {stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns} {stat.st_ino}"
            for path, stat in zip(present, stats, strict=True)
        )


@lru_cache  # once for each
def warn_unreadable(path: Path, reason: str | None) -> None:
    """Say in the log that a folder or file is left out of the list of models."""
    logger.warning("%s cannot be read, so it is not listed: %s", path, reason)


def is_model_folder(folder: Path) -> bool:
    """Whether a folder has a network's configuration, at its root or in ``unet/``."""
    return _has_config(folder) or _has_config(folder / "unet")


def is_foreign(folder: Path) -> bool:
    """Whether a folder is a model of another kind.

    It is a pipeline without a network that could be ours, or its network is of another class
    (Stable Diffusion's UNet2DConditionModel, a VAE).
    """
    networks = network_folders(folder).values()
    if not networks:
        return (folder / MODEL_INDEX).is_file()
    return not any(_could_be_ours(network / CONFIG) for network in networks)


def is_training_checkpoint(folder: Path) -> bool:
    """Whether diffusers' training scripts name such a folder, one of many in a run."""
    return _TRAINING_CHECKPOINT.fullmatch(folder.name) is not None


def is_single_file(path: Path) -> bool:
    """Whether a file may be a whole model, by its name alone; parts of one (shards) are not."""
    return path.suffix.lower() in SINGLE_FILES and not _SHARD.search(path.name)


def is_beside_a_network(path: Path) -> bool:
    """Whether a file has the name of what a training saves beside a network (its optimizer)."""
    return _BESIDE_A_NETWORK.fullmatch(path.stem) is not None


def network_folders(folder: Path) -> dict[str, Path]:
    """Return each network of a model folder by what its name adds to the folder's ("" or /unet…).

    A pipeline is its ``unet/``, and its ``/unet_ema`` is another entry; in a training checkpoint
    both are named.
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
    """Return the variants of a network's weights by name; "" is the plain one.

    Where there are no weights at all the answer is the plain one too: what is missing is said
    when it is loaded.
    """
    return sorted(_weights(network)) or [""]


def find_files(path: Path, variant: str = "") -> ModelFiles:
    """Find the files of a model.

    A folder may have everything at its root (google/ddpm-*), or ``unet/`` beside ``scheduler/``
    (diffusers' ``train_unconditional.py``), or be such a ``unet/`` or ``unet_ema/`` itself.
    safetensors come before ``.bin``, one file before shards. Beside a single file ``x.pt`` may
    stand ``x.json`` and ``scheduler_config.json``.

    Args:
        path: a folder or a file.
        variant: of a folder's weights; "" is the plain ones.

    Raises:
        CheckpointError: the folder, its configuration, its weights or a shard are missing; the
            index of the shards names something else than a file beside it; the file is of a kind
            that is never opened.
    """
    if not path.is_dir():
        check_not_code(str(path))
    if path.is_file():
        config, scheduler = path.with_suffix(".json"), path.with_name(SCHEDULER_CONFIG)
        return ModelFiles(_if_there(config), path, _if_there(scheduler), is_single=True)
    if not path.is_dir():
        raise CheckpointError(f"There is no folder {path}.")
    if (path / "unet" / CONFIG).is_file():
        network = path / "unet"
    elif (path / CONFIG).is_file():
        network = path
    else:
        raise CheckpointError(
            f"{path} is not a model folder: it has no {CONFIG} and no unet/{CONFIG}. "
            "Download the whole repository, not only the weights."
        )
    weights = _weights(network).get(variant)
    if weights is None:
        raise CheckpointError(_missing_weights(network, variant))
    indices = (home / MODEL_INDEX for home in _homes(network))
    return ModelFiles(
        network / CONFIG,
        weights,
        _scheduler_config(network),
        _shards(weights) if weights.suffix == ".json" else (),
        model_index=next((index for index in indices if index.is_file()), None),
    )


def check_not_code(name: str) -> None:
    """Raise ``CheckpointError`` where a file may be Python code, by its name alone."""
    if name.lower().endswith(_CODE):
        suffix = name[name.rindex(".") :]
        raise CheckpointError(f"{shown(name)} was not opened. {_why_not_code(suffix)}")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds one object.

    Raises:
        ConfigError: it is unreadable, not JSON, too large, or something else than an object.
    """
    try:
        if path.stat().st_size > _LARGEST_JSON:
            raise ConfigError(f"{path} is far too large for a configuration.")
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(
            f"{path} is not valid JSON ({error}). Download it again, or mend it by hand."
        ) from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path} does not hold a configuration, but a {type(content).__name__}.")
    return content


def read_pipeline(path: Path) -> dict[str, Any]:
    """Return what a ``model_index.json`` says of the scheduler: its ``_class_name``, or nothing.

    Raises:
        CheckpointError: a part of the pipeline shows that its network works on something else than
            pixels, or from more than noise.
        ConfigError: the file cannot be read.
    """
    index = read_json(path)
    # A part is [library, class]; one that is left out is [null, null].
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
                f"{path} says that the network is part of a {pipeline} with {parts}: it {what}. "
                "Only unconditional pixel-space models can be loaded here, such as those of a "
                "DDPMPipeline. Use this one with diffusers."
            )
    return {"_class_name": classes["scheduler"]} if "scheduler" in classes else {}


def _weights(network: Path) -> dict[str, Path]:
    """The best file of each variant: safetensors, then ``.bin``; one file, then an index."""
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
        return f"{network} has no weights {wanted}; its variants: {', '.join(variants) or 'none'}."
    code = next((path for path in network.iterdir() if path.suffix.lower() in _CODE), None)
    hint = "" if code is None else f" {code.name} was not opened. {_why_not_code(code.suffix)}"
    return f"{network} has no weights: put {' or '.join(WEIGHTS)} there.{hint}"


def _why_not_code(suffix: str) -> str:
    return (
        f"A {suffix} file (such as those of EDM) is Python code that would run on this machine; "
        "only a diffusers folder, safetensors, or a plain list of tensors (.bin, .pt, .ckpt) is "
        "loaded here."
    )


def _homes(network: Path) -> list[Path]:
    """The network's own folder, and the pipeline or the training run that it is part of."""
    homes = [network]
    if network.name in ("unet", "unet_ema"):
        homes.append(network.parent)
        if is_training_checkpoint(network.parent):
            homes.append(network.parent.parent)
    return homes


def _scheduler_config(network: Path) -> Path | None:
    """Beside the network, or in a folder ``scheduler/`` of one of its homes."""
    places = [network / SCHEDULER_CONFIG]
    places += [home / "scheduler" / SCHEDULER_CONFIG for home in _homes(network)]
    return next((place for place in places if place.is_file()), None)


def _shards(index: Path) -> tuple[Path, ...]:
    """The files that an index names, in order. A name may lead to a file beside it only."""
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{index} has no 'weight_map'. Download it again.")
    names = {str(name) for name in weight_map.values()}
    if len(names) > _MOST_SHARDS:
        raise CheckpointError(f"{index} names {len(names)} files; {_MOST_SHARDS} are the most.")
    kind = ".safetensors" if ".safetensors." in index.name else ".bin"
    for name in sorted(names):
        if re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", name) is None or not name.endswith(kind):
            raise CheckpointError(
                f"{index} names the file {name!r:.100}, which is no {kind} file beside it; "
                "nothing outside the model's folder is opened."
            )
        if not (index.parent / name).is_file():
            raise CheckpointError(f"{index.parent} lacks {name}, a part of the model.")
    return tuple(index.parent / name for name in sorted(names))


def _if_there(path: Path) -> Path | None:
    return path if path.is_file() else None


def _has_config(folder: Path) -> bool:
    try:
        return (folder / CONFIG).is_file()
    except OSError as error:
        warn_unreadable(folder, error.strerror)
        return False


def _could_be_ours(config: Path) -> bool:
    """Whether a configuration is that of a network of ours, or cannot be read.

    Those that cannot are listed, since loading them says what is wrong.
    """
    try:
        fields = read_json(config)
    except ConfigError:
        return True
    if "_class_name" in fields:
        return fields["_class_name"] in ("UNet2DModel", *CLASS_NAMES)
    return "architectures" not in fields  # which transformers writes
