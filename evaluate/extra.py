"""The packages that some features and sets need beyond ComfyUI's own."""

from collections.abc import Iterator
from contextlib import contextmanager

from ..schedulers.errors import UserError

# Of the `evaluate` extra, by module. What needs them imports them on use.
_PACKAGES = {
    "sklearn": "scikit-learn",
    "torch_fidelity": "torch-fidelity",
    "torchvision": "torchvision",
    "tqdm": "tqdm",
}


@contextmanager
def needs_extra() -> Iterator[None]:
    """Turn a missing or unfit package of the extra into a ``UserError`` that says what to do."""
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
            f"torchvision does not fit this torch ({error}). Install the release that belongs to "
            "it, from the same place as torch."
        ) from error
