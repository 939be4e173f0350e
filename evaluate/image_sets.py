"""Sets of pictures to compare: a folder, a batch, a `.npz`, or the statistics of such a set."""

import hashlib
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..checkpoints.files import read_json
from ..generate.run_folder import RUN
from ..schedulers.errors import UserError
from ..training.picture_sources import KINDS, PictureFile, PictureTensor, Source, find_files, reason
from ..training.pictures import WHITE, on_background
from .distances import Gaussian

DIGITS = "sklearn-digits"
"""The name of scikit-learn's handwritten digits as a set."""


@dataclass(frozen=True)
class Statistics:
    """Mean and covariance of the features of pictures that are not available."""

    gaussian: Gaussian
    sha256: str
    images: int | None
    """How many pictures there were; None if the file does not say."""
    features: str | None
    """The name of the features; None if the file does not say."""

    def write(self, path: Path) -> None:
        """Write a `.npz`, with mu and sigma as clean-fid and guided-diffusion name them."""
        mu, sigma = self.gaussian.mean.numpy(), self.gaussian.covariance.numpy()
        images, features = np.array(self.images or 0), np.array(self.features or "")
        with path.open("wb") as file:
            np.savez(file, mu=mu, sigma=sigma, images=images, features=features)


@dataclass(frozen=True)
class ImageSet:
    """Pictures in a fixed order, which are read one after another, or their statistics."""

    name: str
    sources: Sequence[Source] = ()
    statistics: Statistics | None = None
    made: Any = None
    """The content of a run's `run.json`."""

    def __len__(self) -> int:
        return len(self.sources)

    def pictures(self) -> Iterator[tuple[str, Image.Image]]:
        """Yield the name and the pixels of each picture, as 8-bit RGB.

        Grey is repeated, and transparent pixels are white.

        Raises:
            UserError: a file cannot be read.
        """
        for source in self.sources:
            try:
                picture, _ = source.read()
                picture.load()
            except Exception as error:  # Pillow raises many types on a damaged file
                raise UserError(
                    f"{source.name} in {self.name} cannot be read: {reason(error)}. Draw or copy "
                    "it again, or delete it."
                ) from None
            if picture.mode == "RGBA":
                picture = on_background(picture, WHITE)
            yield source.name, picture.convert("RGB")


def open_set(path: Path) -> ImageSet:
    """Return the set in a folder with its subfolders, a `.npz`, or scikit-learn's digits.

    Raises:
        UserError: there is no such set, or it has no pictures.
    """
    if path.is_dir():
        return _folder(path)
    if path.is_file() and path.suffix.lower() == ".npz":
        return _archive(path)
    if path.exists():
        raise UserError(f"{path} is not a folder with pictures, and not a .npz file.")
    if str(path) == DIGITS:
        return digits_set()
    raise UserError(
        f"{path} does not exist. Enter a folder with pictures, a .npz file, or {DIGITS} for "
        "scikit-learn's handwritten digits."
    )


def tensor_set(images: Sequence[Tensor], name: str) -> ImageSet:
    """Return batches of images as a set.

    Args:
        images: each of shape (B, H, W, C), values in 0..1, with 1, 3 or 4 channels.
        name: of the set.
    """
    alone = [image for batch in images for image in batch]
    return ImageSet(name, [PictureTensor(image, f"image {i}") for i, image in enumerate(alone, 1)])


def _folder(folder: Path) -> ImageSet:
    files, others = find_files(folder)
    if not files:
        found = f" There are other files: {others}." if others else ""
        raise UserError(f"{folder} has no pictures ({KINDS}).{found}")
    run = folder / RUN
    made = read_json(run) if run.is_file() else None
    return ImageSet(str(folder), [PictureFile(path, folder) for path in files], made=made)


def digits_set() -> ImageSet:
    """Return scikit-learn's 1,797 handwritten digits, with 16 x 16 pixels.

    Raises:
        ModuleNotFoundError: scikit-learn is not installed.
    """
    from ..models.digits import digits

    return tensor_set([digits()[0].movedim(1, -1) / 2 + 0.5], DIGITS)


class _Pixels(Sequence[Source]):
    """An array of pictures, uint8, shape (n, H, W, 1 or 3), which takes no further memory."""

    def __init__(self, pixels: np.ndarray):
        self._pixels = pixels

    def __len__(self) -> int:
        return len(self._pixels)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return _Pixels(self._pixels[index])
        image = torch.from_numpy(self._pixels[index]) / 255
        return PictureTensor(image, f"image {index + 1}")


def _archive(path: Path) -> ImageSet:
    try:
        with np.load(path, allow_pickle=False) as file:
            wanted = ("arr_0", "mu", "sigma", "images", "features")
            arrays = {name: file[name] for name in wanted if name in file.files}
            names = ", ".join(file.files)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} cannot be read: {str(error)[:200]}. Fetch it again.") from None
    sources, statistics = (), None
    if "arr_0" in arrays:
        pixels = arrays["arr_0"]
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[-1] not in (1, 3):
            raise UserError(
                f"arr_0 in {path} must have pictures as guided-diffusion writes them, uint8 of "
                f"shape (n, height, width, 3), not {pixels.dtype} of shape {pixels.shape}."
            )
        sources = _Pixels(pixels)
    if {"mu", "sigma"} <= arrays.keys():
        statistics = _statistics(path, arrays)
    if not sources and statistics is None:
        raise UserError(
            f"{path} has neither pictures (arr_0) nor statistics (mu and sigma). It has: "
            f"{names or 'nothing'}."
        )
    return ImageSet(str(path), sources, statistics)


def _statistics(path: Path, arrays: dict[str, np.ndarray]) -> Statistics:
    mu, sigma = arrays["mu"], arrays["sigma"]
    numbers = all(np.issubdtype(a.dtype, np.floating) and np.isfinite(a).all() for a in (mu, sigma))
    if not numbers or mu.ndim != 1 or sigma.shape != (len(mu), len(mu)):
        raise UserError(
            f"mu and sigma in {path} must be a mean of shape (d,) and a covariance of shape (d, d),"
            f" without NaN, not of the shapes {mu.shape} and {sigma.shape}."
        )
    mu, sigma = (np.ascontiguousarray(a, dtype=np.float64) for a in (mu, sigma))
    images = int(arrays["images"]) if "images" in arrays else 0
    features = str(arrays["features"]) if "features" in arrays else ""
    return Statistics(
        Gaussian(torch.from_numpy(mu), torch.from_numpy(sigma)),
        statistics_sha256(mu, sigma),
        images or None,
        features or None,
    )


def statistics_sha256(mu: np.ndarray, sigma: np.ndarray) -> str:
    """Return the sha256 of a mean and a covariance in float64."""
    return hashlib.sha256(mu.tobytes() + sigma.tobytes()).hexdigest()
