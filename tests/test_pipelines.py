"""The bundled model: diffusers' own pipelines load it, and give our images, pixel for pixel."""

from collections.abc import Callable

import bundled
import diffusers
import ours
import pytest
import torch
from bundled import CONFIG, RUNS, SHAPE
from comfyui_unconditional.checkpoints.files import find_files
from comfyui_unconditional.checkpoints.reading import read_checkpoint
from comfyui_unconditional.models.judge import judge
from comfyui_unconditional.pictures.images import latent_to_image
from comfyui_unconditional.unet.unet2d import UNet2D
from float64 import SEEDS, compare_runs, distances
from ours import DEEP_FIELD, DIGITS
from torch import nn

Figure = Callable[[str, float, float], None]

STEPS = {"DDPM": 7, "DDIM": 10, "F-PNDM": 10, "PLMS": 10}
"""Of the pipelines. Those that other tests here run too, so that each is run once."""


@pytest.mark.parametrize(
    ("sampler", "steps", "eta"),
    [
        pytest.param(*run, marks=pytest.mark.parity if run[1] <= 10 else pytest.mark.slow)
        for run in RUNS
    ],
)
def test_a_run_on_the_bundled_model_is_that_of_diffusers(sampler, steps, eta, parity):
    result = bundled.our_run(sampler, steps, eta)
    reference = bundled.their_runs(sampler, steps, eta)
    parity(f"{sampler} on digits-16", compare_runs(result, *reference))


@pytest.mark.parametrize(
    ("sampler", "steps", "eta"),
    # DDPM with all 1,000 steps: test_sampler_parity, on a network that is faster.
    [("DDPM", 7, 0.0), ("DDPM", 50, 0.0)]
    + [("DDIM", steps, eta) for steps in (10, 33, 50) for eta in (0.0, 0.5, 1.0)]
    + [("F-PNDM", steps, 0.0) for steps in (4, 10, 40, 50)]
    + [("PLMS", steps, 0.0) for steps in (2, 10, 50)],
)
def test_in_float64_a_run_on_the_bundled_model_is_that_of_diffusers_to_the_last_digits(
    sampler, steps, eta, figure
):
    seeds = SEEDS[:1]
    result = bundled.our_run(sampler, steps, eta, seeds=seeds, exact=True)
    reference = bundled.their_run(sampler, steps, eta, seeds=seeds, exact=True)
    figure(f"{sampler} on digits-16, both in float64", max(distances(result, reference)), 1e-10)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["DDPMPipeline", "DDIMPipeline", "PNDMPipeline, F-PNDM", "PNDMPipeline, PLMS"]
)
def test_the_pipeline_itself_gives_our_images(name, parity):
    unet = diffusers.UNet2DModel.from_pretrained(DIGITS / "unet")
    scheduler_folder = DIGITS / "scheduler"
    match name.split(",")[0]:
        case "DDPMPipeline":
            sampler = "DDPM"
            pipeline = diffusers.DDPMPipeline.from_pretrained(DIGITS)
        case "DDIMPipeline":
            sampler = "DDIM"
            scheduler = diffusers.DDIMScheduler.from_pretrained(scheduler_folder)
            pipeline = diffusers.DDIMPipeline(unet, scheduler)
        case _:
            sampler = name.split()[1]
            scheduler = diffusers.PNDMScheduler.from_pretrained(
                scheduler_folder, skip_prk_steps=sampler == "PLMS"
            )
            pipeline = diffusers.PNDMPipeline(unet, scheduler)
    pipeline.set_progress_bar_config(disable=True)
    images = pipeline(
        batch_size=len(SEEDS),
        generator=[torch.Generator().manual_seed(seed) for seed in SEEDS],
        num_inference_steps=STEPS[sampler],
        output_type="np",
    ).images
    _, exact = bundled.their_runs(sampler, STEPS[sampler])
    mine = latent_to_image(bundled.our_run(sampler, STEPS[sampler]))
    theirs = torch.from_numpy(images)
    parity(name, compare_runs(mine, theirs, latent_to_image(exact)))
    assert ((theirs * 255).round() - (mine * 255).round()).abs().max() <= 1


def test_a_run_breaks_the_bound_where_an_option_of_the_network_is_wrong():
    network = bundled.network()
    for module in network.modules():
        if isinstance(module, nn.GroupNorm):
            module.eps *= 10
    result = ours.run_ddim(CONFIG, 10, network, SEEDS, SHAPE)
    assert not compare_runs(result, *bundled.their_runs("DDIM", 10)).holds


@pytest.mark.slow
def test_the_bundled_model_draws_readable_digits_of_every_kind():
    judgement = judge(DIGITS, samples=200)
    assert judgement.unanimous >= 0.90
    assert min(judgement.shares) >= 0.04
    # Samples, not copies: as far from the real digits as those are from each other.
    assert judgement.distances.median > 0.8 * judgement.distances_real.median
    assert judgement.distances.smallest > 0.5


@pytest.mark.parametrize("folder", [DIGITS, DEEP_FIELD], ids=lambda folder: folder.name)
def test_a_bundled_model_is_small_and_complete(folder):
    network = read_checkpoint(find_files(folder)).build(UNet2D)
    assert 1e6 <= sum(parameter.numel() for parameter in network.parameters()) <= 2e6
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) <= 8e6
    for name in ("model_index.json", "scheduler/scheduler_config.json", "README.md"):
        assert (folder / name).is_file()
