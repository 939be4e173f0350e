"""The command line; `python -m comfyui_unconditional.generate` runs it."""

import argparse
import json
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

import torch

from ..schedulers.config import VarianceType
from ..schedulers.errors import UserError
from ..schedulers.pndm import Method
from ..schedulers.pndm_grid import Convention
from ..schedulers.timesteps import Spacing
from ..training.processes import default_device
from .archive import write_archive
from .drawing import DrawingModel
from .like import Like, read_like
from .plan import Plan
from .pool import Pool, draw_blocks
from .processes import Processes, make_worker
from .progress import Progress, duration
from .seeds import Seeds, blocks_of
from .settings import DType, SamplerName, Settings
from .worker import OTHER_KERNELS, kernels_of

_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw what is missing; return 0, 1 for the user's errors or failed seeds, 130 for Ctrl-C."""
    given = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        return _run(given)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        print(
            "--ray needs Ray, which is not installed. Install the `cluster` extra: in this pack's "
            'folder run pip install -e ".[cluster]"',
            file=sys.stderr,
        )
    except KeyboardInterrupt:
        print("\nStopped. Run the same command to continue.", file=sys.stderr)
        return _INTERRUPTED
    return 1


def _run(given: argparse.Namespace) -> int:
    like = read_like(given.like) if given.like else Like(Settings())
    device, kernels = _device(given), given.kernels
    if given.ray is not None:
        from .on_ray import connect

        kernels = connect(given.ray or None, device.type, avx2=kernels == "avx2")
    elif kernels == "avx2":
        os.environ.update(OTHER_KERNELS)
        kernels = "AVX2"
    else:
        kernels = kernels_of(device)
    plan = Plan.make(
        given.model,
        replace(like, settings=_settings(given, like.settings)),
        given.out,
        device=device.type,
        kernels=kernels,
        batch=given.batch,
        threads=given.threads,
    )
    if given.dry_run:
        return _dry_run(plan, given, device)
    folder = plan.folder
    folder.begin(plan.record)
    missing = folder.missing(given.seeds)
    progress = Progress(len(given.seeds), len(given.seeds) - len(missing))
    reasons: set[str] = set()
    if missing:
        pool = _pool(plan, given, device)
        try:
            for drawn in draw_blocks(blocks_of(missing, plan.task.batch), pool):
                reasons.update(drawn.failed.values())
                progress.add(len(drawn.seeds))
        except UserError as error:
            reasons = {str(error)}
        finally:
            progress.close()
            pool.close()
    return _finish(plan, given, reasons)


def _finish(plan: Plan, given: argparse.Namespace, reasons: set[str]) -> int:
    """Print what is done and what is missing, and write the archive if nothing is missing."""
    missing = plan.folder.missing(given.seeds)
    print(
        f"{len(given.seeds) - len(missing):,} of {len(given.seeds):,} pictures are in {given.out}"
    )
    if missing:
        seeds = ", ".join(map(str, missing[:10])) + (", …" if len(missing) > 10 else "")
        print(
            f"Missing seeds: {seeds}. Reasons: {'; '.join(sorted(reasons))} Run the same command "
            "to draw them.",
            file=sys.stderr,
        )
        return 1
    if given.format == "npz":
        print(f"All in one file: {write_archive(plan.folder, given.seeds, plan.size)}")
    return 0


def _pool(plan: Plan, given: argparse.Namespace, device: torch.device) -> Pool:
    if given.ray is not None:
        from .on_ray import RayActors

        return RayActors(plan.task, given.workers, device.type)
    os.environ["OMP_NUM_THREADS"] = str(given.threads)
    return Processes(partial(make_worker, plan.task), _devices(given, device))


def _devices(given: argparse.Namespace, device: torch.device) -> list[torch.device]:
    """Return the device of each worker."""
    if device.type == "cpu":
        return [device] * (given.workers or max(1, (os.cpu_count() or 1) // given.threads))
    if device.index is not None:
        return [device] * (given.workers or 1)
    count = torch.get_device_module(device.type).device_count()
    return [torch.device(device.type, k % count) for k in range(given.workers or count)]


def _device(given: argparse.Namespace) -> torch.device:
    return given.device or default_device()


def _settings(given: argparse.Namespace, like: Settings) -> Settings:
    names = [field.name for field in fields(Settings) if field.name != "schedule"]
    chosen = {name: getattr(given, name) for name in names}
    if chosen["sampler"] not in (None, like.sampler):
        like = Settings(dtype=like.dtype, class_label=like.class_label, schedule=like.schedule)
    schedule = {**dict(like.schedule), **dict(given.schedule or ())}
    return like.changed(**chosen, schedule=tuple(schedule.items()))


def _dry_run(plan: Plan, given: argparse.Namespace, device: torch.device) -> int:
    """Print what a run would take, after a short measurement."""
    torch.set_num_threads(given.threads)
    task, count = plan.task, len(given.seeds)
    model = DrawingModel.read(task.model, task.settings, task.part, device)
    one = model.seconds_per_evaluation(task.batch)
    workers = given.workers or len(_devices(given, device))
    seconds = one * plan.evaluations * count / workers
    height, width = plan.size
    print(
        f"{count:,} images of {width} x {height} pixels with {plan.evaluations} evaluations each: "
        f"{count * plan.evaluations:,} evaluations.\n"
        f"Memory of each worker: {plan.weight_bytes / 1e6:,.0f} MB of weights and about "
        f"{plan.activation_bytes / 1e6:,.0f} MB for {task.batch} images at once, besides torch.\n"
        f"About {duration(seconds)} with {workers} workers: an evaluation of an image takes "
        f"{1000 * one:.3g} ms, measured alone."
    )
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m comfyui_unconditional.generate",
        description="Draw a picture for each seed. Run the same command to continue a stopped "
        "run: only what is missing is drawn. The pictures are the same, byte for byte, for "
        "any number of workers on machines of the same kind.",
    )
    parser.add_argument("model", type=Path, help="the model's folder or file")
    parser.add_argument(
        "--seeds",
        type=_checked(Seeds.parse),
        required=True,
        help="for example 0-49999, or 0-99,500",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the pictures")
    parser.add_argument(
        "--like",
        type=Path,
        metavar="FILE",
        help="use the settings of a picture (PNG, WebP) or of a workflow in the API format; the "
        "options below override them",
    )

    sampler = parser.add_argument_group("sampler", "as in the nodes")
    choices = {"choices": get_args(SamplerName), "help": "(default: pndm)"}
    sampler.add_argument("--sampler", **choices)
    sampler.add_argument("--steps", type=_positive, help="(default: 50; ddpm: all)")
    sampler.add_argument("--method", choices=get_args(Method), help="for pndm (default: F-PNDM)")
    sampler.add_argument(
        "--convention", choices=get_args(Convention), help="for pndm (default: diffusers)"
    )
    sampler.add_argument("--eta", type=float, help="for ddim, 0 to 1 (default: 0)")
    sampler.add_argument("--variance-type", choices=get_args(VarianceType), help="of ddpm")
    sampler.add_argument(
        "--spacing",
        choices=get_args(Spacing),
        help="spacing of the timesteps (default: the model's)",
    )
    sampler.add_argument("--timesteps", help="for consistency, for example 22,0")
    sampler.add_argument("--class-label", type=int, help="for a model trained with classes")
    sampler.add_argument("--size", type=_checked(_size), help="HEIGHTxWIDTH (default: the model's)")
    sampler.add_argument(
        "--dtype", choices=get_args(DType), help="precision of the network (default: float32)"
    )
    sampler.add_argument(
        "--schedule",
        type=_checked(_option),
        action="append",
        metavar="NAME=VALUE",
        help="change a scheduler option, for example clip_sample=false; may be repeated",
    )

    work = parser.add_argument_group("work")
    work.add_argument("--device", type=torch.device, help="(default: the fastest available)")
    work.add_argument(
        "--workers", type=_positive, help="(default: one for each GPU, or for each core)"
    )
    work.add_argument(
        "--threads", type=_positive, default=1, help="threads of each worker (default: 1)"
    )
    work.add_argument(
        "--batch",
        type=_positive,
        help="images drawn at once, which affects their last bits (default: depends on their size)",
    )
    work.add_argument(
        "--kernels",
        choices=("native", "avx2"),
        default="native",
        help="avx2: compute the same bits on processors with and without AVX-512",
    )
    work.add_argument(
        "--ray",
        nargs="?",
        const="",
        metavar="ADDRESS",
        help="use Ray (the extra `cluster`), on this machine or on a cluster",
    )
    work.add_argument(
        "--format",
        choices=("png", "npz"),
        default="png",
        help="npz: also write all pictures to one file, as guided-diffusion does",
    )
    work.add_argument(
        "--dry-run", action="store_true", help="print what the run would take, and draw nothing"
    )
    return parser


def _checked(parse: Any) -> Any:
    """Return a parser whose errors argparse prints."""

    def parse_or_explain(text: str) -> Any:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return parse_or_explain


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    if not (height.isdecimal() and width.isdecimal()):
        raise UserError(f"{text!r} is not a size. Enter for example 64x96, height first.")
    return int(height), int(width)


def _option(text: str) -> tuple[str, Any]:
    name, separator, value = text.partition("=")
    if not separator:
        raise UserError(f"{text!r} is not NAME=VALUE, for example clip_sample=false.")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)
