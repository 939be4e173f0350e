"""In the real ComfyUI: Seamless Tiling, Windows and Offset Image."""

from typing import Any

import numpy as np
import pytest
import torch
import toys
from graphs import interrupt_at
from PIL import Image
from sampler_graphs import advanced, ksampler, output, records, sampler
from torch import Tensor
from wiring import Bench, Wires

from devtools.wires import Link

SHIFT = {"shifts": (8, 8), "dims": (2, 3)}
"""By multiples of the stride of digits-16's network, and of windows that overlap by half."""


def seamless(wires: Wires, model: Link, directions: str = "both") -> Link:
    return wires("UnconditionalSeamlessTiling", model=model, directions=directions)


def windowed(wires: Wires, model: Link, **inputs: Any) -> Link:
    given = {"window": 0, "overlap": 0.25, "wrap": "none", **inputs}
    return wires("UnconditionalWindows", model=model, **given)


def some_noise(height: int = 16, width: int = 16) -> Tensor:
    return torch.randn(2, 1, height, width, generator=torch.Generator().manual_seed(5))


def from_noise(wires: Wires, bench: Bench, kind: str, model: Link, noise: Tensor) -> Link:
    """Draw from this noise, alone and shifted."""
    latent = bench.put(wires, torch.cat((noise, noise.roll(**SHIFT))))
    if kind == "KSampler":
        return ksampler(wires, model, latent, steps=8, sampler_name="euler")
    more = {"eta": 0.0} if kind == "DDIM" else {}
    return advanced(wires, kind, model, latent, add_noise="disable", steps=8, **more)


@pytest.mark.parametrize("kind", ["PNDM", "DDIM", "KSampler"])
def test_shifted_noise_gives_the_shifted_image_and_other_branches_keep_their_model(
    kind, wires, bench
):
    model, noise = wires.model(), some_noise()
    tiling = seamless(wires, model)
    links = [from_noise(wires, bench, kind, m, noise) for m in (model, tiling, model)]
    wires.graph[links[2][0]]["inputs"]["steps"] = 9  # not the first once more
    plain, tiled, other = bench.get(wires, *links)
    assert (tiled[2:] - tiled[:2].roll(**SHIFT)).abs().max() < 1e-4
    assert (plain[2:] - plain[:2].roll(**SHIFT)).abs().max() > 1e-2

    wires = Wires()
    model = wires.model()
    links = [
        from_noise(wires, bench, kind, m, noise) for m in (model, seamless(wires, model, "none"))
    ]
    for link in links:
        wires.graph[link[0]]["inputs"]["steps"] = 9
    for alone in bench.get(wires, *links):
        assert torch.equal(alone, other)


def test_after_an_error_nothing_of_the_tiling_is_left(wires, bench):
    (before,) = bench.get(wires, sampler(wires, "DDIM", wires.model(), steps=4))
    wires = Wires()
    broken = wires(
        "TestWrappedModel", model=seamless(wires, wires.model()), kind="attention", name=""
    )
    node = sampler(wires, "DDIM", broken, steps=3)
    bench.fails(wires, node, "Another node has put patches", node=node[0])
    wires = Wires()
    (other,) = bench.get(wires, sampler(wires, "DDIM", wires.model(), steps=4, batch_size=2))
    assert (other[:1] - before).abs().max() < 1e-5


@pytest.mark.parametrize("kind", ["compiled", "float64"])
def test_a_compiled_model_and_one_whose_weights_are_cast_tile_too(kind, wires, bench):
    model = wires.model()
    tiling = seamless(wires, model)
    other = wires("TestWrappedModel", model=model, kind=kind, name="")
    # Compiled first without the tiling.
    links = [sampler(wires, "DDIM", m, steps=4) for m in (other, seamless(wires, other), tiling)]
    plain, found, expected = bench.get(wires, *links)
    assert (found - expected).abs().max() < 1e-4
    assert (plain - expected).abs().max() > 1e-2


def test_a_picture_says_how_it_tiles(wires, bench):
    model = wires.model()
    models = [seamless(wires, model, directions) for directions in ("x", "none")]
    found = records(bench, wires, *(sampler(wires, "PNDM", m, steps=4) for m in models))
    assert [record.get("seamless") for record in found] == ["x", None]
    assert not any("patched" in record for record in found)


def test_an_offset_image_is_rolled(wires, bench):
    drawn = sampler(wires, "DDIM", wires.model(), steps=4, batch_size=2)
    image = wires("UnconditionalImageOutput", samples=drawn, filename_prefix="straight")
    rolled = wires("UnconditionalOffsetImage", image=image, x=0.25, y=-0.5)
    for images, name in ((image, "as-it-was"), (rolled, "rolled")):
        wires("SaveImage", images=images, filename_prefix=name)
    bench.run(wires)
    for number in (1, 2):
        before, after = (
            np.asarray(Image.open(bench.host.output / f"{name}_{number:05}_.png").convert("L"))
            for name in ("as-it-was", "rolled")
        )
        assert np.array_equal(after, np.roll(before, (-8, 4), (0, 1)))


@pytest.mark.parametrize("kind", ["PNDM", "DDIM", "KSampler"])
def test_windows_that_wrap_tile_and_treat_each_place_the_same(kind, wires, bench):
    noise = some_noise(32, 24)
    model = windowed(wires, wires.model(), overlap=0.5, wrap="both")
    (found,) = bench.get(wires, from_noise(wires, bench, kind, model, noise))
    assert (found[2:] - found[:2].roll(**SHIFT)).abs().max() < 1e-4


@pytest.mark.parametrize("kind", ["PNDM", "DDIM", "KSampler"])
def test_an_image_that_one_window_covers_is_the_same_as_without_windows(kind, wires, bench):
    model = wires.model()
    tiling = seamless(wires, model, "x")
    models = (model, windowed(wires, model), tiling, windowed(wires, model, wrap="x"))
    noises = [some_noise(*size) for size in ((16, 16), (8, 16), (8, 4))]
    links = [from_noise(wires, bench, kind, m, noise) for noise in noises for m in models]
    found = bench.get(wires, *links)
    for plain, one, tiled, wrapped in zip(*(found[k::4] for k in range(4)), strict=True):
        assert torch.equal(plain, one)
        assert torch.equal(tiled, wrapped)
        assert not torch.equal(plain, tiled)


def test_any_size_any_batch_a_class_a_mask_and_a_learned_variance(wires, bench, models):
    fields = {**toys.TINY, "out_channels": 6, "num_class_embeds": 4}
    toys.write_checkpoint(models / "windows", fields, scheduler={"variance_type": "learned_range"})
    model = windowed(wires, wires.model("windows"), overlap=0.4)
    images = torch.rand(3, 3, 13, 21) * 2 - 1
    mask = torch.zeros(1, 13, 21)
    mask[..., 9:] = 1
    more = {"steps": 4, "class_label": 2}
    both = sampler(wires, "DDPM", model, latent=bench.put(wires, images, mask=mask), **more)
    last = bench.put(wires, images[2:], mask=mask)
    alone = sampler(wires, "DDPM", model, latent=last, **more | {"seed": 9})
    together, single = bench.get(wires, both, alone)
    assert together.shape == images.shape
    assert torch.equal(together[..., :9], images[..., :9])
    assert (together[2:] - single).abs().max() < 1e-4
    assert (together - images)[..., 9:].abs().max() > 0.1


def test_a_picture_says_its_windows(wires, bench):
    model = windowed(wires, seamless(wires, wires.model(), "y"), window=8, wrap="x")
    (record,) = records(bench, wires, sampler(wires, "DDIM", model, steps=2))
    assert record["seamless"] == "y"
    assert record["windows"] == {"height": 8, "width": 8, "overlap": 0.25, "wrap": "x"}
    assert "patched" not in record


def test_a_window_that_the_network_cannot_halve_is_rejected_and_so_is_a_size_without_windows(
    wires, bench
):
    node = windowed(wires, wires.model(), window=10)
    bench.fails(wires, sampler(wires, "DDIM", node), "window must be divisible by 4", node=node[0])
    for with_windows, side in ((False, 18), (True, 10)):
        wires = Wires()
        model = windowed(wires, wires.model()) if with_windows else wires.model()
        node = wires("UnconditionalEmptyLatent", model=model, width=side, height=20, batch_size=1)
        bench.fails(wires, sampler(wires, "DDIM", model, latent=node), "divisible", node=node[0])


def test_the_memory_estimate_counts_windows_and_not_the_canvas(wires, bench):
    model, latent = wires.model(), bench.put(wires, torch.zeros(1, 1, 2048, 2048))
    asked = [
        wires("TestMemory", model=m, latent=latent)[0] for m in (model, windowed(wires, model))
    ]
    shown = bench.run(wires).outputs
    whole, in_windows = (shown[node]["bytes"][0] for node in asked)
    samplers = 16 * 8 * 2048 * 2048
    assert whole > 4 * in_windows
    assert samplers < in_windows < samplers + 150 * 2**20


def test_progress_counts_windows_and_cancel_ends_a_step_between_them(client, wires, bench):
    model = windowed(wires, wires.model())
    latent = bench.put(wires, torch.zeros(1, 1, 256, 256))
    output(wires, sampler(wires, "DDIM", model, latent=latent, steps=2), "cancelled")
    run = client.run(wires.graph, interrupt_at(client, 0))
    assert run.interrupted
    (value, maximum) = run.progress[-1]
    assert maximum == 2 * 21 * 21
    assert 0 < value < maximum / 2
