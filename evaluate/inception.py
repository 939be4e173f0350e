"""The features of InceptionV3, as computed by torch-fidelity.

Its weights are Google's of 2015-12-05, with which FIDs in papers are measured.
"""

import tempfile
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from torch import Tensor

from ..checkpoints.tensor_files import read_content
from ..schedulers.errors import UserError
from .base import FeaturesName, sha256_of

_LAYER = "2048"
_HASH = "6726825d"
"""The start of the sha256 of the downloaded weights."""


class InceptionFeatures:
    """The 2,048 features of the last pooling layer.

    Args:
        file: the weights, in torch-fidelity's or pytorch-fid's form; None downloads them once, to
            the cache of torch.hub.
        device: where the network runs.

    Raises:
        ValueError: the weights cannot be fetched, cannot be read without running code, or are
            those of another network.
        ModuleNotFoundError: torch-fidelity is not installed.
    """

    name: FeaturesName = "inception"
    count = int(_LAYER)
    size: tuple[int, int] | None = None
    resize = "to 299 x 299, bilinear without antialiasing, as in TensorFlow 1 (torch-fidelity)"

    def __init__(self, file: Path | None, device: torch.device) -> None:
        from torch_fidelity.feature_extractor_inceptionv3 import (
            URL_INCEPTION_V3,
            FeatureExtractorInceptionV3,
        )

        path = _fetched(URL_INCEPTION_V3) if file is None else file
        weights = _read(path)
        self.weights_sha256 = sha256_of(path)
        # The library reads pickles that can contain code, so it gets a copy of the tensors.
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / "inception.pth"
            torch.save(weights, copy)
            try:
                network = FeatureExtractorInceptionV3(
                    "inception-v3-compat", [_LAYER], feature_extractor_weights_path=str(copy)
                )
            except RuntimeError as error:
                raise UserError(
                    f"{path} does not have the weights of the InceptionV3 that FIDs are measured "
                    f"with: {str(error).strip()[:300]}. Use {URL_INCEPTION_V3}."
                ) from error
        self._network, self._device = network.to(device), device

    @torch.inference_mode()
    def __call__(self, pixels: Tensor) -> Tensor:
        """Return the features, float32."""
        (features,) = self._network(pixels.to(self._device))
        return features.cpu()


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise UserError(f"There is no file {path}. Enter the file with Inception's weights.")
    weights: Any = read_content([path])
    if not isinstance(weights, dict) or not all(map(torch.is_tensor, weights.values())):
        raise UserError(f"{path} does not have the weights of a network: named tensors.")
    return weights


def _fetched(url: str) -> Path:
    """Return the weights' file in the cache of torch.hub, where torch-fidelity looks too."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if path.is_file():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(url, str(path), hash_prefix=_HASH, progress=False)
    except (URLError, OSError, RuntimeError) as error:
        raise UserError(
            f"The weights of Inception could not be fetched from {url}: {error}. Fetch that file "
            "with a browser, and enter its path as the Inception file."
        ) from error
    return path
