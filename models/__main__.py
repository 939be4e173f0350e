"""`python -m comfyui_unconditional.models`: train or measure models of digits."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..training.command import add_training_arguments, run_command, train
from ..training.trainer import TrainingOptions


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status."""
    return run_command(_parser().parse_args(arguments))


def _digits(given: argparse.Namespace) -> int:
    from .digits import OPTIONS, SCHEDULER, UNET, digits

    images, _ = digits()
    scheduler = replace(SCHEDULER, beta_schedule=given.beta_schedule)
    return train(given, images, UNET, scheduler, OPTIONS)


def _judge(given: argparse.Namespace) -> int:
    from .judge import judge

    print(judge(given.model))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m comfyui_unconditional.models", description="The bundled model, digits-16."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    digits = commands.add_parser("digits", help="train the bundled model again")
    digits.set_defaults(command=_digits)
    add_training_arguments(digits, TrainingOptions())
    judge = commands.add_parser("judge", help="compare a model's digits with real ones")
    judge.set_defaults(command=_judge)
    judge.add_argument("model", type=Path, help="the model's folder")
    return parser


if __name__ == "__main__":
    sys.exit(main())
