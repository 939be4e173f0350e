"""In the real ComfyUI: our samplers on a LATENT: image to image, masks, parts of a run."""

from typing import Any

import numpy as np
import ours
import pytest
import torch
from comfyui_unconditional.schedulers.config import SchedulerConfig
from comfyui_unconditional.schedulers.ddim import ddim_run
from comfyui_unconditional.schedulers.ddpm import ddpm_run
from comfyui_unconditional.schedulers.evaluation import drain
from comfyui_unconditional.schedulers.pndm import pndm_run
from comfyui_unconditional.schedulers.prediction import add_noise
from comfyui_unconditional.schedulers.randomness import SeededNoise
from comfyui_unconditional.schedulers.run import Stretch
from comfyui_unconditional.schedulers.timesteps import make_timesteps
from comfyui_unconditional.unet.checkpoint import read_checkpoint
from comfyui_unconditional.unet.files import find_files
from comfyui_unconditional.unet.unet2d import UNet2D
from graphs import read_metadata
from torch import Tensor
from wiring import Bench, Link, Wires

SAMPLERS = ("PNDM", "DDPM", "DDIM")
SETTINGS: dict[str, dict[str, Any]] = {
    "PNDM": {"method": "F-PNDM", "convention": "diffusers"},
    "DDPM": {"variance_type": "model"},
    "DDIM": {"eta": 0.3},
}


def sampler(wires: Wires, kind: str, model: Link, **inputs: Any) -> Link:
    defaults = {"seed": 7, "steps": 10, "batch_size": 1, **SETTINGS[kind]}
    return wires(f"Unconditional{kind}Sampler", model=model, **{**defaults, **inputs})


def advanced(wires: Wires, kind: str, model: Link, latent: Link, **inputs: Any) -> Link:
    defaults = {
        "add_noise": "enable",
        "seed": 7,
        "steps": 10,
        "latent": latent,
        "start_at_step": 0,
        "end_at_step": 10000,
        "return_with_leftover_noise": "disable",
        **SETTINGS[kind],
    }
    return wires(f"Unconditional{kind}SamplerAdvanced", model=model, **{**defaults, **inputs})


def some_images(count: int = 2) -> Tensor:
    """Images that are no noise and no digits."""
    generator = torch.Generator().manual_seed(3)
    small = torch.rand(count, 1, 4, 4, generator=generator) * 2 - 1
    return torch.nn.functional.interpolate(small, size=(16, 16), mode="bilinear")


EMPTY = torch.zeros(2, 1, 16, 16)


def expected_image_to_image(kind: str, images: Tensor, seeds: list[int], steps: int) -> Tensor:
    """The last 10 of ``steps`` steps from the noised images, by the core alone."""
    config = SchedulerConfig()
    network = read_checkpoint(find_files(ours.DIGITS)).build(UNet2D)
    span = Stretch(steps, steps - 10).of(make_timesteps(config, steps))
    if kind == "PNDM":
        run = pndm_run(config, span, method="F-PNDM")
    elif kind == "DDPM":
        run = ddpm_run(config, span)
    else:
        run = ddim_run(config, span, eta=0.3)
    noise = SeededNoise(seeds, (1, 16, 16))
    x = add_noise(images, noise(), run.alpha_cumprod(span.timesteps[0]))
    noise.skip(steps - 10)
    with torch.inference_mode():
        return drain(run.start(network, x, noise))


@pytest.mark.parametrize("kind", SAMPLERS)
def test_denoise_runs_the_last_steps_of_a_longer_list_from_the_noised_image(
    kind: str, bench: Bench
) -> None:
    wires, images = Wires(), some_images()
    latent = bench.put(wires, images)
    (result,) = bench.get(wires, sampler(wires, kind, wires.model(), latent=latent, denoise=0.3))
    expected = expected_image_to_image(kind, images, [7, 8], int(10 / 0.3))
    assert (result - expected).abs().max() < 1e-4
    # It still shows the image that it began with.
    assert np.corrcoef(result.flatten(), images.flatten())[0, 1] > 0.3


def test_at_denoise_1_only_the_size_and_batch_of_the_latent_count(bench: Bench) -> None:
    wires = Wires()
    model = wires.model()
    plain = sampler(wires, "PNDM", model, batch_size=2)
    full, empty = bench.put(wires, some_images()), bench.put(wires, EMPTY)
    results = bench.get(
        wires,
        plain,
        sampler(wires, "PNDM", model, latent=full, batch_size=5),
        sampler(wires, "PNDM", model, latent=empty),
    )
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])
    wires = Wires()
    wide = bench.put(wires, torch.zeros(1, 1, 16, 32))
    (result,) = bench.get(wires, sampler(wires, "PNDM", wires.model(), latent=wide))
    assert result.shape == (1, 1, 16, 32)


def test_image_k_has_the_seed_of_its_batch_index(bench: Bench) -> None:
    wires = Wires()
    model = wires.model()
    picked = bench.put(wires, EMPTY, batch_index="[5, 2]")
    for kind in SAMPLERS:
        both = sampler(wires, kind, model, latent=picked)
        alone = [sampler(wires, kind, model, seed=seed) for seed in (12, 9)]
        results = bench.get(wires, both, *alone)
        assert (results[0] - torch.cat(results[1:])).abs().max() < 1e-4


def test_a_batch_index_of_another_length_is_an_error_in_words(bench: Bench) -> None:
    wires = Wires()
    odd = bench.put(wires, EMPTY, batch_index="[5, 2, 1]")
    node = sampler(wires, "PNDM", wires.model(), latent=odd)
    wires("TestSaveLatent", samples=node, name="x")
    run = bench.client.run(wires.graph)
    assert run.error
    assert run.error["node_id"] == node[0]
    assert "3 entries for 2 images" in run.error["exception_message"]


def test_keys_of_a_latent_that_others_put_there_are_kept(bench: Bench) -> None:
    wires = Wires()
    latent = bench.put(wires, EMPTY, batch_index="[0, 1]", mask=torch.ones(1, 16, 16))
    result = sampler(wires, "DDIM", wires.model(), latent=latent)
    wires("TestSaveLatent", samples=result, name="keys")
    keys = bench.run(wires).outputs[str(len(wires.graph))]["text"]
    assert keys == ["batch_index", "noise_mask", "samples", "somebody_elses", "unconditional"]


def test_an_empty_latent_of_the_host_gets_the_channels_of_the_model(bench: Bench) -> None:
    wires = Wires()
    empty = wires("EmptyLatentImage", width=128, height=128, batch_size=2)
    model = wires.model()
    result, plain = bench.get(
        wires,
        sampler(wires, "DDIM", model, latent=empty),
        sampler(wires, "DDIM", model, batch_size=2, latent=bench.put(wires, EMPTY)),
    )
    assert result.shape[:2] == (2, 1)
    if result.shape == plain.shape:  # a host that says how far its latents are scaled down
        assert torch.equal(result, plain)
    else:
        assert result.shape[2:] in ((16, 16), (128, 128))


@pytest.mark.parametrize(
    ("samples", "denoise", "words"),
    [
        (torch.ones(1, 4, 16, 16), 0.5, "4 channels, and the model draws pixels with 1"),
        (torch.zeros(1, 1, 5, 16, 16), 1.0, "still images"),
        (torch.zeros(1, 1, 15, 16), 1.0, "divisible by 4"),
        (None, 0.5, "no latent is connected"),
        (torch.zeros(1, 1, 16, 16), 0.001, "steps must be from 1 to 1000"),
        (torch.zeros(1, 1, 16, 16), float("nan"), "denoise must be from 0 to 1"),
    ],
    ids=["channels", "video", "size", "none", "too far", "nan"],
)
def test_a_latent_that_does_not_fit_is_an_error_on_the_sampler(
    samples: Tensor | None, denoise: float, words: str, bench: Bench
) -> None:
    wires = Wires()
    more = {} if samples is None else {"latent": bench.put(wires, samples)}
    node = sampler(wires, "DDIM", wires.model(), denoise=denoise, **more)
    wires("TestSaveLatent", samples=node, name="x")
    run = bench.client.run(wires.graph)
    assert run.error
    assert run.error["node_id"] == node[0]
    assert words in run.error["exception_message"]


def test_denoise_0_gives_the_latent_back(bench: Bench) -> None:
    wires, images = Wires(), some_images()
    latent = bench.put(wires, images)
    (result,) = bench.get(wires, sampler(wires, "PNDM", wires.model(), latent=latent, denoise=0.0))
    assert torch.equal(result, images)


# Masks


def half_mask() -> Tensor:
    """1, to be made, on the right half; shape (1, 16, 16)."""
    mask = torch.zeros(1, 16, 16)
    mask[..., 8:] = 1
    return mask


@pytest.mark.parametrize("kind", SAMPLERS)
@pytest.mark.parametrize("denoise", [1.0, 0.5])
def test_outside_the_mask_the_result_is_the_input_and_inside_it_is_new(
    kind: str, denoise: float, bench: Bench
) -> None:
    wires, images = Wires(), some_images()
    latent = bench.put(wires, images, mask=half_mask())
    model = wires.model()
    result, free = bench.get(
        wires,
        sampler(wires, kind, model, latent=latent, denoise=denoise),
        sampler(wires, kind, model, latent=bench.put(wires, images), denoise=denoise),
    )
    assert torch.equal(result[..., :8], images[..., :8])
    assert (result[..., 8:] - images[..., 8:]).abs().max() > 0.1
    # What is known on one side changes what is made on the other.
    assert (result[..., 8:] - free[..., 8:]).abs().max() > 0.05


@pytest.mark.parametrize("kind", SAMPLERS)
def test_outside_the_mask_the_known_image_noised_by_its_own_noise_stands_at_each_evaluation(
    kind: str, bench: Bench
) -> None:
    wires, images = Wires(), some_images()
    latent = bench.put(wires, images, mask=half_mask())
    name = f"asked-{kind}"
    model = wires("TestWrappedModel", model=wires.model(), kind="record", name=name)
    bench.get(wires, sampler(wires, kind, model, latent=latent))
    with np.load(bench.folder / f"{name}.npz") as asked:
        x, sigmas = torch.from_numpy(asked["x"]), asked["sigma"]
    noise = SeededNoise([7, 8], (1, 16, 16))()
    assert len(sigmas) == {"PNDM": 18, "DDPM": 10, "DDIM": 10}[kind]
    for k, sigma in enumerate(sigmas):
        known = images + sigma * noise
        scale = (1 + sigma**2) ** 0.5
        assert ((x[k] - known)[..., :8] / scale).abs().max() < 1e-5


def test_a_mask_of_another_size_and_soft_edges_work_as_in_the_hosts_samplers(bench: Bench) -> None:
    mask = torch.zeros(1, 64, 64)
    mask[..., 32:] = 1
    mask[..., 28:36] = 0.5
    wires, images = Wires(), some_images()
    latent = bench.put(wires, images, mask=mask)
    (result,) = bench.get(wires, sampler(wires, "DDIM", wires.model(), latent=latent))
    assert torch.equal(result[..., :6], images[..., :6])
    assert torch.isfinite(result).all()


# Parts of a run


@pytest.mark.parametrize("cut", [1, 20, 49])
@pytest.mark.parametrize(("kind", "eta"), [("DDIM", 0.0), ("DDIM", 0.7), ("DDPM", None)])
def test_two_parts_of_ddim_and_ddpm_are_the_whole(
    kind: str, eta: float | None, cut: int, bench: Bench
) -> None:
    wires = Wires()
    more = {"steps": 50, **({} if eta is None else {"eta": eta})}
    model, latent = wires.model(), bench.put(wires, EMPTY)
    whole = sampler(wires, kind, model, batch_size=2, **more)
    first = advanced(
        wires, kind, model, latent, end_at_step=cut, return_with_leftover_noise="enable", **more
    )
    second = advanced(wires, kind, model, first, add_noise="disable", start_at_step=cut, **more)
    results = bench.get(wires, whole, second, advanced(wires, kind, model, latent, **more))
    assert (results[0] - results[1]).abs().max() < 1e-5
    assert torch.equal(results[0], results[2])


@pytest.mark.parametrize("method", ["F-PNDM", "S-PNDM", "PLMS", "FON"])
@pytest.mark.parametrize("convention", ["diffusers", "paper"])
def test_two_parts_of_pndm_differ_from_the_whole_by_their_warm_up_only(
    method: str, convention: str, bench: Bench
) -> None:
    wires = Wires()
    more = {"steps": 50, "method": method, "convention": convention}
    model, latent = wires.model(), bench.put(wires, EMPTY)
    whole = sampler(wires, "PNDM", model, batch_size=2, **more)
    first = advanced(
        wires, "PNDM", model, latent, end_at_step=20, return_with_leftover_noise="enable", **more
    )
    second = advanced(wires, "PNDM", model, first, add_noise="disable", start_at_step=20, **more)
    results = bench.get(wires, whole, second)
    assert 0 < (results[0] - results[1]).abs().max() < 0.1


def test_a_run_that_stops_early_goes_to_the_image_unless_told_otherwise(bench: Bench) -> None:
    wires = Wires()
    model, latent = wires.model(), bench.put(wires, EMPTY)
    for kind in SAMPLERS:
        clean = advanced(wires, kind, model, latent, steps=50, end_at_step=30)
        noisy = advanced(
            wires,
            kind,
            model,
            latent,
            steps=50,
            end_at_step=30,
            return_with_leftover_noise="enable",
        )
        results = bench.get(wires, clean, noisy)
        assert results[0].abs().max() < 1.5
        # At step 30 of 50, t = 380, the noise is as strong as sigma.
        sigma = 1.82
        assert results[1].std() > 0.9 * sigma


@pytest.mark.parametrize("kind", SAMPLERS)
def test_noise_is_added_as_far_as_the_step_where_the_run_begins(kind: str, bench: Bench) -> None:
    wires, images = Wires(), some_images()
    latent = bench.put(wires, images)
    part = advanced(wires, kind, wires.model(), latent, steps=33, start_at_step=23)
    (result,) = bench.get(wires, part)
    expected = expected_image_to_image(kind, images, [7, 8], 33)
    assert (result - expected).abs().max() < 1e-4


def test_a_part_without_a_step_gives_the_latent_back(bench: Bench) -> None:
    wires, images = Wires(), some_images()
    model, latent = wires.model(), bench.put(wires, images)
    late = advanced(wires, "DDIM", model, latent, start_at_step=10)
    none = advanced(wires, "PNDM", model, latent, start_at_step=4, end_at_step=4)
    for result in bench.get(wires, late, none):
        assert torch.equal(result, images)


@pytest.mark.parametrize("kind", ["DDIM", "DDPM"])
def test_a_mask_acts_in_both_parts_as_in_the_whole(kind: str, bench: Bench) -> None:
    wires, images = Wires(), some_images()
    model, latent = wires.model(), bench.put(wires, images, mask=half_mask())
    whole = sampler(wires, kind, model, latent=latent)
    first = advanced(wires, kind, model, latent, end_at_step=5, return_with_leftover_noise="enable")
    second = advanced(wires, kind, model, first, add_noise="disable", start_at_step=5)
    results = bench.get(wires, whole, second)
    assert (results[0] - results[1]).abs().max() < 1e-4


# With the host's own samplers


def ksampler(wires: Wires, model: Link, latent: Link, **inputs: Any) -> Link:
    """The host's DDIM over our trailing timesteps, which are those of its "simple" scheduler."""
    nothing = wires("TestNothing")
    defaults = {
        "add_noise": "disable",
        "noise_seed": 0,
        "steps": 20,
        "cfg": 1.0,
        "sampler_name": "ddim",
        "scheduler": "simple",
        "positive": nothing,
        "negative": nothing,
        "start_at_step": 0,
        "end_at_step": 10000,
        "return_with_leftover_noise": "disable",
    }
    return wires("KSamplerAdvanced", model=model, latent_image=latent, **{**defaults, **inputs})


@pytest.mark.parametrize("ours_first", [True, False])
def test_a_run_begun_in_one_of_our_samplers_ends_in_the_hosts_and_the_other_way_round(
    ours_first: bool, bench: Bench
) -> None:
    wires = Wires()
    model = wires.model(timestep_spacing="trailing", clip_sample="false", set_alpha_to_one="true")
    whole = sampler(wires, "DDIM", model, steps=20, batch_size=2, eta=0.0)
    leftover = {"end_at_step": 10, "return_with_leftover_noise": "enable"}
    rest = {"add_noise": "disable", "start_at_step": 10}
    common = {"steps": 20, "eta": 0.0}
    if ours_first:
        empty = bench.put(wires, EMPTY)
        first = advanced(wires, "DDIM", model, empty, **common, **leftover)
        second = ksampler(wires, model, first, **rest)
    else:
        # The host would draw other noise: it gets ours, in its scale.
        noise = SeededNoise([7, 8], (1, 16, 16))()
        alphas_cumprod = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000), 0)
        started = bench.put(wires, noise / alphas_cumprod[999].sqrt())
        first = ksampler(wires, model, started, **leftover)
        second = advanced(wires, "DDIM", model, first, **common, **rest)
    results = bench.get(wires, whole, second)
    assert (results[0] - results[1]).abs().max() < 1e-3


def test_the_records_in_a_picture_say_how_it_was_begun(bench: Bench) -> None:
    wires = Wires()
    latent = bench.put(wires, some_images(1))
    parts = {
        "part": advanced(wires, "DDIM", wires.model(), latent, start_at_step=3),
        "denoised": sampler(wires, "PNDM", wires.model(), latent=latent, denoise=0.5),
    }
    for name, samples in parts.items():
        wires(
            "UnconditionalImageOutput",
            samples=samples,
            filename_prefix=f"records-{name}",
            format="png",
            scale=1,
        )
    bench.run(wires)
    found = {
        name: read_metadata(bench.host.output / f"records-{name}_00001_.png")["unconditional"]
        for name in parts
    }
    assert found["part"]["start_at_step"] == 3
    assert found["part"]["end_at_step"] == 10
    assert found["denoised"]["denoise"] == 0.5
