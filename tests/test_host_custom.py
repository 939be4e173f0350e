"""In the real ComfyUI: our samplers as SAMPLER and SIGMAS, on our models and on others."""

import itertools
from typing import Any

import ours
import pytest
import torch
import toys
from comfyui_unconditional.schedulers.config import SchedulerConfig
from comfyui_unconditional.schedulers.noise_schedule import NoiseSchedule
from comfyui_unconditional.schedulers.randomness import SeededNoise
from comfyui_unconditional.schedulers.timesteps import make_timesteps
from sampler_graphs import EMPTY, half_mask, sampler, some_images
from wiring import Bench, Link, Wires

METHODS = ("F-PNDM", "S-PNDM", "PLMS", "FON", "iPNDM_v")


def select(wires: Wires, method: str = "F-PNDM") -> Link:
    return wires("UnconditionalPNDMSamplerSelect", method=method)


def compare(
    bench: Bench,
    images: torch.Tensor,
    method: str = "F-PNDM",
    steps: int = 10,
    denoise: float = 1.0,
    schedule: dict[str, Any] | None = None,
    **more: Any,
) -> float:
    """How far PNDM as a SAMPLER is from the PNDM Sampler on the same LATENT."""
    wires = Wires()
    model = wires.model(**schedule or {})
    latent = bench.put(wires, images, **more)
    sigmas = wires.timesteps(model, steps, denoise=denoise)
    custom = wires.custom(model, select(wires, method), sigmas, latent, seed=7)
    settings = {"method": method, "steps": steps, "denoise": denoise, "latent": latent}
    one, two = bench.get(wires, custom, sampler(wires, "PNDM", model, **settings))
    return ours.difference(one, two, inside=False)


@pytest.mark.parametrize(
    ("steps", "schedule", "batch"),
    [(4, "linear", 3), (10, "squaredcos_cap_v2", 3), (50, "linear", 1)],
)
def test_sampler_sigmas_and_noise_give_the_image_of_the_pndm_sampler(
    steps, schedule, batch, bench, figure
):
    for prediction, method in itertools.product(("epsilon", "v_prediction"), METHODS):
        options = {"beta_schedule": schedule, "prediction_type": prediction}
        apart = compare(bench, torch.zeros(batch, 1, 16, 16), method, steps, schedule=options)
        figure("PNDM as SAMPLER", apart, 1e-3)


@pytest.mark.parametrize("spacing", ["leading", "linspace", "trailing"])
def test_the_same_holds_for_every_spacing_and_for_a_zero_terminal_snr(spacing, bench, figure):
    rescaled = {"rescale_betas_zero_snr": "true", "prediction_type": "v_prediction"}
    for options in ({}, rescaled, {"set_alpha_to_one": "true"}):
        options = {"timestep_spacing": spacing, **options}
        figure("PNDM as SAMPLER", compare(bench, EMPTY[:1], schedule=options), 1e-3)


@pytest.mark.parametrize("mask", [{}, {"mask": half_mask()}], ids=["whole", "masked"])
def test_denoise_and_masks_work_as_in_the_pndm_sampler(mask, bench):
    assert compare(bench, some_images(), denoise=0.5, **mask) < 1e-3


@pytest.mark.parametrize("denoise", [0.2, 0.5])
@pytest.mark.parametrize("method", METHODS)
def test_a_mid_grey_picture_is_a_picture_if_the_sigmas_start_below_the_noise(
    method, denoise, bench
):
    assert compare(bench, EMPTY, method, denoise=denoise) < 1e-3


@pytest.mark.parametrize("variance_type", ["model", "fixed_large"])
def test_ddpm_as_sampler_draws_the_noise_of_the_ddpm_sampler(variance_type, wires, bench):
    model = wires.model()
    latent = bench.put(wires, torch.zeros(2, 1, 16, 16), batch_index="[4, 1]")
    ddpm = wires("UnconditionalDDPMSamplerSelect", variance_type=variance_type)
    custom = wires.custom(model, ddpm, wires.timesteps(model, 20), latent, seed=7)
    node = sampler(wires, "DDPM", model, steps=20, latent=latent, variance_type=variance_type)
    one, two = bench.get(wires, custom, node)
    assert (one - two).abs().max() < 1e-4


@pytest.mark.parametrize("batched", [True, False], ids=["one batch", "one by one"])
def test_a_learned_variance_applies_at_any_cfg(batched, bench, models):
    config = {**toys.TINY, "out_channels": 6}
    scheduler = {"beta_end": 0.002, "variance_type": "learned_range"}
    toys.write_checkpoint(models / "learned-cfg", config, scheduler=scheduler)
    wires = Wires()
    model = wires.model("learned-cfg")
    latent = bench.put(wires, torch.zeros(3, 3, 8, 8))
    nothing = wires("UnconditionalConditioning")
    # Conditionings of different sizes cannot share a batch.
    negative = nothing if batched else wires("TestConditioning", seed=0)
    sigmas = wires.timesteps(model, 10)
    links = [
        wires(
            "SamplerCustomAdvanced",
            noise=wires("UnconditionalNoise", seed=7),
            guider=wires("CFGGuider", model=model, positive=nothing, negative=negative, cfg=cfg),
            sampler=select_ddpm(wires),
            sigmas=sigmas,
            latent_image=latent,
        )
        for cfg in (7.0, 1.0)
    ]
    node = sampler(wires, "DDPM", model, batch_size=3)
    with_cfg, without, own = bench.get(wires, *links, node)
    assert (with_cfg - without).abs().max() < 1e-3
    assert (without - own).abs().max() < 1e-3


def select_ddpm(wires: Wires) -> Link:
    return wires("UnconditionalDDPMSamplerSelect", variance_type="model")


def test_split_sigmas_leave_the_noise_for_the_next_sampler(wires, bench):
    model = wires.model()
    latent = bench.put(wires, torch.zeros(1, 1, 16, 16))
    sigmas = wires.timesteps(model, 50)
    split = wires("SplitSigmas", sigmas=sigmas, step=20)
    first = wires.custom(model, select(wires), split, latent, seed=7)
    guider = wires("BasicGuider", model=model, conditioning=wires("UnconditionalConditioning"))
    second = wires(
        "SamplerCustomAdvanced",
        noise=wires("DisableNoise"),
        guider=guider,
        sampler=select(wires),
        sigmas=[split[0], 1],
        latent_image=first,
    )
    results = bench.get(wires, second, sampler(wires, "PNDM", model, steps=50))
    assert (results[0] - results[1]).abs().max() < 0.1  # the warm-up


# SIGMAS


def sigmas_of(bench: Bench, *inputs: dict[str, Any]) -> list[list[float]]:
    """The SIGMAS of Timesteps nodes with these inputs, in one prompt."""
    wires = Wires()
    model = wires.model()
    keys = [wires("TestSaveSigmas", sigmas=wires.timesteps(model, **each))[0] for each in inputs]
    outputs = bench.run(wires).outputs
    return [outputs[key]["sigmas"] for key in keys]


def expected_sigmas(times: list[int]) -> list[float]:
    a = NoiseSchedule.from_config(SchedulerConfig()).alphas_cumprod
    return [*((1 - a[times]) / a[times]).sqrt().tolist(), 0.0]


@pytest.mark.parametrize("spacing", ["leading", "linspace", "trailing"])
def test_timesteps_are_those_of_the_schedulers_as_sigmas(spacing, bench):
    config = SchedulerConfig(timestep_spacing=spacing)
    runs: list[tuple[int, float, float | None]] = [(steps, 1.0, None) for steps in (1, 7, 50)]
    runs += [(10, 0.5, 20), (7, 0.5, 14), (300, 0.5, 600), (10, 0.3, 10 / 0.3)]
    inputs = [{"spacing": spacing, "steps": n, "denoise": denoise} for n, denoise, _ in runs]
    every = {"spacing": spacing, "steps": 1000, "denoise": 0.5}
    *found, all_of_half, none = sigmas_of(bench, *inputs, every, {"denoise": 0.0})
    for sigmas, (steps, _, whole) in zip(found, runs, strict=True):
        expected = expected_sigmas(make_timesteps(config, steps, whole))
        assert sigmas == pytest.approx(expected, rel=1e-5)
    assert all_of_half == pytest.approx(expected_sigmas(list(range(499, -1, -1))), rel=1e-5)
    assert none == []


def test_timesteps_may_be_typed(bench):
    (found,) = sigmas_of(bench, {"timesteps": "999, 500 20,0"})
    assert found == pytest.approx(expected_sigmas([999, 500, 20, 0]), rel=1e-5)


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"timesteps": "1000, 0"}, "'1000' is not a timestep of this model"),
        ({"timesteps": "9.5"}, "'9.5' is not a timestep of this model"),
        ({"timesteps": "5, 5"}, "must be in descending order, but 5 comes after 5"),
        ({"timesteps": ","}, "The timesteps field is empty"),
        ({"steps": 1001}, "steps must be from 1 to 1000"),
        ({"denoise": float("nan")}, "denoise must be from 0 to 1"),
        ({"steps": 1000, "steps_offset": 5}, "steps_offset = 5 leads to timestep 1004"),
    ],
    ids=str,
)
def test_invalid_timesteps_are_an_error_on_the_node(inputs, words, wires, bench):
    node = wires.timesteps(wires.model(), **inputs)
    wires("TestSaveSigmas", sigmas=node)
    bench.fails(wires, None, words, node=node[0])


# The host's own DDIM


def ddim_pair(bench: Bench, **clipping: str) -> float:
    """How far the host's ddim is from our DDIM Sampler on the same noise and timesteps."""
    wires = Wires()
    model = wires.model(timestep_spacing="trailing", set_alpha_to_one="true", **clipping)
    latent = bench.put(wires, torch.zeros(2, 1, 16, 16))
    native = wires("KSamplerSelect", sampler_name="ddim")
    custom = wires.custom(model, native, wires.timesteps(model, 50), latent, seed=7)
    node = sampler(wires, "DDIM", model, steps=50, batch_size=2, eta=0.0)
    one, two = bench.get(wires, custom, node)
    return ours.difference(one, two)


def test_the_hosts_ddim_and_ours_give_the_same_image_without_clipping(bench, figure):
    figure("DDIM, native and ours", ddim_pair(bench, clip_sample="false"), 1e-3)
    assert ddim_pair(bench, clip_sample="true") > 1e-2


# NOISE


def test_noise_per_image_is_that_of_our_samplers(wires, bench):
    latent = bench.put(wires, torch.zeros(2, 1, 16, 16), batch_index="[3, 0]")
    model = wires.model()
    noised = wires(
        "AddNoise",
        model=model,
        noise=wires("UnconditionalNoise", seed=2**64 - 1),
        sigmas=wires("ManualSigmas", sigmas="1.0, 0.0"),
        latent_image=latent,
    )
    (result,) = bench.get(wires, noised)
    assert (result - SeededNoise([2, 2**64 - 1], (1, 16, 16))()).abs().max() < 1e-5


# Other models


def guided(
    wires: Wires,
    model: Link,
    sampler_link: Link,
    sigmas: Link,
    latent: Link,
    *,
    controlled: bool = False,
) -> Link:
    positive = wires("TestConditioning", seed=1)
    if controlled:
        positive = wires("TestControl", conditioning=positive)
    return wires(
        "SamplerCustomAdvanced",
        noise=wires("UnconditionalNoise", seed=7),
        guider=wires(
            "CFGGuider",
            model=model,
            positive=positive,
            negative=wires("TestConditioning", seed=2),
            cfg=2.0,
        ),
        sampler=sampler_link,
        sigmas=sigmas,
        latent_image=latent,
    )


@pytest.mark.parametrize("kind", ["EPS", "V_PREDICTION"])
@pytest.mark.parametrize("method", ["F-PNDM", "PLMS"])
@pytest.mark.parametrize("steps", [10, 25])
def test_on_a_model_shaped_like_stable_diffusion_it_equals_diffusers_pndm(
    steps, method, kind, bench, figure
):
    for offset in (0, 1):
        wires = Wires()
        model = wires("TestTinyModel", kind=kind, seed=0)
        sigmas = wires.timesteps(model, steps, spacing="leading", steps_offset=offset)
        latent = bench.put(wires, torch.zeros(2, 4, 8, 8))
        theirs = wires(
            "TestDiffusersSampler",
            steps=steps,
            skip_prk_steps=method == "PLMS",
            steps_offset=offset,
            prediction_type="epsilon" if kind == "EPS" else "v_prediction",
        )
        one, two = bench.get(
            wires,
            guided(wires, model, select(wires, method), sigmas, latent),
            guided(wires, model, theirs, sigmas, latent),
        )
        figure("PNDM on a model like SD", ours.difference(one, two, inside=False), 1e-3)
        assert two.std() > 0.1


def test_a_controlnet_acts_in_pndm_as_it_does_in_diffusers_over_the_same_model(wires, bench):
    model = wires("TestTinyModel", kind="EPS", seed=0)
    sigmas = wires.timesteps(model, 10, spacing="leading")
    latent = bench.put(wires, torch.zeros(1, 4, 8, 8))
    theirs = wires(
        "TestDiffusersSampler",
        steps=10,
        skip_prk_steps=False,
        steps_offset=0,
        prediction_type="epsilon",
    )
    free, one, two = bench.get(
        wires,
        guided(wires, model, select(wires), sigmas, latent),
        guided(wires, model, select(wires), sigmas, latent, controlled=True),
        guided(wires, model, theirs, sigmas, latent, controlled=True),
    )
    assert ours.difference(one, two, inside=False) < 1e-3
    assert ours.difference(one, free, inside=False) > 1e-2


def test_ddpm_and_masks_run_on_a_model_shaped_like_stable_diffusion(wires, bench):
    model = wires("TestTinyModel", kind="EPS", seed=0)
    images = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    mask = torch.zeros(1, 8, 8)
    mask[..., 4:] = 1
    latent = bench.put(wires, images, mask=mask)
    sigmas = wires.timesteps(model, 10)
    ddpm = wires("UnconditionalDDPMSamplerSelect", variance_type="fixed_small")
    for link in (select(wires), ddpm):
        (result,) = bench.get(wires, guided(wires, model, link, sigmas, latent))
        assert torch.isfinite(result).all()
        # The host scales latents of this kind on the way in and out.
        assert (result - images)[..., :4].abs().max() < 1e-5
        assert (result - images)[..., 4:].abs().max() > 0.1


@pytest.mark.parametrize(
    ("kind", "words"), [("FLOW", "is a flow-matching model"), ("EDM", "is variance-exploding")]
)
def test_models_of_other_processes_are_rejected_with_an_explanation(kind, words, wires, bench):
    model = wires("TestTinyModel", kind=kind, seed=0)
    latent = bench.put(wires, torch.zeros(1, 4, 8, 8))
    node = wires.timesteps(model, 10)
    result = guided(wires, model, select(wires), node, latent)
    bench.fails(wires, result, words, node=node[0])

    # With the host's SIGMAS, the sampler reports it.
    wires = Wires()
    model = wires("TestTinyModel", kind=kind, seed=0)
    latent = bench.put(wires, torch.zeros(1, 4, 8, 8))
    sigmas = wires("BasicScheduler", model=model, scheduler="simple", steps=5, denoise=1.0)
    result = guided(wires, model, select(wires), sigmas, latent)
    bench.fails(wires, result, words, node=result[0])


def test_ascending_sigmas_are_rejected(wires, bench):
    model = wires.model()
    flipped = wires("FlipSigmas", sigmas=wires.timesteps(model, 5))
    latent = bench.put(wires, torch.zeros(1, 1, 16, 16))
    node = wires.custom(model, select(wires), flipped, latent, seed=0)
    bench.fails(wires, node, "These SIGMAS are not in descending order", node=node[0])


@pytest.mark.parametrize("scheduler", ["karras", "exponential", "normal", "sgm_uniform", "beta"])
def test_the_hosts_schedulers_drive_our_sampler_too(scheduler, wires, bench):
    model = wires.model()
    sigmas = wires("BasicScheduler", model=model, scheduler=scheduler, steps=20, denoise=1.0)
    latent = bench.put(wires, torch.zeros(1, 1, 16, 16))
    (result,) = bench.get(wires, wires.custom(model, select(wires), sigmas, latent, seed=7))
    assert result.abs().max() < 2
    assert result.std() > 0.3
