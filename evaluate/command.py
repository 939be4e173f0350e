"""The command `python -m comfyui_unconditional.evaluate`, which compares generated pictures."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import torch

from ..pictures.encoding import picture_writer
from ..schedulers.errors import UserError
from ..training.processes import default_device
from .base import Features, FeaturesName
from .comparison import FEWEST, RANGES, compare
from .copies import Copies
from .extra import needs_extra
from .features import make_features
from .image_sets import DIGITS, ImageSet, open_set
from .measured import Measured, Size, measure
from .record import make_record, write_record

_INTERRUPTED = 130

_KNOWN = f"""\
what a figure needs:
  Fréchet distance      more images than features (2048 of Inception) in each range and in the
                        reference; papers compare 50,000 with the whole training set, and with
                        fewer it is larger, so compare only figures of the same number
  KID                   any number of images from {FEWEST}: it is unbiased, and the spread shows how
                        exact it is
  precision, recall     the same number of images in all comparisons
  copies                the pictures of the reference, best those of the training

known values, FID of 50,000 images and CIFAR-10's training set:
  google/ddpm-cifar10-32, as it is on the hub: its weights are not averaged    about 12.4
      https://huggingface.co/google/ddpm-cifar10-32/discussions/10
  the averaged weights of the same training, DDPM in 1000 steps                3.2
      https://github.com/zeqiang-lai/ddpmx
  the paper's, DDPM in 1000 steps (Ho et al. 2020, arXiv 2006.11239)           3.17
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return the exit status: 0, 1 for the user's errors, 130 for Ctrl-C."""
    given = _parser().parse_args(arguments)
    try:
        with needs_extra():
            return _evaluate(given)
    except ValueError as error:
        print(error, file=sys.stderr)
    except OSError as error:
        print(f"{error.filename}: {error.strerror}.", file=sys.stderr)
    except KeyboardInterrupt:
        return _INTERRUPTED
    return 1


def _evaluate(given: argparse.Namespace) -> int:
    runs, reference = list(map(open_set, given.runs)), open_set(given.reference)
    for run in runs:
        if not run.sources:
            raise UserError(f"{run.name} has no pictures, only statistics. A run needs pictures.")
    features = make_features(given.features, given.inception, given.device or default_device())
    measured = [_measured(run, features) for run in runs]
    against = _measured(reference, features, measured[0].size, fit=given.fit)
    if given.write_statistics:
        against.to_statistics(features).write(given.write_statistics)
    comparison = compare(measured, against, features, given.ranges)
    copies = None
    if len(against) and not given.no_copies:
        drawn = torch.cat([run.small for run in measured])
        copies = Copies.find(drawn, against.small)
    out = given.out or _beside(given)
    write_record(make_record(comparison, features, copies), out)
    print(*comparison.lines, sep="\n")
    print(f"The record is in {out}.")
    if copies is not None:
        print(copies)
        sheet = out.with_suffix(".png")
        with sheet.open("wb") as file:
            picture_writer(copies.sheet()[0], "png", 1, {})(file)
        print(f"The nearest pairs are in {sheet}, each with the reference's picture on the right.")
    return 0


def _measured(
    images: ImageSet, features: Features, size: Size | None = None, *, fit: bool = False
) -> Measured:
    from tqdm import tqdm

    with tqdm(total=len(images), desc=images.name, unit="image", disable=not len(images)) as bar:

        def progress(done: int, total: int) -> None:
            bar.update(done - bar.n)

        return measure(images, features, size=size, fit=fit, on_progress=progress)


def _beside(given: argparse.Namespace) -> Path:
    """Return the record's path, outside the run's folder, which must not contain the sheet."""
    run, reference = given.runs[0].resolve(), given.reference.resolve()
    names = (path.name.removesuffix(".npz") for path in (run, reference))
    return run.parent / f"{'-'.join(names)}-{given.features}.json"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m comfyui_unconditional.evaluate",
        description="Compare generated pictures with a reference: Fréchet distance, kernel "
        "distance (KID), precision and recall, and copies.",
        epilog=_KNOWN,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "runs",
        nargs="+",
        type=Path,
        metavar="RUN",
        help="folder of generated pictures, all of one size, including its subfolders, or a "
        ".npz with arr_0; several runs count as ranges of seeds",
    )
    parser.add_argument(
        "reference",
        type=Path,
        metavar="REFERENCE",
        help="folder of pictures; a .npz with arr_0 (guided-diffusion), or with the statistics mu "
        f"and sigma (clean-fid, guided-diffusion); or {DIGITS}: scikit-learn's handwritten digits",
    )
    parser.add_argument(
        "--features",
        choices=get_args(FeaturesName),
        default="inception",
        help="of which network; digits, for 16 x 16 digits, needs no extra package (default: "
        "inception)",
    )
    parser.add_argument(
        "--inception",
        type=Path,
        metavar="FILE",
        help="the weights of InceptionV3, in torch-fidelity's form (default: downloaded once)",
    )
    parser.add_argument(
        "--ranges",
        type=_positive,
        default=RANGES,
        help=f"the number of consecutive ranges to divide a single run into (default: {RANGES}); "
        "the figures are their mean ± their standard deviation",
    )
    parser.add_argument(
        "--fit",
        action="store_true",
        help="resize the reference's pictures to the run's size and crop them to their centre, "
        "as in training",
    )
    parser.add_argument(
        "--no-copies", action="store_true", help="do not look for copies of the reference"
    )
    parser.add_argument(
        "--write-statistics",
        type=Path,
        metavar="FILE",
        help="also write the reference's mean and covariance to a .npz that can be used as "
        "reference",
    )
    parser.add_argument(
        "--out",
        type=Path,
        help="the record, a .json file; the nearest pairs are next to it (default: next to the "
        "run; an older one is replaced)",
    )
    parser.add_argument(
        "--device",
        type=torch.device,
        help="for example cuda, mps, xpu or cpu (default: the fastest available)",
    )
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return int(text)
