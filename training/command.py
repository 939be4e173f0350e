"""The command line of the trainer; `python -m comfyui_unconditional.training` runs it."""

import argparse
import logging
import sys
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from ..checkpoints.saving import save_model
from ..schedulers.config import SchedulerConfig
from ..unet.config import UNetConfig
from .trainer import TrainingOptions, TrainingRun

# Packages of the `train` extra, by module. Modules that need them are imported on use.
_EXTRA = {"sklearn": "scikit-learn", "tqdm": "tqdm"}

_INTERRUPTED = 130
_WARMUP = TrainingOptions().warmup_steps

# Defaults for the user's own pictures, as in diffusers' train_unconditional.py if it has them.
_FOLDER_OPTIONS = TrainingOptions(steps=50_000, batch_size=16, learning_rate=1e-4)
_BETA_SCHEDULES = ("linear", "squaredcos_cap_v2")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status, as ``run_command`` does."""
    return run_command(_parser().parse_args(arguments))


def run_command(given: argparse.Namespace) -> int:
    """Run ``given.command`` and return the exit status: 0, 1 for the user's errors, 130 for Ctrl-C.

    A user's error, or a missing package of the ``train`` extra, is printed without a traceback.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        return given.command(given)
    except ValueError as error:
        print(error, file=sys.stderr)
    except ModuleNotFoundError as error:
        package = _EXTRA.get((error.name or "").partition(".")[0])
        if package is None:
            raise
        print(
            f"Training needs {package}, which is not installed. Install the `train` extra: in this "
            'pack\'s folder run pip install -e ".[train]"',
            file=sys.stderr,
        )
    except KeyboardInterrupt:
        return _INTERRUPTED
    return 1


def _folder(given: argparse.Namespace) -> int:
    from .pictures import default_unet, load_pictures

    channels = 1 if given.grey else 4 if given.alpha else 3
    unet = default_unet(given.size, channels, given.width)
    images = load_pictures(given.pictures, given.size, channels, given.background)
    scheduler = SchedulerConfig(beta_schedule=given.beta_schedule)
    return train(given, images, unet, scheduler, replace(_FOLDER_OPTIONS, flip=given.flip))


def train(
    given: argparse.Namespace,
    images: Tensor,
    unet: UNetConfig,
    scheduler: SchedulerConfig,
    defaults: TrainingOptions,
) -> int:
    """Train with a progress bar, save the model, and return the exit status.

    Args:
        given: the arguments of ``add_training_arguments``.
        images, unet, scheduler: as for ``TrainingRun``.
        defaults: for the options that are not in ``given``.
    """
    from tqdm import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    names = ("steps", "batch_size", "learning_rate", "seed", "save_every")
    chosen = {name: getattr(given, name) for name in names}
    options = replace(defaults, **{k: value for k, value in chosen.items() if value is not None})
    # A short run has a short warm-up.
    options = replace(options, warmup_steps=min(_WARMUP, options.steps // 10))

    run = TrainingRun(images, given.out, unet=unet, scheduler=scheduler, options=options)
    losses: deque[float] = deque(maxlen=100)
    try:
        with (
            logging_redirect_tqdm(),
            tqdm(total=options.steps, initial=run.step, desc="Training", unit="step") as bar,
        ):
            for loss in run.run():
                losses.append(loss)
                bar.set_postfix_str(f"mean loss {sum(losses) / len(losses):.4f}", refresh=False)
                bar.update()
    except KeyboardInterrupt:
        print(_how_to_continue(run))
        return _INTERRUPTED
    save_model(given.out, run.ema, unet, scheduler)
    print(
        f"The model is in {given.out}. To use it, copy that folder into ComfyUI/models/diffusers "
        "(training.pt is only needed to continue training), press R in the editor and choose it "
        'in the node "Load Unconditional UNet".'
    )
    return 0


def _how_to_continue(run: TrainingRun) -> str:
    if run.saved_step:
        return (
            f"Stopped in step {run.step + 1}. Run the same command to continue after step "
            f"{run.saved_step}, the last one that was saved."
        )
    return (
        f"Stopped in step {run.step + 1}, before anything was saved (which happens every "
        f"{run.options.save_every} steps). Run the same command to start again."
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m comfyui_unconditional.training",
        description="Train a model for the nodes of this pack. Run the same command to continue a "
        "stopped run.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    folder = commands.add_parser("folder", help="train on your own pictures")
    folder.set_defaults(command=_folder)
    folder.add_argument(
        "pictures",
        type=Path,
        help="folder of PNG, JPEG, WebP, TIFF, GIF, AVIF or BMP files; subfolders are included",
    )
    folder.add_argument(
        "--size", type=_size, required=True, help="in pixels: one side, or HEIGHTxWIDTH"
    )
    channels = folder.add_mutually_exclusive_group()
    channels.add_argument("--grey", action="store_true", help="one channel instead of RGB")
    channels.add_argument(
        "--alpha",
        action="store_true",
        help="four channels, RGB and transparency, for sprites; Image Output saves them as RGBA",
    )
    folder.add_argument(
        "--background",
        type=_colour,
        default="white",
        help="colour behind transparent pixels without --alpha: a name, for example black, or "
        "#rrggbb (default: white)",
    )
    folder.add_argument("--flip", action="store_true", help="mirror half of the pictures")
    folder.add_argument(
        "--width",
        type=int,
        help="channels of the network's first level, a multiple of 32; a lower number trains "
        "faster and gives worse images (default: 128, or 64 below 32 pixels)",
    )

    add_training_arguments(folder, _FOLDER_OPTIONS)
    return parser


def add_training_arguments(command: argparse.ArgumentParser, defaults: TrainingOptions) -> None:
    """Add the arguments of every training command: output, schedule and the trainer's options."""
    command.add_argument("--out", type=Path, required=True, help="folder for the model")
    command.add_argument(
        "--beta-schedule",
        choices=_BETA_SCHEDULES,
        default="linear",
        help="how the noise grows over time (default: linear)",
    )
    command.add_argument("--steps", type=int, help=f"(default: {defaults.steps})")
    command.add_argument("--batch-size", type=int, help=f"(default: {defaults.batch_size})")
    command.add_argument(
        "--learning-rate", type=float, help=f"(default: {defaults.learning_rate:g})"
    )
    command.add_argument("--seed", type=int, help=f"(default: {defaults.seed})")
    command.add_argument(
        "--save-every",
        type=int,
        help=f"steps between saved states to continue from (default: {defaults.save_every})",
    )


def _colour(text: str) -> tuple[int, int, int]:
    from PIL import ImageColor

    message = f"{text!r} is not a colour; enter a name, for example black, or #rrggbb"
    try:
        colour = ImageColor.getrgb(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(message) from error
    if len(colour) != 3:
        raise argparse.ArgumentTypeError(message)  # a background cannot be transparent
    return colour


def _size(text: str) -> int | tuple[int, int]:
    sides = text.split("x")
    if len(sides) > 2 or not all(side.isdecimal() for side in sides):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a size; enter for example 64, or 64x96 (height first)"
        )
    return int(sides[0]) if len(sides) == 1 else (int(sides[0]), int(sides[1]))
