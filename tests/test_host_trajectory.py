"""In the real ComfyUI: the Trajectory node."""

from typing import Any

import numpy as np
import pytest
import torch
import toys
from comfyui_unconditional.pictures.images import latent_to_image
from comfyui_unconditional.schedulers.config import SchedulerConfig
from comfyui_unconditional.schedulers.ddim import DDIM
from comfyui_unconditional.schedulers.ddpm import DDPM
from comfyui_unconditional.schedulers.pndm import PNDM
from comfyui_unconditional.schedulers.randomness import SeededNoise
from comfyui_unconditional.schedulers.sampler import Evaluation, drain
from comfyui_unconditional.schedulers.span import Stretch
from graphs import fails, files, frames_of, interrupt_at
from PIL import Image
from sampler_graphs import exact_network, output, records, sampler, trajectory
from templates import saved
from torch import Tensor
from wiring import Wires

from devtools.wires import Link
from devtools.workflows import to_prompt

SHAPE = (1, 16, 16)
SAMPLERS = ("F-PNDM", "S-PNDM", "PLMS", "FON", "DDIM", "DDPM", "iPNDM_v")


def plain(wires: Wires, model: Link, name: str) -> Link:
    """The node that draws what a trajectory with this sampler draws."""
    kind, settings = {"DDIM": ("DDIM", {"eta": 0.0}), "DDPM": ("DDPM", {})}.get(
        name, ("PNDM", {"method": name})
    )
    return sampler(wires, kind, model, batch_size=2, **settings)


def evaluations(name: str, steps: int, seeds: list[int]) -> tuple[list[Evaluation], Tensor]:
    """The evaluations and the result of our core, without a host."""
    config, noise = SchedulerConfig(), SeededNoise(seeds, SHAPE)
    network = exact_network()
    if name in ("DDPM", "DDIM"):
        kind = DDPM if name == "DDPM" else DDIM
        sampler = kind.over(config, Stretch(steps))
    else:
        sampler = PNDM.over(config, Stretch(steps), method=name)
    kept: list[Evaluation] = []
    with torch.inference_mode():
        return kept, drain(sampler.sample(network, noise(), noise), kept.append)


# The trajectory


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_final_images_are_bit_for_bit_those_of_the_samplers_own_node(name, wires, bench):
    model = wires.model()
    watched = trajectory(wires, model, sampler=name)
    final, frames, expected = bench.get(wires, watched, [watched[0], 1], plain(wires, model, name))
    assert torch.equal(final, expected)
    assert torch.equal(frames.unflatten(0, (2, -1))[:, -1], expected)


@pytest.mark.parametrize("name", ["F-PNDM", "DDIM", "DDPM"])
@pytest.mark.parametrize(("show", "every"), [("x0", 1), ("x0", 4), ("x_t", 3), ("x_t", 100)])
def test_every_kth_evaluation_is_kept_and_then_the_final_image(name, show, every, wires, bench):
    model = wires.exact(wires.model())
    watched = trajectory(wires, model, sampler=name, show=show, every=every)
    (frames,) = bench.get(wires, [watched[0], 1])
    kept, final = evaluations(name, 10, [7, 8])
    moments = [getattr(evaluation, show) for evaluation in kept[::every]]
    expected = torch.stack([*moments, final], dim=1).flatten(0, 1)  # image by image
    assert frames.shape == expected.shape
    # An early x0 is up to 1 / sqrt(alphas_cumprod) = 157 times as large: relative to its size.
    scale = expected.abs().amax((1, 2, 3), keepdim=True).clamp(min=1)
    assert ((frames - expected).abs() / scale).max() < 1e-5
    if show == "x_t":
        assert torch.equal(frames[0], SeededNoise([7], SHAPE)()[0])


def test_frames_are_the_trajectory_as_an_image(wires, bench):
    model = wires.model()
    watched = trajectory(wires, model)
    back = wires("UnconditionalImageToLatent", image=[watched[0], 2], model=model, fit="keep size")
    samples, image = bench.get(wires, [watched[0], 1], back)
    expected = latent_to_image(samples).movedim(-1, 1) * 2 - 1  # clipped to what a picture holds
    assert (image - expected).abs().max() < 1e-6


def test_each_frame_says_of_which_image_and_time_it_is(wires, bench):
    found = records(bench, wires, [trajectory(wires, sampler="DDIM", every=4)[0], 1])
    assert [record["seed"] for record in found] == [7] * 4 + [8] * 4
    for record in found:
        assert (record["sampler"], record["steps"], record["evaluations"]) == ("DDIM", 10, 10)
    moments = [(record.get("evaluation"), record.get("t")) for record in found]
    assert moments == [(0, 900), (4, 500), (8, 100), (None, None)] * 2
    assert [record.get("show") for record in found] == ["x0", "x0", "x0", None] * 2


def test_a_trajectory_counts_its_evaluations_and_can_be_cancelled(client):
    def run(on_progress: Any = lambda *_: None, **inputs: Any) -> Any:
        wires = Wires()
        output(wires, [trajectory(wires, **inputs)[0], 1])
        return client.run(wires.graph, on_progress)

    done = run(seed=50)
    assert done.progress[-1] == (18, 18)
    assert len(done.previews) == 18

    stopped = run(interrupt_at(client, 5), sampler="DDPM", steps=1000, batch_size=16)
    assert stopped.interrupted
    assert stopped.progress[-1][0] < 100


# The example


def test_the_example_shows_digits_appearing(host, client):
    prompt = to_prompt(saved("progressive_generation"), client.get("/object_info"))
    node = next(n for n in prompt.values() if n["class_type"] == "UnconditionalTrajectory")
    assert (node["inputs"]["steps"], node["inputs"]["every"]) == (1000, 67)
    node["inputs"] |= {"steps": 100, "every": 7}  # the same number of frames, sooner
    run = client.run(prompt)
    assert run.error is None, run.error
    sheet, film = (files(host, run, key)[0] for key in ("3", "4"))
    pixels = np.asarray(Image.open(sheet))
    assert pixels.shape == (8 * (8 * 17 - 1), 8 * (16 * 17 - 1))
    rows = [pixels[8 * 17 * k : 8 * 17 * k + 128] for k in range(8)]
    # The last column shows digits: white on black, the same as at the end of the film.
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
    ("inputs", "words"), [({"steps": 1001}, "from 1 to 1000"), ({"class_label": 3}, "class")]
)
def test_input_that_the_samplers_reject_is_rejected_with_the_same_message(
    inputs, words, wires, client
):
    watched = trajectory(wires, **inputs)
    output(wires, watched)
    fails(client, wires.graph, watched[0], words)


def test_more_frames_than_memory_holds_are_rejected_before_the_run(client, models):
    toys.write_checkpoint(models / "huge", {**toys.TINY, "sample_size": 2**19}, scheduler={})
    wires = Wires()
    watched = trajectory(wires, wires.model("huge"), every=1)
    output(wires, watched)
    fails(client, wires.graph, watched[0], "Record fewer frames (a larger 'every')")
