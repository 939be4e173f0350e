"""In the real ComfyUI: holes filled by RePaint."""

from dataclasses import replace

import pytest
import torch
from comfyui_unconditional.schedulers.config import SchedulerConfig
from comfyui_unconditional.schedulers.randomness import SeededNoise
from comfyui_unconditional.schedulers.repaint import Known, RePaint
from comfyui_unconditional.schedulers.restoration import Blocks
from comfyui_unconditional.schedulers.sampler import drain
from comfyui_unconditional.schedulers.span import Stretch
from graphs import interrupt_at
from sampler_graphs import (
    exact_network,
    half_mask,
    output,
    records,
    report_of,
    sampler,
    some_images,
)
from torch import Tensor
from wiring import Link, Wires

SHORT = {"preset": "custom", "steps": 6, "jump_length": 2, "resamplings": 2, "eta": 0.5}
EVALUATIONS = 10


def repaint(wires: Wires, latent: Link, model: Link | None = None, **inputs) -> Link:
    return sampler(wires, "RePaint", model or wires.model(), latent=latent, **SHORT | inputs)


def by_the_core(images: Tensor, mask: Tensor, seeds: list[int]) -> Tensor:
    steps, length, resamplings, eta = (SHORT[n] for n in list(SHORT)[1:])
    how = {"jump_length": length, "resamplings": resamplings, "eta": eta}
    core = RePaint.over(SchedulerConfig(), Stretch(steps), **how)
    noise = SeededNoise(seeds, (1, 16, 16))
    with torch.inference_mode():
        return drain(
            replace(core, known=Known(images, mask)).sample(exact_network(), noise(), noise)
        )


def test_the_hole_is_filled_as_by_the_core_and_the_rest_stays_exactly(wires, bench, figure):
    images, mask = some_images(2), half_mask()
    grey = mask.clone()
    grey[:, 4:] *= 0.5
    exact = wires.exact(wires.model())
    links = [
        repaint(wires, bench.put(wires, images, mask=m, batch_index="[3, 0]"), exact)
        for m in (mask, grey)
    ]
    for made, given in zip(bench.get(wires, *links), (mask, grey), strict=True):
        expected = by_the_core(images, given[:, None], [10, 7])
        figure("RePaint in ComfyUI", (made - expected).abs().max().item(), 1e-4)
        assert torch.equal(made[..., :8], images[..., :8])
        assert (made - images)[..., 8:].abs().max() > 0.1


def test_a_mask_of_any_size_and_batch_fits_and_an_image_is_the_same_alone(wires, bench):
    images, small = some_images(3), torch.zeros(2, 4, 4)
    small[0, :, 2:], small[1, 2:] = 1, 1
    third = bench.put(wires, images[2:], mask=small[:1], batch_index="[2]")
    together, alone = bench.get(
        wires, repaint(wires, bench.put(wires, images, mask=small)), repaint(wires, third)
    )
    assert torch.equal(together[::2, ..., :6], images[::2, ..., :6])
    assert torch.equal(together[1, :, :6], images[1, :, :6])
    assert (together[2:] - alone).abs().max() < 1e-4


def test_models_that_tile_restore_and_draw_in_windows_fill_holes_too(wires, bench):
    image, mask = torch.zeros(1, 1, 16, 24), torch.zeros(1, 16, 24)
    mask[..., 8:] = 1
    small = Blocks(4).measure(torch.rand(1, 1, 16, 24) - 0.5)
    latent, model = bench.put(wires, image, mask=mask), wires.model()
    known = wires("UnconditionalImageOutput", samples=bench.put(wires, small))
    patched = [
        wires("UnconditionalSeamlessTiling", model=model),
        wires("UnconditionalWindows", model=model, overlap=0.5),
        wires("UnconditionalRestore", model=model, image=known, task="enlarge x4"),
    ]
    plain, *others = bench.get(
        wires, *(repaint(wires, latent, m, seed=7) for m in (model, *patched))
    )
    for made in others:
        assert torch.equal(made[..., :8], image[..., :8])
        assert (made - plain).abs().max() > 0.01
    assert (Blocks(4).measure(others[2]) - small)[..., 2:].abs().max() < 1e-5


def test_a_preset_sets_its_numbers_and_the_report_counts_all_evaluations(wires, bench):
    latent = bench.put(wires, some_images(1), mask=half_mask())
    more = {"steps": 3, "jump_length": 1, "resamplings": 1}
    report = report_of(bench, wires, repaint(wires, latent, preset="draft", **more))
    assert (report["steps"], report["evaluations"]) == (20, 50)


def test_a_picture_says_how_its_hole_was_filled(wires, bench):
    latent = bench.put(wires, some_images(1), mask=half_mask())
    (record,) = records(bench, wires, repaint(wires, latent, spacing="power"))
    expected = {name: value for name, value in SHORT.items() if name != "preset"}
    expected |= {"sampler": "RePaint", "spacing": "power", "evaluations": EVALUATIONS, "seed": 7}
    assert expected.items() <= record.items()
    assert len(record["image"]) == len(record["mask"]) == 64


def test_progress_and_previews_count_evaluations_and_cancel_ends_between_two(client, wires, bench):
    latent = bench.put(wires, some_images(1), mask=half_mask())
    output(wires, repaint(wires, latent, preset="paper"), "cancelled")
    run = client.run(wires.graph, interrupt_at(client, 5))
    assert run.interrupted
    value, maximum = run.progress[-1]
    assert maximum == 2410
    assert 5 <= value < 200
    assert len(run.previews) >= 5


@pytest.mark.parametrize(
    ("masked", "inputs", "words"),
    [
        (False, {}, "needs a mask, white where it should draw"),
        (True, {"steps": 1001}, "steps must be from 1 to 1000"),
    ],
)
def test_a_hole_that_cannot_be_filled_fails_on_this_node(masked, inputs, words, wires, bench):
    more = {"mask": half_mask()} if masked else {}
    node = repaint(wires, bench.put(wires, some_images(1), **more), **inputs)
    bench.fails(wires, node, words, node=node[0])


def test_a_mask_that_another_node_changes_while_sampling_is_rejected(wires, bench):
    model = wires("DifferentialDiffusion", model=wires.model())
    node = repaint(wires, bench.put(wires, some_images(1), mask=half_mask()), model)
    bench.fails(wires, node, "Differential Diffusion", node=node[0])
