"""In the real ComfyUI: consistency models and NCSN++, loaded, drawn, saved and rejected."""

import io
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
import toys
from comfyui_unconditional.models.digits import digits
from comfyui_unconditional.pictures.images import latent_to_image
from float64 import FIRST_SEED, SEEDS
from graphs import files, read_metadata
from PIL import Image
from sampler_graphs import half_mask, model_report, native, output, sampler, trajectory
from torch import Tensor
from wiring import Bench, Link, Wires

GREY = {**toys.TINY, "in_channels": 1, "out_channels": 1, "sample_size": 16}
CONSISTENCY = {"_class_name": "CMStochasticIterativeScheduler"}
SCORE = {"_class_name": "ScoreSdeVeScheduler"}
SIGMAS = {"time_embedding_type": "fourier"}


@pytest.fixture(scope="module")
def known() -> Tensor:
    """The finite set of pictures whose exact networks are drawn: a digit of each kind."""
    images, labels = digits()
    return torch.stack([images[(labels == k).nonzero()[0, 0]] for k in range(10)])


def write(models: Path, process: str, name: str = "", **fields: Any) -> str:
    """Write a tiny model of a process, and return its name."""
    name = name or f"tiny-{process}"
    kind = {"consistency": ({}, CONSISTENCY), "score": (SIGMAS, SCORE)}[process]
    toys.write_checkpoint(models / name, {**GREY, **kind[0], **fields}, scheduler=kind[1])
    return name


def exact(bench: Bench, models: Path, wires: Wires, process: str, known: Tensor) -> Link:
    """A model of a process with the exact network for the known pictures."""
    model = wires.model(write(models, process))
    return wires("TestClosedForm", model=model, kind=process, pictures=bench._save(known))


def consistency(wires: Wires, model: Link, **inputs: Any) -> Link:
    defaults = {"model": model, "seed": 5, "steps": 1, "batch_size": 32, "timesteps": ""}
    return wires("UnconditionalConsistencySampler", **{**defaults, **inputs})


def check_drawn(images: Tensor, known: Tensor) -> None:
    """Assert that each image is one of the known pictures, and that there are many of them."""
    apart = (images[:, None] - known[None]).abs().flatten(2).amax(2)
    assert apart.amin(1).max() < 0.05
    assert len(set(apart.argmin(1).tolist())) >= 6


# Consistency models


@pytest.mark.parametrize(
    "inputs", [{}, {"steps": 4}, {"timesteps": "22, 0"}], ids=["1 step", "4 steps", "a list"]
)
def test_an_exact_consistency_model_draws_pictures_of_its_data_in_one_step_or_a_few(
    inputs, wires, bench, models, known
):
    model = exact(bench, models, wires, "consistency", known)
    (images,) = bench.get(wires, consistency(wires, model, **inputs))
    check_drawn(images, known)


def test_a_picture_of_a_consistency_model_is_previewed_saved_and_says_how_it_was_made(
    wires, bench, host, models, known
):
    model = exact(bench, models, wires, "consistency", known)
    made = consistency(wires, model, timesteps="22, 0", batch_size=1)
    shown = output(wires, made, filename_prefix="consistency")
    run = bench.run(wires)
    (path,) = files(host, run, shown)
    record = read_metadata(path)["unconditional"]
    wanted = {"sampler": "Consistency", "timesteps": [22, 0], "seed": 5, "steps": 2}
    assert record | {**wanted, "evaluations": 2, "model": "tiny-consistency"} == record
    picture = np.asarray(Image.open(path), dtype=float)
    assert len(run.previews) == 2
    preview = Image.open(io.BytesIO(run.previews[-1])).convert("L").resize((16, 16))
    assert np.corrcoef(np.asarray(preview).ravel(), picture.ravel())[0, 1] > 0.9
    report = json.loads(run.outputs[made[0]]["unconditional_run"][0])
    assert (report["steps"], report["evaluations"], report["timesteps"]) == (2, 2, [0, 22])


@pytest.mark.parametrize("timesteps", ["", "22, 0"], ids=["1 step", "a list"])
def test_a_consistency_model_with_classes_draws_the_images_of_diffusers(timesteps, bench, models):
    fields = {**toys.TINY, "num_class_embeds": 5}
    theirs = toys.write_checkpoint(models / "cd", fields, scheduler=CONSISTENCY)
    pipeline = diffusers.ConsistencyModelPipeline(
        theirs, diffusers.CMStochasticIterativeScheduler()
    )
    pipeline.set_progress_bar_config(disable=True)
    images = pipeline(
        batch_size=len(SEEDS),
        class_labels=[3] * len(SEEDS),
        timesteps=[int(k) for k in timesteps.split(",")] if timesteps else None,
        generator=[torch.Generator().manual_seed(seed) for seed in SEEDS],
        output_type="np",
    ).images
    wires = Wires()
    inputs = {"seed": FIRST_SEED, "batch_size": len(SEEDS), "timesteps": timesteps}
    made = consistency(wires, wires.model("cd"), **inputs, class_label=3)
    (result,) = bench.get(wires, made)
    assert (result.abs() < 1).float().mean() >= 0.5
    assert (latent_to_image(result) - torch.from_numpy(images)).abs().max() < 1e-5


def test_lcm_of_ksampler_draws_in_one_step_the_image_of_our_node(wires, bench, models):
    model = wires.model(write(models, "consistency"))
    theirs = native(wires, model, 1, sampler_name="lcm", steps=1)
    ours, theirs = bench.get(wires, consistency(wires, model, batch_size=1), theirs)
    assert ours.abs().max() > 0.1
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ["lcm", "euler", "heun", "dpmpp_2m", "euler_ancestral"])
def test_samplers_of_the_host_draw_an_exact_consistency_model(name, wires, bench, models, known):
    model = exact(bench, models, wires, "consistency", known)
    drawn = native(wires, model, 32, sampler_name=name, scheduler="sgm_uniform", steps=4)
    check_drawn(*bench.get(wires, drawn), known)


def test_an_image_is_the_start_of_a_consistency_model_and_a_mask_keeps_it(
    wires, bench, models, known
):
    model = exact(bench, models, wires, "consistency", known)
    latent = bench.put(wires, known)
    near = consistency(wires, model, latent=latent, denoise=0.25)
    listed = consistency(wires, model, latent=latent, denoise=0.25, timesteps="35, 31, 0")
    far = consistency(wires, model, latent=latent, denoise=0.9)
    masked = bench.put(wires, known, mask=half_mask())
    half = consistency(wires, model, latent=masked, steps=4)
    nothing = consistency(wires, model, latent=latent, denoise=0, timesteps="22, 0")
    near, listed, far, half, same = bench.get(wires, near, listed, far, half, nothing)
    assert (near - known).abs().max() < 0.05
    assert (listed - known).abs().max() < 0.05
    assert ((far - known).abs().flatten(1).amax(1) > 0.5).sum() >= 5
    assert torch.equal(half[..., :8], known[..., :8])
    assert not torch.equal(half[..., 8:], known[..., 8:])
    assert torch.equal(same, known)


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"timesteps": "22, 5"}, "must end with 0, not 5"),
        ({"timesteps": "99, 0"}, "whole numbers from 0 to 39"),
        ({"denoise": 0.5}, "no latent is connected"),
        ({"class_label": 1}, "without classes"),
    ],
    ids=str,
)
def test_unsupported_uses_of_a_consistency_model_are_an_error_on_the_node(
    inputs, words, wires, bench, models
):
    node = consistency(wires, wires.model(write(models, "consistency")), **inputs)
    bench.fails(wires, node, words, node=node[0])


# NCSN++


@pytest.mark.parametrize("name", ["euler", "heun", "dpmpp_2m", "euler_ancestral"])
@pytest.mark.parametrize("scheduler", ["karras", "normal"])
def test_ksampler_draws_the_pictures_of_an_exact_score(
    scheduler, name, wires, bench, models, known
):
    model = exact(bench, models, wires, "score", known)
    drawn = native(wires, model, 32, sampler_name=name, scheduler=scheduler)
    check_drawn(*bench.get(wires, drawn), known)


@pytest.mark.parametrize("name", ["heun", "dpmpp_2m"])
def test_data_in_0_to_1_come_out_in_a_latent_with_their_mean_and_spread(name, wires, bench, models):
    model = wires.model(write(models, "score"))
    gaussian = wires("TestClosedForm", model=model, kind="gaussian score", pictures="")
    (images,) = bench.get(wires, native(wires, gaussian, 32, sampler_name=name, steps=40))
    # 0.3 and 0.1 in 0..1.
    assert images.mean().item() == pytest.approx(-0.4, abs=0.01)
    assert images.std().item() == pytest.approx(0.2, abs=0.01)


def test_euler_over_20_sigmas_draws_the_image_of_diffusers_network(bench, models):
    fields = {**toys.NCSNPP, "sample_size": 8, "layers_per_block": 1}
    theirs = toys.write_checkpoint(models / "ncsnpp", fields, scheduler=SCORE)
    wires = Wires()
    model = wires.model("ncsnpp")
    (result,) = bench.get(wires, native(wires, model, 1))

    # The data's own sigmas, from 1348 to 0.01 with rho 7.
    ramp = torch.linspace(0, 1, 20)
    high, low = 1348 ** (1 / 7), 0.01 ** (1 / 7)
    sigmas = [*((high + ramp * (low - high)) ** 7).tolist(), 0.0]
    noise = torch.randn((1, 3, 8, 8), generator=torch.Generator().manual_seed(5))
    data = 0.5 + sigmas[0] * noise
    with torch.inference_mode():
        for sigma, following in itertools.pairwise(sigmas):
            score = theirs(data, torch.tensor(sigma)).sample
            data = data - (following - sigma) * sigma * score
    assert ((result + 1) / 2 - data).abs().max() < 1e-5 * data.abs().max()


def test_an_image_is_the_start_of_ncsnpp_and_a_mask_keeps_it(wires, bench, models, known):
    model = exact(bench, models, wires, "score", known)
    latent = bench.put(wires, known)
    near = native(wires, model, latent_image=latent, denoise=0.25, scheduler="normal")
    masked = bench.put(wires, known, mask=half_mask())
    half = native(wires, model, latent_image=masked)
    near, half = bench.get(wires, near, half)
    assert (near - known).abs().max() < 0.05
    torch.testing.assert_close(half[..., :8], known[..., :8], rtol=0, atol=1e-5)
    assert (half[..., 8:] - known[..., 8:]).abs().max() > 0.5


# What both kinds have in common


@pytest.mark.parametrize("process", ["consistency", "score"])
def test_a_saved_model_is_loaded_again_by_us_and_by_diffusers_and_draws_the_same(
    process, wires, bench, host, models
):
    model = wires.model(write(models, process))
    wires("UnconditionalUNetSave", model=model, filename_prefix=f"saved-{process}")
    (before,) = bench.get(wires, native(wires, model, 2, sampler_name="lcm", steps=2))
    folder = host.output / "diffusers" / f"saved-{process}"
    pipeline = diffusers.DiffusionPipeline.from_pretrained(folder)
    expected = diffusers.ConsistencyModelPipeline
    assert type(pipeline) is (
        expected if process == "consistency" else diffusers.ScoreSdeVePipeline
    )
    wires = Wires()
    model = wires.model(f"saved-{process}")
    (after,) = bench.get(wires, native(wires, model, 2, sampler_name="lcm", steps=2))
    assert torch.equal(before, after)


@pytest.mark.parametrize(
    ("process", "wanted"),
    [
        ("consistency", {"process": "consistency", "sigmas": [0.002, 80]}),
        ("score", {"process": "VE SDE (NCSN++)", "sigmas": [0.02, 2696]}),
    ],
)
def test_the_loader_names_the_process_and_its_noise_levels(process, wanted, wires, bench, models):
    loader = wires.model(write(models, process, f"reported-{process}"))
    report = model_report(bench, wires, loader)
    assert report | {**wanted, "prediction": None, "timesteps": None} == report
    assert not report["warnings"]
    assert not report["schedule"]


def test_ncsnpp_without_a_scheduler_is_drawn_as_usual_and_the_loader_says_so(bench, models):
    toys.write_checkpoint(models / "bare-ncsnpp", {**GREY, **SIGMAS})
    wires = Wires()
    loader = wires.model("bare-ncsnpp")
    assumed = {"num_train_timesteps": 2000, "sigma_min": 0.01, "sigma_max": 1348.0}
    assert model_report(bench, wires, loader)["schedule"] == assumed
    bench.get(wires, native(wires, loader, 1, steps=2))


def _size(model: Link) -> dict[str, Any]:
    return {"model": model, "width": 0, "height": 0, "batch_size": 1}


@pytest.mark.parametrize(
    ("process", "words"),
    [
        ("consistency", ("is a consistency model", "'Consistency Sampler', or KSampler")),
        ("score", ("variance-exploding score model (NCSN++)", "Use KSampler with")),
    ],
)
def test_what_needs_a_schedule_of_timesteps_is_an_error_on_its_node_that_names_what_to_use(
    process, words, bench, models
):
    name = write(models, process)
    for refuse in _SCHEDULED:
        wires = Wires()
        node = refuse(wires, wires.model(name))
        bench.fails(wires, None, *words, node=node[0])


def _sampled(kind: str) -> Callable[[Wires, Link], Link]:
    def refuse(wires: Wires, model: Link) -> Link:
        wires("TestSaveLatent", samples=(node := sampler(wires, kind, model)), name="x")
        return node

    return refuse


def _scheduled(wires: Wires, model: Link) -> Link:
    wires("UnconditionalShowSchedule", model=(node := wires.scheduled(model)), steps=3)
    return node


def _timesteps(wires: Wires, model: Link) -> Link:
    wires("TestSaveSigmas", sigmas=(node := wires.timesteps(model)))
    return node


def _trajectory(wires: Wires, model: Link) -> Link:
    wires("TestSaveLatent", samples=(node := trajectory(wires, model)), name="x")
    return node


def _shown(wires: Wires, model: Link) -> Link:
    return wires("UnconditionalShowSchedule", model=model, steps=50)


def _custom(wires: Wires, model: Link) -> Link:
    node = wires.custom(
        model,
        wires("UnconditionalPNDMSamplerSelect", method="F-PNDM"),
        wires("KarrasScheduler", steps=5, sigma_max=10.0, sigma_min=0.1, rho=7.0),
        wires("UnconditionalEmptyLatent", **_size(model)),
        1,
    )
    wires("TestSaveLatent", samples=node, name="x")
    return node


_SCHEDULED = (
    *map(_sampled, ("PNDM", "DDPM", "DDIM")),
    *(_scheduled, _timesteps, _trajectory, _shown, _custom),
)


def test_consistency_sampler_names_the_process_of_another_model_and_what_to_use(
    wires, bench, models
):
    node = consistency(wires, wires.model())
    bench.fails(wires, node, "this MODEL is a model of DDPM's process", "PNDM", node=node[0])
    wires = Wires()
    node = consistency(wires, wires.model(write(models, "score")))
    bench.fails(wires, node, "NCSN++", "Use KSampler with it", node=node[0])


@pytest.mark.parametrize("process", ["consistency", "score"])
def test_replaced_noise_levels_are_an_error_and_not_a_wrong_picture(process, wires, bench, models):
    model = wires.model(write(models, process))
    changed = wires("ModelSamplingDiscrete", model=model, sampling="eps", zsnr=False)
    node = native(wires, changed, 1, steps=2)
    bench.fails(wires, node, "Another node has set this MODEL's noise levels", node=node[0])
