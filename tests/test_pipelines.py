"""The bundled model: diffusers' own pipelines load it, and give our images, pixel for pixel."""

from collections.abc import Callable

import diffusers
import numpy as np
import oracle
import ours
import pytest
import torch
from comfyui_unconditional.host.images import latent_to_image
from comfyui_unconditional.schedulers.config import SchedulerConfig
from comfyui_unconditional.schedulers.pndm import Method
from comfyui_unconditional.training.judge import judge
from comfyui_unconditional.unet.checkpoint import read_checkpoint
from comfyui_unconditional.unet.files import find_files, read_json
from comfyui_unconditional.unet.unet2d import UNet2D
from ours import DIGITS, SEEDS, difference

SHAPE = (1, 16, 16)
Figure = Callable[[str, float, float], None]


@pytest.fixture(scope="module")
def network() -> UNet2D:
    return read_checkpoint(find_files(DIGITS)).build(UNet2D)


@pytest.fixture(scope="module")
def config() -> SchedulerConfig:
    path = find_files(DIGITS).scheduler_config
    assert path is not None
    return SchedulerConfig.from_dict(read_json(path))


@pytest.fixture(scope="module")
def unet() -> diffusers.UNet2DModel:
    return diffusers.UNet2DModel.from_pretrained(DIGITS / "unet").eval()


def their_eps(unet: diffusers.UNet2DModel) -> Callable:
    def denoise(x: torch.Tensor, t: object) -> torch.Tensor:
        with torch.inference_mode():
            return unet(x, t).sample

    return denoise


@pytest.mark.parametrize("steps", [7, 50, 1000])
def test_ddpm_on_the_bundled_model(
    steps: int, network: UNet2D, unet: object, config: SchedulerConfig, figure: Figure
) -> None:
    reference = oracle.run_ddpm(config, steps, their_eps(unet), SEEDS, SHAPE)
    result = ours.run_ddpm(config, steps, network, SEEDS, SHAPE)
    figure("DDPM on digits-16, against diffusers", difference(result, reference), 1e-4)


@pytest.mark.parametrize("steps", [10, 33, 50])
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_ddim_on_the_bundled_model(
    steps: int, eta: float, network: UNet2D, unet: object, config: SchedulerConfig, figure: Figure
) -> None:
    reference = oracle.run_ddim(config, steps, their_eps(unet), SEEDS, SHAPE, eta)
    result = ours.run_ddim(config, steps, network, SEEDS, SHAPE, eta)
    figure("DDIM on digits-16, against diffusers", difference(result, reference), 1e-4)


@pytest.mark.parametrize(
    ("method", "steps"),
    [("F-PNDM", n) for n in (4, 10, 40, 50)] + [("PLMS", n) for n in (2, 10, 50)],
)
def test_pndm_on_the_bundled_model(
    method: str,
    steps: int,
    network: UNet2D,
    unet: object,
    config: SchedulerConfig,
    figure: Figure,
) -> None:
    reference = oracle.run_pndm(
        config, steps, their_eps(unet), SEEDS, SHAPE, skip_prk_steps=method == "PLMS"
    )
    result = ours.run_pndm(config, steps, network, SEEDS, SHAPE, method=method)  # type: ignore[arg-type]
    # Two steps from the middle of the schedule leave noise, which is not within (-1, 1).
    name = f"{method} on digits-16, against diffusers"
    figure(name, difference(result, reference, inside=steps > 2), 1e-4)


@pytest.mark.parametrize(
    "name", ["DDPMPipeline", "DDIMPipeline", "PNDMPipeline, F-PNDM", "PNDMPipeline, PLMS"]
)
def test_the_pipeline_itself_gives_our_images(
    name: str, network: UNet2D, config: SchedulerConfig, figure: Figure
) -> None:
    method: Method = "PLMS" if name.endswith("PLMS") else "F-PNDM"
    unet = diffusers.UNet2DModel.from_pretrained(DIGITS / "unet")
    scheduler_folder = DIGITS / "scheduler"
    match name.split(",")[0]:
        case "DDPMPipeline":
            pipeline = diffusers.DDPMPipeline.from_pretrained(DIGITS)
            result = ours.run_ddpm(config, 50, network, SEEDS, SHAPE)
        case "DDIMPipeline":
            scheduler = diffusers.DDIMScheduler.from_pretrained(scheduler_folder)
            pipeline = diffusers.DDIMPipeline(unet, scheduler)
            result = ours.run_ddim(config, 50, network, SEEDS, SHAPE)
        case _:
            scheduler = diffusers.PNDMScheduler.from_pretrained(
                scheduler_folder, skip_prk_steps=method == "PLMS"
            )
            pipeline = diffusers.PNDMPipeline(unet, scheduler)
            result = ours.run_pndm(config, 50, network, SEEDS, SHAPE, method=method)
    pipeline.set_progress_bar_config(disable=True)
    images = pipeline(
        batch_size=len(SEEDS),
        generator=[torch.Generator().manual_seed(seed) for seed in SEEDS],
        num_inference_steps=50,
        output_type="np",
    ).images
    mine = latent_to_image(result).numpy()
    figure(name, float(np.abs(images - mine).max()), 1e-4)
    assert np.abs((images * 255).round() - (mine * 255).round()).max() <= 1


def test_the_bundled_model_draws_readable_digits_of_every_kind() -> None:
    judgement = judge(DIGITS)
    assert judgement.undivided >= 0.90
    assert min(judgement.shares) >= 0.04
    # Samples, not copies: as far from the real digits as those are from each other.
    assert judgement.distances.median > 0.8 * judgement.distances_real.median
    assert judgement.distances.smallest > 0.5


def test_the_bundled_model_is_small_and_complete() -> None:
    network = read_checkpoint(find_files(DIGITS)).build(UNet2D)
    assert 1e6 <= sum(parameter.numel() for parameter in network.parameters()) <= 2e6
    assert sum(path.stat().st_size for path in DIGITS.rglob("*") if path.is_file()) <= 8e6
    for name in ("model_index.json", "scheduler/scheduler_config.json", "README.md"):
        assert (DIGITS / name).is_file()
