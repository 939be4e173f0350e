"""`python benchmarks/seam.py`: how visible the seam of seamless pictures is.

It draws pictures of ``deep-field`` as Seamless Tiling does, and compares the mean jump across the
border with that between neighbouring inner columns and rows; and the same without tiling.
"""

import argparse
from pathlib import Path

from comfyui_unconditional.models.sampling import draw, read_model
from comfyui_unconditional.pictures.images import latent_to_image
from comfyui_unconditional.schedulers.pndm import PNDM
from comfyui_unconditional.schedulers.span import Stretch
from torch import Tensor

_MODEL = Path(__file__).resolve().parent.parent / "models" / "deep-field"


def jumps(pictures: Tensor, dim: int) -> Tensor:
    """Return the mean jump from each column or row to the next; the last is across the border.

    Args:
        pictures: in 0..1, shape (B, H, W, C).
        dim: 1 for rows, 2 for columns.
    """
    difference = (pictures.roll(-1, dim) - pictures).abs()
    return difference.transpose(0, dim).flatten(1).mean(1)


def main() -> None:
    """Print the jumps as parts of the mean inner one."""
    parser = argparse.ArgumentParser(prog="python benchmarks/seam.py", description=__doc__)
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=15)
    arguments = parser.parse_args()
    network, config = read_model(_MODEL)
    sampler = PNDM.over(config, Stretch(arguments.steps), "power", method="iPNDM_v")
    for tiles in (True, False):
        with network.edges.joined(x=tiles, y=tiles):
            x = draw(network, sampler, (3, 64, 64), range(arguments.pictures), 16)
        pictures = latent_to_image(x)
        for name, dim in (("columns", 2), ("rows", 1)):
            found = jumps(pictures, dim)
            inner, border = found[:-1], found[-1]
            low, high = ((end / inner.mean()).item() for end in (inner.min(), inner.max()))
            print(
                f"{'tiled' if tiles else 'plain'}, {name}: border {border / inner.mean():.3f} of "
                f"the inner mean, single inner ones {low:.3f} to {high:.3f}"
            )


if __name__ == "__main__":
    main()
