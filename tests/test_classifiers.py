"""Classifiers in files, and their training."""

import json

import pytest
import torch
from comfyui_unconditional.classifiers.image_classifier import (
    ImageClassifier,
    ImageClassifierConfig,
)
from comfyui_unconditional.classifiers.reading import read_classifier
from comfyui_unconditional.models.digits import labelled_digits
from comfyui_unconditional.networks.errors import CheckpointError
from comfyui_unconditional.training.classifier import ClassifierTraining
from comfyui_unconditional.training.command import main
from openai_classifier import openai_weights
from ours import DIGITS
from PIL import Image
from safetensors.torch import load_file, save_file

CONFIG = ImageClassifierConfig(3, (12, 20), ("cat", "dog"), width=8)
BUNDLED = DIGITS / "classifier.safetensors"


def test_the_bundled_classifier_knows_the_digits():
    digits, classifier = labelled_digits(), read_classifier(BUNDLED)
    assert BUNDLED.stat().st_size < 200_000
    assert (classifier.channels, classifier.size, classifier.classes) == (1, (16, 16), 10)
    found = classifier(digits.images).argmax(1)
    assert (found == digits.labels).float().mean() > 0.995


def test_the_training_gives_the_same_classifier_again():
    pictures = labelled_digits()
    both = [ClassifierTraining(pictures, steps=3) for _ in range(2)]
    for training in both:
        losses = list(training.run())
        assert losses[-1] < 2.5
    one, two = (training.classifier.state_dict() for training in both)
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_saved_classifier_is_read_back_unchanged(tmp_path):
    classifier = ImageClassifier(CONFIG)
    classifier.save(tmp_path / "new" / "c.safetensors")
    again = read_classifier(tmp_path / "new" / "c.safetensors")
    assert again.names == ("cat", "dog")
    assert again.size == (12, 20)
    images = torch.randn(2, 3, 12, 20)
    assert torch.equal(again(images), classifier(images))
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["c.safetensors"]


def test_the_layout_of_openai_is_read_from_the_tensors(tmp_path):
    weights = openai_weights(classes=5)
    torch.save(weights, tmp_path / "16x16_classifier.pt")
    classifier = read_classifier(tmp_path / "16x16_classifier.pt")
    assert classifier.sees_noise
    assert (classifier.channels, classifier.size, classifier.classes) == (1, (16, 16), 5)


def test_a_classifier_of_openai_gives_the_logits_of_guided_diffusion(tmp_path):
    torch.save(openai_weights(), tmp_path / "c.pt")
    x = torch.linspace(-1, 1, 512).sin().reshape(2, 1, 16, 16)
    logits = read_classifier(tmp_path / "c.pt")(x, torch.tensor([10.0, 900.0]))
    # From its EncoderUNetModel, with these weights.
    first, second = [-0.1205183, -0.1456799, 0.0084858], [-0.1642913, -0.1157130, 0.0401309]
    torch.testing.assert_close(logits, torch.tensor([first, second]), rtol=0, atol=2e-6)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"layers.0.bias": None}, "missing: layers.0.bias"),
        ({"layers.0.bias": torch.zeros(3)}, "layers.0.bias is (3,) in the file and (8,)"),
        ({"layers.0.bias": torch.full((8,), torch.nan)}, "layers.0.bias contains NaN"),
        ({"more": torch.zeros(3)}, "not part of this configuration: more"),
    ],
)
def test_a_tensor_that_does_not_fit_is_named(change, words, tmp_path):
    path = tmp_path / "c.safetensors"
    ImageClassifier(CONFIG).save(path)
    fields = {"_class_name": "ImageClassifier", "channels": 3, "size": [12, 20], "width": 8}
    weights = {k: v for k, v in {**load_file(path), **change}.items() if v is not None}
    save_file(weights, path, {"config": json.dumps({**fields, "names": ["cat", "dog"]})})
    with pytest.raises(CheckpointError) as error:
        read_classifier(path)
    assert words in str(error.value)


def test_a_model_is_not_accepted_as_a_classifier():
    with pytest.raises(CheckpointError, match="not a classifier"):
        read_classifier(DIGITS / "unet" / "diffusion_pytorch_model.safetensors")


def test_the_command_trains_on_a_folder_for_each_class(tmp_path, capsys):
    for name, colour in (("red", (255, 0, 0)), ("blue", (0, 0, 255))):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for k in range(10):
            picture = Image.new("RGB", (8 + k % 2, 8), colour)
            picture.save(tmp_path / "pictures" / name / f"{k}.png")
    out = tmp_path / "mine.safetensors"
    given = ["classifier", str(tmp_path / "pictures"), "--size", "8", "--steps", "30"]
    assert main([*given, "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "recognises 100.0% of the pictures" in said
    assert "models/classifiers" in said
    classifier = read_classifier(out)
    assert classifier.names == ("blue", "red")
    red = torch.tensor([1.0, -1.0, -1.0]).reshape(1, 3, 1, 1).expand(1, 3, 8, 8)
    assert classifier(red).argmax() == 1


def test_one_class_is_not_enough(tmp_path, capsys):
    (tmp_path / "cats").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "cats" / "a.png")
    assert main(["classifier", str(tmp_path), "--out", str(tmp_path / "c.safetensors")]) == 1
    assert "at least two classes" in capsys.readouterr().err
