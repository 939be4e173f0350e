"""In the real ComfyUI: a run in parts, in our samplers alone and together with the host's."""

import pytest
import torch
from comfyui_unconditional.schedulers.randomness import SeededNoise
from sampler_graphs import (
    EMPTY,
    SAMPLERS,
    advanced,
    expected_image_to_image,
    ksampler,
    records,
    sampler,
    some_images,
)


@pytest.mark.parametrize("cut", [1, 20])
@pytest.mark.parametrize(("kind", "eta"), [("DDIM", 0.0), ("DDIM", 0.7), ("DDPM", None)])
def test_two_parts_of_ddim_and_ddpm_are_the_whole(kind, eta, cut, wires, bench):
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
    method, convention, wires, bench
):
    more = {"steps": 50, "method": method, "convention": convention}
    model, latent = wires.model(), bench.put(wires, EMPTY)
    whole = sampler(wires, "PNDM", model, batch_size=2, **more)
    first = advanced(
        wires, "PNDM", model, latent, end_at_step=20, return_with_leftover_noise="enable", **more
    )
    second = advanced(wires, "PNDM", model, first, add_noise="disable", start_at_step=20, **more)
    results = bench.get(wires, whole, second)
    assert 0 < (results[0] - results[1]).abs().max() < 0.1


def test_a_run_that_stops_early_ends_in_an_image_by_default(wires, bench):
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
def test_noise_is_added_as_far_as_the_step_where_the_run_begins(kind, wires, bench):
    images = some_images()
    latent = bench.put(wires, images)
    model = wires.exact(wires.model())
    part = advanced(wires, kind, model, latent, steps=33, start_at_step=23)
    (result,) = bench.get(wires, part)
    expected = expected_image_to_image(kind, images, [7, 8], 33)
    assert (result - expected).abs().max() < 1e-5


def test_a_part_without_a_step_gives_the_latent_back(wires, bench):
    images = some_images()
    model, latent = wires.model(), bench.put(wires, images)
    late = advanced(wires, "DDIM", model, latent, start_at_step=10)
    none = advanced(wires, "PNDM", model, latent, start_at_step=4, end_at_step=4)
    for result in bench.get(wires, late, none):
        assert torch.equal(result, images)


@pytest.mark.parametrize("ours_first", [True, False])
def test_a_run_started_in_our_sampler_can_end_in_the_hosts_and_the_other_way_round(
    ours_first, wires, bench
):
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
        # The host would draw different noise, so it gets ours, in its scale.
        noise = SeededNoise([7, 8], (1, 16, 16))()
        alphas_cumprod = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000), 0)
        started = bench.put(wires, noise / alphas_cumprod[999].sqrt())
        first = ksampler(wires, model, started, **leftover)
        second = advanced(wires, "DDIM", model, first, **common, **rest)
    results = bench.get(wires, whole, second)
    assert (results[0] - results[1]).abs().max() < 1e-3


def test_the_records_in_a_picture_say_how_it_was_started(wires, bench):
    latent = bench.put(wires, some_images(1))
    part, denoised = records(
        bench,
        wires,
        advanced(wires, "DDIM", wires.model(), latent, start_at_step=3),
        sampler(wires, "PNDM", wires.model(), latent=latent, denoise=0.5),
    )
    assert (part["start_at_step"], part["end_at_step"]) == (3, 10)
    assert denoised["denoise"] == 0.5
