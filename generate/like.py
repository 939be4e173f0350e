"""The settings of a picture or of a workflow, for more pictures of the same kind."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from ..pictures.metadata import read_texts
from ..pictures.provenance import KEY
from ..schedulers.config import PRESETS
from ..schedulers.errors import UserError
from ..schedulers.sampler import Sampler
from .settings import Settings

_NODES = {f"Unconditional{name}Sampler": name for name in ("PNDM", "DDIM", "DDPM", "Consistency")}
_SCHEDULE = "UnconditionalNoiseSchedule"
_SAMPLING = "model_sampling"
"""The entry in a record's ``patched`` for a changed noise schedule."""
_BEFORE = (
    *("UnconditionalUNetLoader", "UnconditionalUNetDownload", "UnconditionalTrain"),
    *(_SCHEDULE, "UnconditionalOptimiseTimesteps"),
)
"""Nodes before a sampler whose effect is known here."""
_INPUTS = (
    *("steps", "method", "convention", "eta", "variance_type", "spacing", "timesteps"),
    "class_label",
)
# Entries in the record of a run from an image, or of a part of a run.
_FROM_IMAGE = ("denoise", "start_at_step", "add_noise", "show")
# Changes of the MODEL by nodes before the sampler.
_ON_MODEL = ("seamless", "windows", "restored", "steered")
# Noise that is not the seed's own.
_NOISE = "noise"

Graph = dict[str, Any]


@dataclass(frozen=True)
class Like:
    """Settings, the sha256 of the model's weights and, if optimised for it, the timesteps."""

    settings: Settings
    sha256: str | None = None
    timesteps: tuple[int, ...] | None = None

    def check(self, sha256: str | None, sampler: Sampler, model: Path) -> None:
        """Raise ``UserError`` if a model or its timesteps differ from the picture's."""
        if self.sha256 not in (None, sha256):
            raise UserError(
                f"{model} is not the model of the picture: the sha256 of its weights is "
                f"{sha256}, not {self.sha256}."
            )
        if self.timesteps not in (None, tuple(sampler.span.timesteps)):
            raise UserError(
                "The picture's timesteps were found by Optimise Timesteps, but this model's "
                "file has others or none. Save the model with 'Save Unconditional UNet' and use "
                "the saved one."
            )


def read_like(path: Path) -> Like:
    """Read the settings from a picture of Image Output or of a run, or from an API workflow.

    Raises:
        UserError: it does not have them, or a command cannot repeat them.
        OSError: the file cannot be read.
    """
    if path.suffix.lower() == ".json":
        graph = _parsed(path.read_text(encoding="utf-8"), path)
        node = _only_sampler(graph, path)
        changes = _schedule_changes(graph, node, path)
        return Like(_settings(_NODES[node["class_type"]], node["inputs"], changes, path))
    try:
        with Image.open(path) as picture:
            texts = read_texts(picture)
    except OSError as error:
        raise UserError(f"{path} is neither a readable picture nor a workflow.") from error
    if KEY not in texts:
        raise UserError(
            f"{path} does not say how it was made. Use a picture from Image Output, or a "
            "workflow exported in the API format."
        )
    record = _parsed(texts[KEY], path)
    graph = _parsed(texts["prompt"], path) if "prompt" in texts else {}
    reasons = [name for name in (*_FROM_IMAGE, *_ON_MODEL, "images", "one_of") if name in record]
    nodes = [
        node for node in _samplers(graph) if _NODES[node["class_type"]] == record.get("sampler")
    ]
    reasons += ["a given noise"] if _NOISE in record else []
    reasons += ["a latent"] if any("latent" in node["inputs"] for node in nodes) else []
    reasons += [f"patched {what}" for what in record.get("patched", []) if what != _SAMPLING]
    if reasons:
        raise UserError(
            f"{path} cannot be repeated by this command: it was made with {', '.join(reasons)}. "
            "Use the node 'Generate Many' in its workflow."
        )
    sampler = str(record.get("sampler"))
    changes = [_schedule_changes(graph, node, path) for node in nodes] or [{}]
    if any(other != changes[0] for other in changes):
        raise UserError(
            f"{path} was made by one of {len(nodes)} samplers with different noise schedules. "
            "Give its own options with --schedule, and the other settings one by one."
        )
    changes[0] |= record.get("schedule", {})  # in a picture of this command
    if _SAMPLING in record.get("patched", []) and not changes[0]:
        raise UserError(
            f"The noise schedule of {path} was changed, but the picture does not say how. Give "
            "its options with --schedule, and the other settings one by one."
        )
    optimised = record.get("spacing") == "optimised"
    return Like(
        _settings(sampler, record, changes[0], path),
        record.get("sha256"),
        tuple(record.get("timesteps", ())) if optimised else None,
    )


def _settings(
    sampler: str, inputs: dict[str, Any], changes: dict[str, Any], path: Path
) -> Settings:
    if sampler not in _NODES.values():
        raise UserError(f"{path} was made by {sampler}, which this command does not have.")
    chosen = {name: inputs[name] for name in _INPUTS if name in inputs}
    linked = [name for name, value in chosen.items() if name != "timesteps" and _is_link(value)]
    if linked:
        raise UserError(f"In {path}, {', '.join(linked)} come from other nodes. Enter them there.")
    # In a record the timesteps are a list, in a workflow they are text.
    listed = chosen.pop("timesteps", "")
    if sampler == "Consistency":
        listed = listed if isinstance(listed, str) else ", ".join(map(str, listed))
        if listed.strip():
            chosen["timesteps"] = listed
            chosen.pop("steps", None)
    defaults = {"spacing": "model", "class_label": -1}
    chosen = {n: v for n, v in chosen.items() if v != defaults.get(n) and v != "model"}
    if "size" in inputs:
        chosen["size"] = tuple(inputs["size"])
    if "dtype" in inputs:
        chosen["dtype"] = inputs["dtype"]
    return Settings(sampler.lower(), schedule=tuple(changes.items()), **chosen)  # type: ignore[arg-type]


def _schedule_changes(graph: Graph, node: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return the options that Noise Schedule nodes before a sampler change; the last one wins."""
    changes: dict[str, Any] = {}
    link = node["inputs"].get("model")
    while _is_link(link):
        node = graph.get(str(link[0]), {"inputs": {}})
        if node.get("class_type") not in _BEFORE:
            raise UserError(
                f"In {path}, the sampler's MODEL comes from the node {node.get('class_type')}, "
                "which this command does not have. Use the node 'Generate Many' there."
            )
        if node.get("class_type") == _SCHEDULE:
            options = {name: value for name, value in node["inputs"].items() if name != "model"}
            for name, value in options.items():
                if _is_link(value):
                    raise UserError(f"In {path}, {name} comes from another node. Enter it there.")
            preset = PRESETS.get(options.pop("preset", "none"), {})
            for name, value in options.items():
                if value not in ("model", -1):
                    changes.setdefault(name, {"true": True, "false": False}.get(value, value))
            changes = preset | changes
        link = node["inputs"].get("model")
    return changes


def _samplers(graph: Graph) -> list[dict[str, Any]]:
    return [n for n in graph.values() if isinstance(n, dict) and n.get("class_type") in _NODES]


def _only_sampler(graph: Graph, path: Path) -> dict[str, Any]:
    nodes = _samplers(graph)
    if len(nodes) != 1:
        raise UserError(
            f"{path} must be a workflow in the API format (File, Export (API)) with one of "
            f"{', '.join(f'{name} Sampler' for name in _NODES.values())}; it has {len(nodes)}."
        )
    inputs = nodes[0]["inputs"]
    if "latent" in inputs or inputs.get("denoise", 1) != 1:
        raise UserError(f"The sampler in {path} starts from an image. Use 'Generate Many' there.")
    if _NOISE in inputs:
        raise UserError(f"The sampler in {path} starts from given noise, not from its seed.")
    return nodes[0]


def _parsed(text: str, path: Path) -> Graph:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON ({error}).") from error
    if not isinstance(found, dict):
        raise UserError(f"{path} is not a workflow in the API format.")
    return found


def _is_link(value: Any) -> bool:
    return isinstance(value, list)
