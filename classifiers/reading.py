"""From a file to a classifier: ours, or OpenAI's."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..checkpoints.tensor_files import read_content, read_metadata
from ..networks.errors import CheckpointError, shown
from . import openai
from .base import Classifier
from .image_classifier import ImageClassifier, ImageClassifierConfig


def read_classifier(path: Path) -> Classifier:
    """Read a classifier and check every tensor; its weights are in float32, on the CPU.

    Raises:
        CheckpointError: the file is damaged or not a classifier, or a tensor is missing,
            unexpected, misshapen or not finite; the message names it.
    """
    weights = _tensors(read_content([path]), path)
    fields = read_metadata(path)
    if fields.get("_class_name") == ImageClassifierConfig.CLASS_NAME:
        classifier = ImageClassifier(ImageClassifierConfig.from_dict(fields), device="meta")
    elif openai.matches(weights):
        classifier = openai.OpenAIClassifier(openai.OpenAIConfig.of(weights), device="meta")
    else:
        raise CheckpointError(
            f"{path} is not a classifier that can steer: use one from `python -m "
            "comfyui_unconditional.training classifier`, or one of OpenAI's (*_classifier.pt)."
        )
    _check(weights, classifier.state_dict(), path)
    classifier.load_state_dict(weights, assign=True)
    return classifier.requires_grad_(False).eval()


def _tensors(content: Any, path: Path) -> dict[str, Tensor]:
    if not isinstance(content, dict) or not all(isinstance(t, Tensor) for t in content.values()):
        raise CheckpointError(
            f"{path} does not consist of named tensors, so it is not a classifier."
        )
    return {
        str(name): tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in content.items()
    }


def _check(weights: dict[str, Tensor], expected: dict[str, Tensor], path: Path) -> None:
    """Raise ``CheckpointError`` for the first tensor that does not fit."""
    for name in sorted(weights.keys() | expected.keys()):
        if name not in weights:
            what = "is missing"
        elif name not in expected:
            what = "is unexpected"
        elif weights[name].shape != expected[name].shape:
            shapes = (tuple(tensors[name].shape) for tensors in (weights, expected))
            what = "has the shape {}, not {}".format(*shapes)
        elif weights[name].dtype != torch.float32 or not weights[name].isfinite().all():
            what = "has NaN or infinite values"
        else:
            continue
        raise CheckpointError(f"{path}: the tensor {shown(name)} {what}. Download it again.")
