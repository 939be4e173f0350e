"""The time of a training step, ours and that of diffusers' script, with the same weights."""

import statistics
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from comfyui_unconditional.schedulers.config import SchedulerConfig
from comfyui_unconditional.training.options import Precision
from comfyui_unconditional.training.plan import Start
from comfyui_unconditional.training.precision import resolve_precision
from comfyui_unconditional.unet.config import UNetConfig
from comfyui_unconditional.unet.unet2d import UNet2D

from ..peers import DIGITS, SHAPES, TRAINED
from ..speed import Report, describe_machine, ratios, take_turns
from .ours import NODE_OPTIONS, begin, step
from .theirs import Loop

RGB_32: dict[str, Any] = {
    "sample_size": 32,
    "down_block_types": ["DownBlock2D"] * 3,
    "up_block_types": ["UpBlock2D"] * 3,
    "block_out_channels": [32, 64, 96],
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "add_attention": False,
}
# Name, shape, batch size, and the largest ratios: ours in float32 / theirs, ours in bfloat16 /
# theirs in float32.
CASES = (
    ("digits-16", SHAPES[DIGITS], 64, 0.95, 0.65),
    (TRAINED, SHAPES[TRAINED], 2, 0.82, 0.48),
    ("32 px, RGB, no attention", RGB_32, 32, 0.94, 0.58),
)


def measure(seconds: float) -> int:
    """Measure all cases on the CPU, ``seconds`` for each; return how many targets are missed."""
    device = torch.device("cpu")
    print(f"{describe_machine(device)}\n")
    report = Report()
    rows = [_compare(report, case, seconds) for case in CASES]
    print(
        "\n| network | batch | ours | ours, bfloat16 | the script | the script, averaging | rounds "
        "|\n|---|---|---|---|---|---|---|"
    )
    print(*rows, "", f"{report.missed} targets missed", sep="\n")
    return report.missed


def _compare(
    report: Report, case: tuple[str, dict[str, Any], int, float, float], seconds: float
) -> str:
    """Time one case; return a row of milliseconds."""
    name, shape, batch, target, half_target = case
    device, unet = torch.device("cpu"), UNetConfig.from_dict(shape)
    torch.manual_seed(0)
    weights = UNet2D(unet).state_dict()
    pictures = torch.randint(256, (4 * batch, unet.in_channels, *unet.size), dtype=torch.uint8)
    given = pictures[:batch].float() / 127.5 - 1  # from their data loader, which is not timed
    theirs = Loop(shape, weights)
    precisions: dict[str, Precision] = {"ours": "float32"}
    if resolve_precision("auto", device) == "bfloat16":
        precisions["bfloat16"] = "bfloat16"

    with tempfile.TemporaryDirectory() as folder:
        runs = {
            peer: begin(
                pictures,
                Path(folder) / peer,
                unet=unet,
                options=replace(NODE_OPTIONS, batch_size=batch, precision=precision),
                device=device,
                start=Start(unet, SchedulerConfig(), weights, name),
            )
            for peer, precision in precisions.items()
        }
        _check_equal(name, runs["ours"].network, theirs, given)
        calls = {
            **{peer: lambda run=run: step(run) for peer, run in runs.items()},
            "script": lambda: theirs.step(given),
            "averaging": lambda: theirs.step(given, averaging=True),
        }
        times = take_turns(calls, seconds)

    for peer, what, limit in (
        ("ours", "float32, ours / the script", target),
        ("bfloat16", "ours in bfloat16 / the script in float32", half_target),
    ):
        if peer not in times:
            continue
        found = ratios(times, peer, "script")
        quarter = len(found) // 4
        detail = f"{found[quarter]:.2f} to {found[-1 - quarter]:.2f}"
        report.add(f"{name}, batch {batch}: {what}", statistics.median(found), limit, detail)
    columns = ("ours", "bfloat16", "script", "averaging")
    each = [f"{1e3 * statistics.median(times[c]):.0f} ms" if c in times else "-" for c in columns]
    return f"| {name} | {batch} | {' | '.join(each)} | {len(times['ours'])} |"


@torch.no_grad()
def _check_equal(name: str, network: UNet2D, theirs: Loop, images: torch.Tensor) -> None:
    """Raise RuntimeError unless both networks predict the same."""
    t = torch.full((len(images),), 500)
    a, b = network(images, t), theirs.model(images, t).sample
    differs = ((a - b).abs().max() / b.abs().max()).item()
    if not differs <= 1e-4:
        raise RuntimeError(
            f"{name}: the predictions differ by {differs:.2g}, so steps are not timed."
        )
