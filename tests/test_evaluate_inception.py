"""Inception's features through torch-fidelity, with weights from a file."""

import pickle
from pathlib import Path

import pytest
import torch
from comfyui_unconditional.evaluate.extra import needs_extra
from comfyui_unconditional.evaluate.features import make_features
from comfyui_unconditional.evaluate.inception import InceptionFeatures
from comfyui_unconditional.schedulers.errors import UserError

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights in torch-fidelity's form; the network of that library begins with them."""
    from torch_fidelity import FeatureExtractorInceptionV3

    path = tmp_path_factory.mktemp("inception") / "inception.pth"
    patch = pytest.MonkeyPatch()
    name = "torch_fidelity.feature_extractor_inceptionv3.load_state_dict_from_url"
    patch.setattr(name, lambda *_, **__: None)
    patch.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
    torch.manual_seed(0)
    torch.save(FeatureExtractorInceptionV3("random", ["2048"]).state_dict(), path)
    patch.undo()
    return path


def test_a_torchvision_that_does_not_fit_is_an_error_that_says_so():
    with pytest.raises(UserError, match="does not fit this torch"), needs_extra():
        raise RuntimeError("operator torchvision::nms does not exist")
    with pytest.raises(RuntimeError, match="another"), needs_extra():
        raise RuntimeError("another")


def test_the_features_are_those_that_torch_fidelity_computes_with_this_file(weights):
    from torch_fidelity import FeatureExtractorInceptionV3

    theirs = FeatureExtractorInceptionV3(
        "theirs", ["2048"], feature_extractor_weights_path=str(weights)
    )
    pixels = torch.randint(0, 256, (2, 3, 32, 24), dtype=torch.uint8)
    ours = make_features("inception", weights, CPU)
    found = ours(pixels)
    assert found.shape == (2, ours.count)
    assert torch.equal(found, theirs(pixels)[0])
    assert not torch.equal(found[0], found[1])


class _Code:
    def __reduce__(self):
        return (Path.touch, (self.path,))

    def __init__(self, path: Path):
        self.path = path


@pytest.mark.parametrize("is_archive", [True, False], ids=["archive", "bare pickle"])
def test_a_file_that_contains_code_is_not_opened(is_archive, tmp_path):
    file, mark = tmp_path / "inception.pth", tmp_path / "ran"
    content = {"fc.weight": torch.zeros(2), "more": _Code(mark)}
    if is_archive:
        torch.save(content, file)
    else:
        file.write_bytes(pickle.dumps(_Code(mark), protocol=2))
    with pytest.raises(ValueError, match="was not opened"):
        InceptionFeatures(file, CPU)
    assert not mark.exists()


def test_weights_of_another_network_are_rejected(tmp_path):
    torch.save({"conv.weight": torch.zeros(2, 2)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match="does not have the weights of the InceptionV3"):
        InceptionFeatures(tmp_path / "other.pth", CPU)
    with pytest.raises(ValueError, match="There is no file"):
        InceptionFeatures(tmp_path / "missing.pth", CPU)


def test_weights_that_cannot_be_downloaded_are_an_error_with_a_remedy(monkeypatch, tmp_path):
    def fails(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", fails)
    with pytest.raises(ValueError, match="Fetch that file with a browser"):
        InceptionFeatures(None, CPU)
