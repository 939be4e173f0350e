"""All pictures of a run in one file, for guided-diffusion's evaluator."""

import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from ..checkpoints.new_files import take_name, unfinished
from .run_folder import RunFolder
from .seeds import Seeds


def write_archive(folder: RunFolder, seeds: Seeds, size: tuple[int, int]) -> Path:
    """Write ``samples_SEEDS_NxHxWx3.npz``, unless it exists; return its path.

    ``arr_0`` has the pictures in the order of the seeds as uint8 RGB, shape (N, H, W, 3). They are
    written one by one, so memory does not grow with their number.

    Raises:
        OSError: a picture cannot be read, or the file cannot be written.
    """
    shape = (len(seeds), *size, 3)
    name = f"samples_{str(seeds).replace(',', '_'):.100}_{'x'.join(map(str, shape))}.npz"
    path = folder.path / name
    if path.exists():
        return path
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    with unfinished(path) as new:
        with (
            zipfile.ZipFile(new, "x", zipfile.ZIP_DEFLATED) as archive,
            archive.open("arr_0.npy", "w", force_zip64=True) as file,
        ):
            np.lib.format.write_array_header_1_0(file, header)  # type: ignore[arg-type]
            for seed in seeds:
                with Image.open(folder.file_of(seed)) as picture:
                    file.write(np.asarray(picture.convert("RGB")).tobytes())
        take_name(new, path)
    return path
