"""In the real ComfyUI: a trajectory, its grid and its animation."""

import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import ours
import pytest
import torch
import toys
from comfyui_unconditional.host.images import latent_to_image
from comfyui_unconditional.schedulers.config import SchedulerConfig
from comfyui_unconditional.schedulers.ddim import sample_ddim
from comfyui_unconditional.schedulers.ddpm import sample_ddpm
from comfyui_unconditional.schedulers.evaluation import Evaluation, drain
from comfyui_unconditional.schedulers.pndm import sample_pndm
from comfyui_unconditional.schedulers.pndm_grid import make_grid
from comfyui_unconditional.schedulers.randomness import SeededNoise
from comfyui_unconditional.schedulers.timesteps import make_timesteps
from comfyui_unconditional.unet.checkpoint import read_checkpoint
from comfyui_unconditional.unet.files import find_files
from comfyui_unconditional.unet.unet2d import UNet2D
from graphs import fails, files, read_metadata
from PIL import Image, ImageSequence
from torch import Tensor
from wiring import Bench, Link, Wires

from devtools.client import Client, RefusedError
from devtools.environment import ROOT
from devtools.host import Host
from devtools.workflows import to_prompt

SHAPE = (1, 16, 16)
SAMPLERS = ("F-PNDM", "S-PNDM", "PLMS", "FON", "DDIM", "DDPM")


def trajectory(wires: Wires, model: Link | None = None, **inputs: Any) -> Link:
    """The Trajectory node's LATENT; its trajectory and frames are outputs 1 and 2."""
    defaults = {"seed": 7, "steps": 10, "batch_size": 2, "sampler": "F-PNDM", "show": "x0"}
    link = wires.model() if model is None else model
    return wires("UnconditionalTrajectory", model=link, **{**defaults, "every": 5, **inputs})


def output(wires: Wires, samples: Link, **inputs: Any) -> str:
    """Add an Image Output and return its key."""
    defaults = {"samples": samples, "filename_prefix": "trajectory", "format": "png", "scale": 1}
    return wires("UnconditionalImageOutput", **{**defaults, **inputs})[0]


def sampler(wires: Wires, model: Link, name: str, **inputs: Any) -> Link:
    """The node that draws what a trajectory with this sampler draws."""
    kind, settings = {
        "DDIM": ("DDIM", {"eta": 0.0}),
        "DDPM": ("DDPM", {"variance_type": "model"}),
    }.get(name, ("PNDM", {"method": name, "convention": "diffusers"}))
    defaults = {"seed": 7, "steps": 10, "batch_size": 2, **settings}
    return wires(f"Unconditional{kind}Sampler", model=model, **{**defaults, **inputs})


def evaluations(name: str, steps: int, seeds: list[int]) -> tuple[list[Evaluation], Tensor]:
    """What our core sees on its way, without a host, and where it ends."""
    config, noise = SchedulerConfig(), SeededNoise(seeds, SHAPE)
    network = read_checkpoint(find_files(ours.DIGITS)).build(UNet2D)
    timesteps = make_timesteps(config, steps)
    kept: list[Evaluation] = []
    with torch.inference_mode():
        if name == "DDPM":
            sampling = sample_ddpm(
                network, noise(), config=config, timesteps=timesteps, noise=noise
            )
        elif name == "DDIM":
            sampling = sample_ddim(
                network, noise(), config=config, timesteps=timesteps, noise=noise, eta=0.0
            )
        else:
            sampling = sample_pndm(
                network,
                noise(),
                grid=make_grid(config, steps, "diffusers"),
                method=name,  # type: ignore[arg-type]
                prediction_type="epsilon",
            )
        return kept, drain(sampling, kept.append)


# The trajectory


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_final_images_are_bit_for_bit_those_of_the_samplers_own_node(
    name: str, bench: Bench
) -> None:
    wires = Wires()
    model = wires.model()
    watched = trajectory(wires, model, sampler=name)
    plain = sampler(wires, model, name)
    final, frames, expected = bench.get(wires, watched, [watched[0], 1], plain)
    assert torch.equal(final, expected)
    assert torch.equal(frames.unflatten(0, (2, -1))[:, -1], expected)


@pytest.mark.parametrize("name", ["F-PNDM", "DDIM", "DDPM"])
@pytest.mark.parametrize(("show", "every"), [("x0", 1), ("x0", 4), ("x_t", 3), ("x_t", 100)])
def test_every_kth_evaluation_is_kept_and_then_the_final_image(
    name: str, show: str, every: int, bench: Bench
) -> None:
    wires = Wires()
    watched = trajectory(wires, sampler=name, show=show, every=every)
    (frames,) = bench.get(wires, [watched[0], 1])
    kept, final = evaluations(name, 10, [7, 8])
    moments = [getattr(evaluation, show) for evaluation in kept[::every]]
    expected = torch.stack([*moments, final], dim=1).flatten(0, 1)  # image by image
    assert frames.shape == expected.shape
    # An early x0 is up to 1 / sqrt(alphas_cumprod) = 157 times as large: relative to its size.
    scale = expected.abs().amax((1, 2, 3), keepdim=True).clamp(min=1)
    assert ((frames - expected).abs() / scale).max() < 1e-4
    if show == "x_t":
        assert torch.equal(frames[0], SeededNoise([7], SHAPE)()[0])


def test_frames_are_the_trajectory_as_an_image(bench: Bench) -> None:
    wires = Wires()
    model = wires.model()
    watched = trajectory(wires, model)
    back = wires("UnconditionalImageToLatent", image=[watched[0], 2], model=model, fit="keep size")
    samples, image = bench.get(wires, [watched[0], 1], back)
    expected = latent_to_image(samples).movedim(-1, 1) * 2 - 1  # clipped to what a picture holds
    assert (image - expected).abs().max() < 1e-6


def test_each_frame_says_of_which_image_and_time_it_is(bench: Bench) -> None:
    wires = Wires()
    key = output(wires, [trajectory(wires, sampler="DDIM", every=4)[0], 1])
    records = [
        read_metadata(path)["unconditional"] for path in files(bench.host, bench.run(wires), key)
    ]
    assert [record["seed"] for record in records] == [7] * 4 + [8] * 4
    for record in records:
        assert (record["sampler"], record["steps"], record["evaluations"]) == ("DDIM", 10, 10)
    moments = [(record.get("evaluation"), record.get("t")) for record in records]
    assert moments == [(0, 900), (4, 500), (8, 100), (None, None)] * 2
    assert [record.get("show") for record in records] == ["x0", "x0", "x0", None] * 2


def test_a_trajectory_counts_its_evaluations_and_can_be_cancelled(client: Client) -> None:
    def run(on_progress: Any = lambda *_: None, **inputs: Any) -> Any:
        wires = Wires()
        output(wires, [trajectory(wires, **inputs)[0], 1])
        return client.run(wires.graph, on_progress)

    done = run(seed=50)
    assert done.progress[-1] == (18, 18)
    assert len(done.previews) == 18

    def cancel(value: int, maximum: int) -> None:
        if value == 5:
            threading.Thread(target=client.post, args=("/interrupt", {})).start()

    stopped = run(cancel, sampler="DDPM", steps=1000, batch_size=16)
    assert stopped.interrupted
    assert stopped.progress[-1][0] < 100


# Grid


@pytest.mark.parametrize("file_format", ["png", "webp"])
def test_each_row_of_the_grid_is_one_image_appearing(file_format: str, bench: Bench) -> None:
    wires = Wires()
    watched = trajectory(wires)
    key = output(wires, [watched[0], 1], grid=True, scale=2, format=file_format)
    alone = output(wires, [watched[0], 1], scale=2)
    run = bench.run(wires)
    (sheet,) = files(bench.host, run, key)
    assert sheet.suffix == f".{file_format}"
    assert "animated" not in run.outputs[key]
    pixels = np.asarray(Image.open(sheet).convert("L"))
    assert pixels.shape == (2 * (2 * 17 - 1), 2 * (5 * 17 - 1))  # 18 evaluations: 4, and the last
    for k, path in enumerate(files(bench.host, run, alone)):
        top, left = k // 5 * 34, k % 5 * 34
        assert np.array_equal(
            pixels[top : top + 32, left : left + 32], np.asarray(Image.open(path))
        )
    metadata = read_metadata(sheet)
    assert {"prompt", "workflow"} <= set(metadata)
    record = metadata["unconditional"]
    assert record["sampler"] == "PNDM"
    assert [one["seed"] for one in record["images"]] == [7] * 5 + [8] * 5
    assert [one.get("evaluation") for one in record["images"]] == [0, 5, 10, 15, None] * 2


def test_the_grid_of_a_batch_is_nearly_square_or_as_wide_as_asked(bench: Bench) -> None:
    wires = Wires()
    plain = sampler(wires, wires.model(), "DDIM", batch_size=5)
    square = output(wires, plain, grid=True)
    narrow = output(wires, plain, grid=True, columns=2)
    run = bench.run(wires)
    for key, (columns, rows) in {square: (3, 2), narrow: (2, 3)}.items():
        (sheet,) = files(bench.host, run, key)
        assert Image.open(sheet).size == (columns * 17 - 1, rows * 17 - 1)
        assert [one["seed"] for one in read_metadata(sheet)["unconditional"]["images"]] == [
            *range(7, 12)
        ]


def test_other_nodes_that_pick_from_a_trajectory_do_not_mislead_the_grid(bench: Bench) -> None:
    wires = Wires()
    frames = [trajectory(wires)[0], 1]
    second = wires("LatentFromBatch", samples=frames, batch_index=5, length=5)
    some = wires("LatentFromBatch", samples=frames, batch_index=3, length=5)
    keys = [output(wires, link, grid=True) for link in (second, some)]
    run = bench.run(wires)
    sizes = [Image.open(files(bench.host, run, key)[0]).size for key in keys]
    assert sizes == [(5 * 17 - 1, 16), (3 * 17 - 1, 2 * 17 - 1)]


def test_npy_stays_the_whole_batch_whatever_the_grid(bench: Bench) -> None:
    wires = Wires()
    key = output(wires, [trajectory(wires)[0], 1], grid=True, format="npy")
    before = set(bench.host.output.glob("trajectory*.npy"))
    shown = files(bench.host, bench.run(wires), key)
    (saved,) = set(bench.host.output.glob("trajectory*.npy")) - before
    assert np.load(saved).shape == (10, 16, 16, 1)
    assert len(shown) == 10


# Animation


def frames_of(path: Path) -> tuple[list[np.ndarray], list[int]]:
    moving = ImageSequence.Iterator(Image.open(path))
    both = [(np.asarray(frame.convert("L")), frame.info["duration"]) for frame in moving]
    return [pixels for pixels, _ in both], [duration for _, duration in both]


def test_an_animation_shows_each_image_of_a_trajectory_in_its_own_file(bench: Bench) -> None:
    wires = Wires()
    watched = trajectory(wires)
    key = output(wires, [watched[0], 1], format="animated webp", scale=2, fps=10)
    alone = output(wires, [watched[0], 1], scale=2)
    run = bench.run(wires)
    assert run.outputs[key]["animated"] == [True]
    films = files(bench.host, run, key)
    assert len(films) == 2
    pictures = [np.asarray(Image.open(path)) for path in files(bench.host, run, alone)]
    for k, film in enumerate(films):
        assert film.suffix == ".webp"
        frames, durations = frames_of(film)
        assert durations == [100, 100, 100, 100, 1500]
        for frame, picture in zip(frames, pictures[5 * k : 5 * k + 5], strict=True):
            assert np.array_equal(frame, picture)
        metadata = read_metadata(film)
        assert {"prompt", "workflow"} <= set(metadata)
        assert metadata["unconditional"]["seed"] == 7 + k


def test_with_grid_the_images_of_a_trajectory_appear_side_by_side_in_one_file(bench: Bench) -> None:
    wires = Wires()
    watched = trajectory(wires)
    moving = output(wires, [watched[0], 1], format="animated webp", grid=True)
    still = output(wires, [watched[0], 1], grid=True)
    run = bench.run(wires)
    (film,) = files(bench.host, run, moving)
    (sheet,) = files(bench.host, run, still)
    rows = np.asarray(Image.open(sheet))
    frames, durations = frames_of(film)
    assert durations == [125] * 4 + [1500]
    for k, frame in enumerate(frames):
        assert frame.shape == (16, 33)
        column = rows[:, 17 * k : 17 * k + 16]
        assert np.array_equal(frame[:, :16], column[:16])
        assert np.array_equal(frame[:, 17:], column[17:])


def test_a_batch_is_one_animation_with_equal_times(bench: Bench) -> None:
    wires = Wires()
    plain = sampler(wires, wires.model(), "DDIM", batch_size=3)
    key = output(wires, plain, format="animated webp", fps=30, grid=True)
    alone = output(
        wires, sampler(wires, wires.model(), "DDIM", batch_size=1), format="animated webp"
    )
    run = bench.run(wires)
    (film,) = files(bench.host, run, key)
    frames, durations = frames_of(film)
    assert [frame.shape for frame in frames] == [(16, 16)] * 3
    assert durations == [33, 34, 33]
    assert [one["seed"] for one in read_metadata(film)["unconditional"]["images"]] == [7, 8, 9]
    (single,) = files(bench.host, run, alone)
    assert getattr(Image.open(single), "n_frames", 1) == 1


# The example


def test_the_example_shows_digits_appearing(host: Host, client: Client) -> None:
    saved = json.loads((ROOT / "example_workflows" / "progressive_generation.json").read_text())
    prompt = to_prompt(saved, client.get("/object_info"))
    node = next(n for n in prompt.values() if n["class_type"] == "UnconditionalTrajectory")
    assert (node["inputs"]["steps"], node["inputs"]["every"]) == (1000, 67)
    node["inputs"] |= {"steps": 100, "every": 7}  # the same number of frames, sooner
    run = client.run(prompt)
    assert run.error is None, run.error
    sheet, film = (files(host, run, key)[0] for key in ("3", "4"))
    pixels = np.asarray(Image.open(sheet))
    assert pixels.shape == (8 * (8 * 17 - 1), 8 * (16 * 17 - 1))
    rows = [pixels[8 * 17 * k : 8 * 17 * k + 128] for k in range(8)]
    # The last column shows digits: white on black, and what the film ends with.
    frames, durations = frames_of(film)
    assert len(frames) == 16
    assert durations[-1] == 1500
    for k, row in enumerate(rows):
        digit = row[:, -128:]
        assert digit.max() > 200
        assert digit.min() < 30
        top, left = k // 4 * 136, k % 4 * 136
        assert np.array_equal(frames[-1][top : top + 128, left : left + 128], digit)


# Bad input


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"steps": 1001}, "from 1 to 1000"),
        ({"class_label": 3}, "class"),
    ],
)
def test_what_the_samplers_refuse_is_refused_in_their_words(
    inputs: dict[str, Any], words: str, client: Client
) -> None:
    wires = Wires()
    watched = trajectory(wires, **inputs)
    output(wires, watched)
    fails(client, wires.graph, watched[0], words)


def test_more_frames_than_memory_holds_are_refused_before_the_run(
    client: Client, models: Path
) -> None:
    toys.write_checkpoint(models / "huge", {**toys.TINY, "sample_size": 2**19}, scheduler={})
    wires = Wires()
    watched = trajectory(wires, wires.model("huge"), every=1)
    output(wires, watched)
    fails(client, wires.graph, watched[0], "Keep fewer (a larger 'every')")


@pytest.mark.parametrize(
    ("node", "name", "value"),
    [
        ("trajectory", "every", 0),
        ("trajectory", "sampler", "RK45"),
        ("trajectory", "show", "eps"),
        ("output", "columns", -1),
        ("output", "columns", 1001),
        ("output", "fps", 0.0),
        ("output", "fps", float("nan")),
        ("output", "format", "gif"),
    ],
)
def test_a_value_beyond_the_widget_is_refused_by_name(
    node: str, name: str, value: Any, client: Client
) -> None:
    # The host refuses most; NaN passes it, and an older one does not compare choices.
    wires = Wires()
    watched = trajectory(wires, **({name: value} if node == "trajectory" else {}))
    output(wires, watched, **({name: value} if node == "output" else {}))

    def refusal() -> str:
        try:
            run = client.run(wires.graph)
        except RefusedError as error:
            return str(error)
        return run.error["exception_message"] if run.error else ""

    assert name in refusal()
