"""The model card: what a model was trained on, and how."""

import os
import statistics
from pathlib import Path

from ..checkpoints.new_files import unfinished
from .copying import Copying
from .trainer import TrainingRun

_LOSSES = 100


def write_card(run: TrainingRun, copying: Copying | None = None, start: str = "") -> None:
    """Write ``README.md`` into the folder of a run, unless the user has written one.

    Args:
        run: what was trained.
        copying: how close its images are to the pictures, if that was measured.
        start: the name of the model that it started from; "" for new weights.

    Raises:
        OSError: it cannot be written.
    """
    path = run.folder / "README.md"
    if path.exists() and _MARK not in path.read_text(encoding="utf-8", errors="replace"):
        return
    with unfinished(path) as new:
        new.write_text(_card(run, copying, start), encoding="utf-8")
        os.replace(new, path)


_MARK = "<!-- Written by the trainer, which writes it again while this line is here. -->"


def _card(run: TrainingRun, copying: Copying | None, start: str) -> str:
    options, progress, unet = run.options, run.progress, run.unet_config
    height, width = run.pictures.size
    parameters = sum(tensor.numel() for tensor in run.network.parameters())
    rows = {
        "Pictures": "; ".join(
            f"{count} from step {step + 1} (sha256 {sha256[:16]})"
            for step, count, sha256 in progress.pictures
        ),
        "Size": f"{width} x {height} pixels, {unet.in_channels} channels, "
        f"{'random crops' if run.pictures.crop == 'random' else 'whole pictures, cropped to fit'}",
        "Network": f"UNet2DModel, widths {', '.join(map(str, unet.widths))}, "
        f"{unet.layers_per_block} layers per block, {parameters:,} parameters",
        "Starts from": start or "random weights",
        "Objective": f"{run.scheduler_config.prediction_type}, "
        f"{run.scheduler_config.beta_schedule} betas, "
        f"{run.scheduler_config.num_train_timesteps} timesteps",
        "Optimiser": f"AdamW, learning rate {options.learning_rate:g} ({options.decay} after "
        f"{options.warmup_steps} steps), batch {options.batch_size}, gradient clip "
        f"{options.gradient_clip:g}, {options.precision}",
        "Augmentation": ", ".join(_augmentation(run)) or "none",
        "Weights": f"averaged over the run, exponent {options.average_gamma:g}",
        "Length": f"{progress.step:,} steps, {_duration(progress.seconds)}, seed {options.seed}",
    }
    if progress.losses:
        rows["Loss"] = f"{statistics.fmean(progress.losses[-_LOSSES:]):.4f} at the end"
    if progress.retries:
        steps = ", ".join(map(str, progress.retries))
        rows["Diverged"] = f"at step {steps}; each time the learning rate was halved"
    if copying is not None:
        rows["Copying"] = str(copying)
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    return f"""---
license: unknown
library_name: diffusers
pipeline_tag: unconditional-image-generation
tags: [ddpm, pixel-space, comfyui]
---
{_MARK}

# {run.folder.name}

The licence depends on the pictures that it was trained on: fill in `license` above.

| | |
|---|---|
{table}

The folder has diffusers' layout:

    DDPMPipeline.from_pretrained("{Path(run.folder.name).as_posix()}")

`training.pt` and `training.json` are only needed to continue the training.
"""


def _augmentation(run: TrainingRun) -> list[str]:
    options = run.options
    found = []
    if options.flip:
        found.append("mirrored")
    if options.rotate:
        found.append("quarter turns")
    if options.augment:
        found.append(f"{options.augment:.0%} of each transformation of EDM, without leaks")
    if options.dropout:
        found.append(f"dropout {options.dropout:g}")
    if options.min_snr is not None:
        found.append(f"min-SNR weighting {options.min_snr:g}")
    return found


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} seconds"
    return f"{minutes} minutes" if minutes < 120 else f"{seconds / 3600:.1f} hours"
