"""In the real ComfyUI: a masked run in parts; the image outside the mask never becomes noise."""

from typing import Any

import pytest
import torch
from sampler_graphs import SAMPLERS, advanced, half_mask, ksampler, sampler, some_images
from wiring import Bench, Link, Wires

LEFTOVER = {"end_at_step": 5, "return_with_leftover_noise": "enable"}
REST = {"add_noise": "disable", "start_at_step": 5}


def begun(wires: Wires, bench: Bench, kind: str, model: Link, count: int = 2, **more: Any) -> Link:
    mask = more.pop("mask", half_mask())
    latent = bench.put(wires, some_images(count), mask=mask)
    return advanced(wires, kind, model, latent, **LEFTOVER, **more)


def rejected(bench: Bench, wires: Wires, node: Link) -> None:
    words = "the image outside the mask cannot be kept", "LatentCompositeMasked"
    bench.fails(wires, node, *words, node=node[0])


def soft_mask() -> torch.Tensor:
    mask = half_mask()
    mask[..., 6:10] = torch.tensor([0.2, 0.4, 0.6, 0.8])
    return mask


@pytest.mark.parametrize("mask", [half_mask(), soft_mask()], ids=["hard", "soft"])
@pytest.mark.parametrize("kind", SAMPLERS)
def test_two_masked_parts_are_the_whole(kind, mask, wires, bench):
    model = wires.model()
    whole = sampler(wires, kind, model, latent=bench.put(wires, some_images(), mask=mask))
    second = advanced(wires, kind, model, begun(wires, bench, kind, model, mask=mask), **REST)
    one, two = bench.get(wires, whole, second)
    assert (one - two).abs().max() < (0.5 if kind == "PNDM" else 1e-4)  # PNDM's warm-up
    assert torch.equal(two[..., :6], some_images()[..., :6])


@pytest.mark.parametrize("change", ["pick", "repeat", "rebatch", "rebatch to one"])
@pytest.mark.parametrize("kind", SAMPLERS)
def test_the_known_half_is_that_of_each_image_however_they_are_picked_between_the_parts(
    kind, change, wires, bench
):
    model = wires.model()
    first = begun(wires, bench, kind, model, count=3)
    images = some_images(3)
    match change:
        case "pick":
            first = wires("LatentFromBatch", samples=first, batch_index=1, length=2)
            images = images[1:]
        case "repeat":
            first = wires("RepeatLatentBatch", samples=first, amount=2)
            images = images.repeat(2, 1, 1, 1)
        case "rebatch":
            first = wires("RebatchLatents", latents=first, batch_size=3)
        case _:  # a list of three, which this rebatches at the end
            first = wires("RebatchLatents", latents=first, batch_size=1)
    second = advanced(wires, kind, model, first, **REST)
    if change == "rebatch to one":
        second = wires("RebatchLatents", latents=second, batch_size=3)
    (result,) = bench.get(wires, second)
    assert torch.equal(result[..., :8], images[..., :8])
    assert (result[..., 8:] - images[..., 8:]).abs().max() > 0.1


@pytest.mark.parametrize("change", ["flip", "resize", "mask"])
@pytest.mark.parametrize("kind", SAMPLERS)
def test_images_that_were_changed_between_the_parts_are_rejected(kind, change, wires, bench):
    model = wires.model()
    first = begun(wires, bench, kind, model)
    match change:
        case "flip":
            first = wires("LatentFlip", samples=first, flip_method="y-axis: horizontally")
        case "resize":
            first = wires("LatentUpscaleBy", samples=first, upscale_method="bilinear", scale_by=2.0)
        case _:  # noise everywhere, and a mask only now
            latent = bench.put(wires, some_images())
            first = advanced(wires, kind, model, latent, **LEFTOVER)
            mask = wires("SolidMask", value=0.0, width=16, height=16)
            first = wires("SetLatentNoiseMask", samples=first, mask=mask)
    rejected(bench, wires, advanced(wires, kind, model, first, **REST))


def test_another_mask_in_the_second_part_keeps_its_own_area(wires, bench):
    model = wires.model()
    first = begun(wires, bench, "DDIM", model)
    mask = wires("SolidMask", value=0.0, width=16, height=16)
    masked = wires("SetLatentNoiseMask", samples=first, mask=mask)
    (result,) = bench.get(wires, advanced(wires, "DDIM", model, masked, **REST))
    assert torch.equal(result, some_images())


@pytest.mark.parametrize("mask", [half_mask(), soft_mask()], ids=["hard", "soft"])
@pytest.mark.parametrize("kind", SAMPLERS)
def test_the_hosts_samplers_keep_the_known_half_of_a_run_that_ours_started(
    kind, mask, wires, bench
):
    model = wires.model(timestep_spacing="trailing")
    first = begun(wires, bench, kind, model, mask=mask)
    second = ksampler(wires, model, first, steps=10, start_at_step=5)
    (result,) = bench.get(wires, second)
    kept = mask[0] == 0
    assert (result - some_images())[..., kept].abs().max() < 1e-5
    assert result.abs().max() < 1.5
    assert (result - some_images())[..., 8:].abs().max() > 0.1


@pytest.mark.parametrize("kind", SAMPLERS)
def test_the_hosts_leftover_noise_outside_a_mask_is_rejected(kind, wires, bench):
    model = wires.model(timestep_spacing="trailing")
    latent = bench.put(wires, some_images(), mask=half_mask())
    first = ksampler(
        wires,
        model,
        latent,
        steps=10,
        add_noise="enable",
        end_at_step=5,
        return_with_leftover_noise="enable",
    )
    rejected(bench, wires, advanced(wires, kind, model, first, **REST))


# Parts of SamplerCustomAdvanced


def split(wires: Wires, bench: Bench, first: str, second: str, between: Any = None) -> Link:
    model = wires.model(timestep_spacing="trailing")
    nothing = wires("UnconditionalConditioning")
    guider = wires("BasicGuider", model=model, conditioning=nothing)
    sigmas = wires("SplitSigmas", sigmas=wires.timesteps(model, 10), step=5)
    link = bench.put(wires, some_images(), mask=half_mask())
    for slot, (name, noise) in enumerate(
        ((first, wires("UnconditionalNoise", seed=7)), (second, wires("DisableNoise")))
    ):
        link = wires(
            "SamplerCustomAdvanced",
            noise=noise,
            guider=guider,
            sampler=wires("KSamplerSelect", sampler_name="euler")
            if name == "host"
            else wires("UnconditionalPNDMSamplerSelect", method="PLMS")
            if name == "PNDM"
            else wires("UnconditionalDDPMSamplerSelect", variance_type="model"),
            sigmas=[sigmas[0], slot],
            latent_image=link,
        )
        if between and not slot:
            link = between(link)
    return link


@pytest.mark.parametrize(
    ("first", "second"), [("PNDM", "PNDM"), ("DDPM", "PNDM"), ("PNDM", "DDPM"), ("PNDM", "host")]
)
def test_split_sigmas_keep_the_known_half(first, second, wires, bench):
    (result,) = bench.get(wires, split(wires, bench, first, second))
    images = some_images()
    assert (result - images)[..., :8].abs().max() < 1e-5
    assert (result - images)[..., 8:].abs().max() > 0.1
    assert result.abs().max() < 1.5


def test_split_sigmas_after_the_hosts_sampler_or_a_flip_are_rejected(wires, bench):
    rejected(bench, wires, split(wires, bench, "host", "PNDM"))
    wires = Wires()

    def flip(link: Link) -> Link:
        return wires("LatentFlip", samples=link, flip_method="y-axis: horizontally")

    rejected(bench, wires, split(wires, bench, "PNDM", "DDPM", flip))
