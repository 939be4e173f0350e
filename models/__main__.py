"""`python -m comfyui_unconditional.models`: train or measure the bundled models."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..training import plan
from ..training.classifier import ClassifierTraining
from ..training.command import (
    add_schedule_argument,
    add_training_arguments,
    chosen_options,
    run_command,
    train,
    train_classifier,
)
from ..training.picture_set import PictureSet
from ..training.plan import Plan
from ..training.processes import Processes


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status."""
    return run_command(_parser().parse_args(arguments))


def _digits(given: argparse.Namespace) -> int:
    from .digits import OPTIONS, SCHEDULER, UNET, digits

    pictures = PictureSet.of_tensor(digits()[0])
    scheduler = replace(SCHEDULER, beta_schedule=given.beta_schedule)
    processes = Processes.join(given.device)
    options = chosen_options(given, OPTIONS, processes)
    return train(Plan(pictures, UNET, scheduler, options), given.out, processes)


def _classifier(given: argparse.Namespace) -> int:
    import torch

    from .digits import CLASSIFIER_STEPS, labelled_digits

    torch.set_num_threads(1)  # to sum in the same order everywhere
    train_classifier(ClassifierTraining(labelled_digits(), steps=CLASSIFIER_STEPS), given.out)
    return 0


def _judge(given: argparse.Namespace) -> int:
    from .judge import judge

    print(judge(given.model))
    return 0


def _deep_field(given: argparse.Namespace) -> int:
    from .deep_field import OPTIONS, UNET, pictures

    crops = PictureSet(list(pictures()), UNET.size, "random")
    processes = Processes.join(given.device)
    options = chosen_options(given, OPTIONS, processes)
    return train(Plan(crops, UNET, plan.SCHEDULER, options), given.out, processes)


def _sky(given: argparse.Namespace) -> int:
    from .deep_field import pictures
    from .sky import judge

    print(
        judge(
            given.model,
            pictures(),
            sampler=given.sampler,
            steps=given.steps,
            skies=given.skies,
            device=given.device,
        )
    )
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m comfyui_unconditional.models", description="The bundled models."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    digits = commands.add_parser("digits", help="train digits-16 again")
    digits.set_defaults(command=_digits)
    add_training_arguments(digits)
    add_schedule_argument(digits)
    classifier = commands.add_parser(
        "classifier", help="train the classifier of digits-16 again, which Steer uses"
    )
    classifier.set_defaults(command=_classifier)
    classifier.add_argument("--out", type=Path, required=True, help="the .safetensors file")
    judge = commands.add_parser("judge", help="compare a model's digits with real ones")
    judge.set_defaults(command=_judge)
    judge.add_argument("model", type=Path, help="the model's folder")

    deep_field = commands.add_parser("deep-field", help="train deep-field again")
    deep_field.set_defaults(command=_deep_field)
    add_training_arguments(deep_field)
    sky = commands.add_parser(
        "sky", help="compare a model's skies of 64 x 64 pixels with the picture of deep-field"
    )
    sky.set_defaults(command=_sky)
    sky.add_argument("model", type=Path, help="the model's folder")
    sky.add_argument(
        "--sampler", choices=("PNDM", "DDIM", "DDPM"), default="PNDM", help="(default: PNDM)"
    )
    sky.add_argument("--steps", type=int, default=50, help="steps of the sampler (default: 50)")
    sky.add_argument("--skies", type=int, default=256, help="how many to draw (default: 256)")
    sky.add_argument("--device", default="cpu", help="for example cuda (default: cpu)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
