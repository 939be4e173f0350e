"""The command line of the trainer; `python -m comfyui_unconditional.training` runs it."""

import argparse
import logging
import sys
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

import torch

from ..checkpoints.files import find_files
from ..checkpoints.reading import read_checkpoint
from ..schedulers.config import SchedulerConfig
from ..schedulers.errors import UserError
from ..unet.config import UNetConfig
from .card import write_card
from .classifier import ClassifierTraining, read_labelled
from .copying import CopyGauge, Copying
from .network import NetworkSize, size_multiple
from .options import TrainingOptions
from .picture_set import Crop
from .pictures import Colour, named_colour, read_folder
from .plan import FEW_PICTURES, SCHEDULER, Plan, SmallData, Start
from .precision import AutoPrecision, resolve_precision
from .preview import draw
from .processes import Processes
from .state import SETTINGS, STATE
from .trainer import TrainingRun

logger = logging.getLogger(__name__)

# Packages of the `train` extra, by module. Modules that need them are imported on use.
_EXTRA = {
    "sklearn": "scikit-learn",
    "skimage": "scikit-image",
    "scipy": "scipy",
    "tqdm": "tqdm",
}

_INTERRUPTED = 130
_DRAWN = 64
"""Images to draw at the end, to check whether they are copies."""

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
    start = None if given.model is None else _start(given.model)
    usual = 3 if start is None else start.unet.in_channels
    channels = 1 if given.grey else 4 if given.alpha else usual
    processes = Processes.join(given.device)
    pictures = read_folder(
        given.pictures,
        size=given.size or (None if start is None else start.unet.size),
        channels=channels,
        crop=given.crop,
        background=given.background,
        multiple=size_multiple(given.network) if start is None else start.unet.size_multiple,
    )
    if processes.is_first:
        for note in pictures.notes:
            logger.info(note)
    options = replace(
        chosen_options(given, _FOLDER_OPTIONS, processes), flip=given.flip, rotate=given.rotate
    )
    plan = Plan.make(
        pictures,
        options,
        network=given.network if given.width is None else given.width,
        small_data=given.small_data,
        scheduler=replace(SCHEDULER, beta_schedule=given.beta_schedule),
        start=start,
    )
    return train(plan, given.out, processes)


def _classifier(given: argparse.Namespace) -> int:
    channels = 1 if given.grey else 4 if given.alpha else 3
    pictures = read_labelled(given.pictures, size=given.size, channels=channels)
    for note in pictures.notes:
        logger.info(note)
    options = {"steps": given.steps, "batch_size": given.batch_size, "seed": given.seed}
    train_classifier(ClassifierTraining(pictures, **options, device=given.device), given.out)
    print(
        "To steer with it, copy it into ComfyUI/models/classifiers, press R in the editor and "
        'choose it in the node "Steer".'
    )
    return 0


def train_classifier(training: ClassifierTraining, out: Path) -> None:
    """Train with a progress bar, save the classifier, and print its accuracy.

    Raises:
        UserError: ``out`` is not the name of a safetensors file, or cannot be written.
    """
    from tqdm import tqdm

    if out.suffix != ".safetensors":
        raise UserError(f"--out must end in .safetensors, but {out} does not.")
    for _ in tqdm(training.run(), desc="Training", unit="step", total=training.steps):
        pass
    try:
        training.classifier.save(out)
    except OSError as error:
        raise UserError(f"{out} cannot be written: {error.strerror or error}.") from error
    print(
        f"The classifier is in {out}. It recognises {training.accuracy():.1%} of the pictures that "
        "it was not trained on."
    )


def _start(folder: Path) -> Start:
    files = find_files(folder)
    checkpoint = read_checkpoint(files, torch.float32)
    scheduler = checkpoint.scheduler if files.scheduler_config else None
    if not isinstance(checkpoint.config, UNetConfig) or scheduler is None:
        raise UserError(
            f"The training cannot start from {folder}: it needs a folder in diffusers' layout, "
            "with a UNet2DModel and a scheduler_config.json."
        )
    name = f"{folder.name} (sha256 {str(checkpoint.sha256)[:16]})"
    return Start(checkpoint.config, SchedulerConfig.from_dict(scheduler), checkpoint.weights, name)


def train(plan: Plan, out: Path, processes: Processes) -> int:
    """Train with a progress bar, save the model with its card, and return the exit status.

    Args:
        plan: what to train.
        out: the folder of the run.
        processes: as for ``TrainingRun``; only the first prints.
    """
    from tqdm import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    run = plan.begin(out, processes)
    losses = deque(run.progress.losses, maxlen=100)
    hidden = not processes.is_first
    steps = run.options.steps
    try:
        with (
            logging_redirect_tqdm(),
            tqdm(
                total=steps, initial=run.step, desc="Training", unit="step", disable=hidden
            ) as bar,
        ):
            for loss in run.run():
                losses.append(loss)
                bar.set_postfix_str(f"mean loss {sum(losses) / len(losses):.4f}", refresh=False)
                bar.update(run.step - bar.n)
    except KeyboardInterrupt:
        if not hidden:
            print(_how_to_continue(run))
        return _INTERRUPTED
    finally:
        processes.leave()
    if hidden:
        return 0
    copying = _copying(run)
    write_card(run, copying, "" if plan.start is None else plan.start.name)
    print(copying)
    print(
        f"The model is in {out}. To use it, copy that folder into ComfyUI/models/diffusers "
        f"({STATE} and {SETTINGS} are only needed to continue training), press R in the editor and "
        'choose it in the node "Load Unconditional UNet".'
    )
    return 0


def _copying(run: TrainingRun) -> Copying:
    """Draw some images, and measure how close they are to the pictures."""
    images = draw(
        run.averaged,
        run.scheduler_config,
        run.pictures.size,
        range(_DRAWN),
        precision=run.options.precision,
    )
    options = run.options
    return CopyGauge(run.pictures, flip=options.flip, rotate=options.rotate).measure(images)


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


def chosen_options(
    given: argparse.Namespace, defaults: TrainingOptions, processes: Processes
) -> TrainingOptions:
    """Return the options of ``add_training_arguments``, with defaults for those not given."""
    names = ("steps", "batch_size", "learning_rate", "seed", "save_every")
    chosen = {name: getattr(given, name) for name in names}
    return replace(
        defaults,
        **{name: value for name, value in chosen.items() if value is not None},
        precision=resolve_precision(given.precision, processes.device),
        micro_batches=given.micro_batches or processes.count,
        checkpointing=given.checkpointing,
        compile=given.compile,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m comfyui_unconditional.training",
        description="Train a model for the nodes of this pack. Run the same command to continue "
        "a stopped run, or add steps or pictures to train a finished one further. On "
        "several devices, put `torchrun --standalone --nproc-per-node=N -m` before "
        "comfyui_unconditional.training.",
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
        "--size",
        type=_size,
        help="in pixels: one side, or HEIGHTxWIDTH (default: the pictures' own, at most 64)",
    )
    folder.add_argument(
        "--crop",
        choices=get_args(Crop),
        default="centre",
        help="random: train on random parts, for textures, or for a single picture; the model "
        "then draws images of any size (default: centre)",
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
    folder.add_argument("--rotate", action="store_true", help="rotate square pictures at random")
    folder.add_argument(
        "--small-data",
        choices=get_args(SmallData),
        default="auto",
        help="augmentation and dropout, for few pictures (default: auto, on for a new model "
        f"with fewer than {FEW_PICTURES})",
    )
    folder.add_argument(
        "--network", choices=get_args(NetworkSize), default="large", help="(default: large)"
    )
    folder.add_argument(
        "--width",
        type=int,
        help="for a large network: channels of the first level, a multiple of 32; a lower "
        "number trains faster and gives worse images (default: 128, or 64 below 32 pixels)",
    )
    folder.add_argument(
        "--model",
        type=Path,
        help="the folder of a model to start from, with its network, size and channels",
    )
    add_training_arguments(folder)
    add_schedule_argument(folder)

    classifier = commands.add_parser(
        "classifier", help="train a classifier of your pictures, for the node Steer"
    )
    classifier.set_defaults(command=_classifier)
    classifier.add_argument(
        "pictures", type=Path, help="folder with one subfolder of pictures per class"
    )
    classifier.add_argument("--out", type=Path, required=True, help="the .safetensors file")
    classifier.add_argument(
        "--size",
        type=_size,
        help="the same as of the model that it will steer (default: as for folder)",
    )
    channels = classifier.add_mutually_exclusive_group()
    channels.add_argument("--grey", action="store_true", help="for a model of grey images")
    channels.add_argument("--alpha", action="store_true", help="for a model with transparency")
    classifier.add_argument("--steps", type=int, default=2000, help="(default: 2000)")
    classifier.add_argument("--batch-size", type=int, default=64, help="(default: 64)")
    classifier.add_argument("--seed", type=int, default=0, help="(default: 0)")
    classifier.add_argument("--device", default="cpu", help="for example cuda (default: cpu)")
    return parser


def add_training_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of every training command: output, device and the trainer's options."""
    command.add_argument("--out", type=Path, required=True, help="folder for the model")
    command.add_argument(
        "--device",
        type=torch.device,
        help="for example cuda, mps, xpu or cpu (default: the fastest available)",
    )
    command.add_argument(
        "--precision",
        choices=get_args(AutoPrecision),
        default="auto",
        help="precision of the layers (default: auto, the faster one)",
    )
    command.add_argument("--steps", type=int, help="in total")
    command.add_argument("--batch-size", type=int, help="pictures per step")
    command.add_argument(
        "--micro-batches",
        type=int,
        help="parts of a batch that are computed one after another, to save memory (default: one "
        "for each process)",
    )
    command.add_argument(
        "--checkpointing", action="store_true", help="save memory; steps take a third longer"
    )
    command.add_argument(
        "--compile",
        action="store_true",
        help="compile the network, which takes a minute; faster on GPUs",
    )
    command.add_argument("--learning-rate", type=float)
    command.add_argument("--seed", type=int)
    command.add_argument(
        "--save-every", type=int, help="steps between saved states to continue from"
    )


def add_schedule_argument(command: argparse.ArgumentParser) -> None:
    """Add the argument for the noise schedule."""
    command.add_argument(
        "--beta-schedule",
        choices=_BETA_SCHEDULES,
        default="linear",
        help="how the noise increases over time (default: linear)",
    )


def _colour(text: str) -> Colour:
    colour = named_colour(text)
    if colour is None:  # a background cannot be transparent
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a colour; enter a name, for example black, or #rrggbb"
        )
    return colour


def _size(text: str) -> int | tuple[int, int]:
    sides = text.split("x")
    if len(sides) > 2 or not all(side.isdecimal() for side in sides):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a size; enter for example 64, or 64x96 (height first)"
        )
    return int(sides[0]) if len(sides) == 1 else (int(sides[0]), int(sides[1]))
