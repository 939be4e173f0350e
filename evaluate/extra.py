"""The packages that some features and sets need in addition to ComfyUI's."""

from collections.abc import Iterator
from contextlib import contextmanager

from ..schedulers.errors import UserError

# Packages of the `evaluate` extra, by module. They are imported on use.
_PACKAGES = {
    "sklearn": "scikit-learn",
    "torch_fidelity": "torch-fidelity",
    "torchvision": "torchvision",
    "tqdm": "tqdm",
}


@contextmanager
def needs_extra() -> Iterator[None]:
    """Turn a missing or unsuitable package of the extra into a ``UserError`` with a remedy."""
    try:
        yield
    except ModuleNotFoundError as error:
        package = _PACKAGES.get((error.name or "").partition(".")[0])
        if package is None:
            raise
        raise UserError(
            f"This needs {package}, which is not installed. Install the `evaluate` extra: in this "
            "pack's folder run pip install -e \".[evaluate]\" with ComfyUI's Python."
        ) from error
    except RuntimeError as error:
        if "torchvision" not in str(error):
            raise
        raise UserError(
            f"torchvision does not fit this torch ({error}). Install the matching release, from "
            "the same source as torch."
        ) from error
