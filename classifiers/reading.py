"""From a file to a classifier: ours, or OpenAI's."""

from pathlib import Path
from typing import Any

from torch import Tensor

from ..checkpoints.tensor_files import read_content, read_metadata
from ..checkpoints.tensors import check_shapes, check_values
from ..networks.errors import CheckpointError
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
    try:
        check_shapes(weights, classifier.state_dict())
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    check_values(weights, path)
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
