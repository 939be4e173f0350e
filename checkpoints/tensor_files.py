"""Read safetensors files and pickles, without knowing what the tensors are for."""

import json
import pickle
import re
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..networks.errors import CheckpointError, ConfigError, shown
from ..schedulers.errors import printable, printable_cause

_PATHS = ("Posix", "Windows", "PurePosix", "PureWindows")
_NODES = ("Any", "Boolean", "Enum", "Float", "Integer", "String")
_CONVERT = (
    "If you trust its source, load it in Python with torch.load(path, weights_only=False), save "
    "its tensors with safetensors.torch.save_file, and use that file."
)
_REFUSED = re.compile(r"GLOBAL (\S+) (?:was not|whose module)")

# In older versions, weights_only=True can be bypassed (CVE-2025-32434).
_SAFE_TORCH = (2, 6)


# By their names in safetensors files.
_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


class _Unread:
    """Replaces a setting in a pickle: nothing of it is kept or run."""

    def __init__(self, *_: Any): ...

    def __setstate__(self, _: Any) -> None: ...


class _UnreadDict:
    """The same for a class of dicts."""

    def __new__(cls, *_: Any) -> Any:
        return OrderedDict()


# Harmless settings that training programs save along with the weights.
_SETTINGS = {
    _UnreadDict: (
        *("collections.defaultdict", "easydict.EasyDict", "addict.addict.Dict", "munch.Munch"),
        *("lightning_fabric.utilities.data.AttributeDict", "omegaconf.dictconfig.DictConfig"),
        "lightning.fabric.utilities.data.AttributeDict",
        "lightning.pytorch.utilities.parsing.AttributeDict",
        "pytorch_lightning.utilities.parsing.AttributeDict",
    ),
    _Unread: (
        *("argparse.Namespace", "datetime.date", "datetime.datetime", "datetime.timedelta"),
        *("builtins.bool", "builtins.dict", "builtins.float", "builtins.int", "builtins.list"),
        *("builtins.str", "builtins.tuple", "typing.Any"),
        *(f"pathlib{local}.{kind}Path" for local in ("", "._local") for kind in _PATHS),
        *(f"numpy.{core}.multiarray._reconstruct" for core in ("core", "_core")),
        *("numpy.ndarray", "omegaconf.base.ContainerMetadata", "omegaconf.base.Metadata"),
        *(f"omegaconf.nodes.{kind}Node" for kind in _NODES),
        *("omegaconf.listconfig.ListConfig", "types.SimpleNamespace"),
        "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
    ),
}


def read_content(paths: Sequence[Path]) -> Any:
    """Read the contents of a model's file, or of its shards together, onto the CPU.

    Pickles are opened with ``weights_only=True``: tensors, lists, dicts, strings and numbers. The
    settings of well-known libraries are replaced by empty objects.

    Raises:
        CheckpointError: a file is damaged or contains code, a tensor is in two files, or this
            version of torch cannot open pickles safely.
    """
    if len(paths) == 1:
        return _read_file(paths[0])
    weights: dict[str, Any] = {}
    for path in paths:
        part = _read_file(path)
        if not isinstance(part, dict):
            raise CheckpointError(
                f"{path} contains a {type(part).__name__} instead of named tensors. Download it "
                "again."
            )
        twice = weights.keys() & part.keys()
        if twice:
            raise CheckpointError(
                f"{path} contains {shown(min(twice))}, which is also in another part of the model. "
                "Download all parts again."
            )
        weights |= part
    return weights


def read_metadata(path: Path) -> dict[str, Any]:
    """Return the configuration in a safetensors file's metadata; empty if there is none.

    The entry ``config`` has the contents of a ``config.json``, and ``scheduler_config`` those of a
    ``scheduler_config.json``.

    Raises:
        ConfigError: an entry is not JSON.
        CheckpointError: the file is damaged.
    """
    if path.suffix.lower() != ".safetensors":
        return {}
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(_unreadable(path, error)) from error
    fields: dict[str, Any] = {}
    for entry in ("config", "scheduler_config"):
        if entry not in metadata:
            continue
        try:
            content = json.loads(metadata[entry])
        except (ValueError, RecursionError) as error:
            raise ConfigError(
                f"{path}: '{entry}' in its metadata is not JSON ({error})."
            ) from error
        if not isinstance(content, dict):
            raise ConfigError(f"{path}: '{entry}' in its metadata is not a JSON object.")
        fields |= content if entry == "config" else {"scheduler": content}
    return fields


def _read_file(path: Path) -> Any:
    try:
        if path.suffix.lower() == ".safetensors":
            return _read_safetensors(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(_unreadable(path, error)) from error
    _check_torch(path)
    try:
        _check_start(path)
        with torch.serialization.safe_globals(_settings()):
            return torch.load(path, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}.") from error
    except pickle.UnpicklingError as error:
        refused = _REFUSED.search(str(error))
        what = (
            f"it contains code ({shown(refused[1])}), which"
            if refused
            else "it is damaged, or it contains code, which"
        )
        raise CheckpointError(
            f"{path} was not opened: {what} could do anything to this machine. {_CONVERT}"
        ) from printable_cause(error)
    except Exception as error:  # torch raises many types on a damaged archive
        reason = "It may be a partial download; download it again."
        if "TorchScript" in str(error):
            reason = "It is a TorchScript program. Save the model's state_dict() instead."
        raise CheckpointError(
            f"{path} cannot be read ({type(error).__name__}: {error!s:.200}). {reason}"
        ) from printable_cause(error)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    """Read each tensor into its own memory.

    Mapped to the file, as safetensors returns them, they would change with the file, and reading
    from a file that has become shorter ends the process.
    """
    safe_open(path, "pt")  # raises unless shapes, types and offsets fit each other and the file
    weights: dict[str, Tensor] = {}
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        header.pop("__metadata__", None)
        start = file.tell()
        for name, entry in header.items():
            if entry["dtype"] not in _DTYPES:
                raise CheckpointError(
                    f"{path}: {shown(name)} has dtype {shown(entry['dtype'])}. Quantised weights "
                    "cannot be loaded; use floating-point weights."
                )
            first, end = entry["data_offsets"]
            content = torch.empty(end - first, dtype=torch.uint8)
            buffer: Any = content.numpy()
            file.seek(start + first)
            if file.readinto(buffer) < len(content):
                raise OSError("it has become shorter")
            weights[name] = content.view(_DTYPES[entry["dtype"]]).view(entry["shape"])
    return weights


def _check_torch(path: Path) -> None:
    version = tuple(int(part) for part in re.findall(r"\d+", torch.__version__)[:2])
    if version < _SAFE_TORCH:
        raise CheckpointError(
            f"{path} was not opened: it is a pickle, and with torch {torch.__version__} a "
            "malicious pickle can run code on this machine (CVE-2025-32434). Update torch to 2.6 "
            "or newer, or convert the file to safetensors."
        )


def _check_start(path: Path) -> None:
    """Reject files that torch did not write, and that therefore contain no code either."""
    with path.open("rb") as file:
        start = file.read(24)
    if not start.startswith((b"PK", b"\x80")):
        raise CheckpointError(
            f"{path} was not written by torch.save: it starts with {start!r}. It may be a partial "
            "download, a web page or a Git LFS pointer. Download it again."
        )


def _settings() -> list[Any]:
    """Return the classes that a pickle may have in addition to tensors: (class, name in file)."""
    stand_ins: list[Any] = [(cls, name) for cls, names in _SETTINGS.items() for name in names]
    # numpy's own classes, because a host may have allowed some of them already.
    dtypes = {type(np.dtype(code)) for code in "?bhilqBHILQefdSU"}
    scalar = np.float64(0).__reduce__()[0]
    numbers = [(scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
    numbers += [(dtype, f"{dtype.__module__}.{dtype.__qualname__}") for dtype in dtypes]
    return [*stand_ins, *numbers, (np.dtype, "numpy.dtype")]


def _unreadable(path: Path, error: Exception) -> str:
    if printable(str(path)) != str(path):
        return f"safetensors cannot open {path}: its name is not valid UTF-8. Rename it."
    return (
        f"{path} is not a readable safetensors file ({error!s:.200}). It may be a partial "
        "download or a Git LFS pointer. Download it again."
    )
