"""Consistency models and NCSN++, without a host: their options, their equations, their images."""

import itertools
import json
import math
from collections.abc import Callable

import diffusers
import pytest
import torch
import toys
from comfyui_unconditional.checkpoints.files import find_files
from comfyui_unconditional.checkpoints.reading import read_checkpoint
from comfyui_unconditional.checkpoints.saving import save_model
from comfyui_unconditional.pictures.images import latent_to_image
from comfyui_unconditional.schedulers.config import SchedulerConfig
from comfyui_unconditional.schedulers.consistency import Consistency
from comfyui_unconditional.schedulers.consistency_model import ConsistencyConfig
from comfyui_unconditional.schedulers.errors import ScheduleError
from comfyui_unconditional.schedulers.process import merge_options, read_process
from comfyui_unconditional.schedulers.randomness import SeededNoise
from comfyui_unconditional.schedulers.sampler import Model, drain
from comfyui_unconditional.schedulers.score_model import ScoreConfig
from comfyui_unconditional.schedulers.span import Span, Stretch
from ours import SEEDS
from torch import Tensor, nn
from toys import ours_and_theirs

Figure = Callable[[str, float, float], None]
SHAPE = (3, 8, 8)
CLASSES = {**toys.TINY, "num_class_embeds": 5}
NCSNPP = {**toys.NCSNPP, "sample_size": 8, "layers_per_block": 1}


def model_of(config: ConsistencyConfig, network: nn.Module, label: int | None = None) -> Model:
    """A network as a ``Model``, wrapped as the host does."""

    def call(x: Tensor, entry: float) -> Tensor:
        sigma = torch.tensor(config.level(int(entry)))
        more = () if label is None else (label,)
        output = network(config.network_input(x, sigma), config.time_of(int(entry)), *more)
        return config.denoised(output, x, sigma)

    return call


def run(sampler: Consistency, model: Model, seeds: tuple[int, ...] = SEEDS) -> Tensor:
    noise = SeededNoise(seeds, SHAPE)
    with torch.inference_mode():
        return drain(sampler.sample(model, sampler.begin(noise()), noise))


# Consistency models against diffusers


@pytest.mark.parity
@pytest.mark.parametrize("fields", [toys.TINY, CLASSES], ids=["without classes", "with classes"])
@pytest.mark.parametrize(
    ("steps", "options"),
    [
        *((steps, {}) for steps in (1, 2, 5, 40, "22, 0", "30, 11, 2, 0")),
        ("106, 40, 0", {"num_train_timesteps": 201, "sigma_max": 50.0, "rho": 5.0}),
        # Not a higher sigma_min: diffusers' last step rounds sigma^2 - sigma_min^2 to more than 0.
        ("20, 9, 0", {"s_noise": 1.2, "sigma_min": 0.001, "sigma_data": 0.7}),
    ],
    ids=str,
)
def test_a_consistency_model_draws_the_images_of_diffusers_pipeline(steps, options, fields, figure):
    network, theirs = ours_and_theirs(fields)
    label = 3 if "num_class_embeds" in fields else None
    scheduler = diffusers.CMStochasticIterativeScheduler(**options)
    pipeline = diffusers.ConsistencyModelPipeline(theirs, scheduler)
    pipeline.set_progress_bar_config(disable=True)
    listed = {"timesteps": [int(k) for k in steps.split(",")]} if isinstance(steps, str) else {}
    images = pipeline(
        batch_size=len(SEEDS),
        class_labels=None if label is None else [label] * len(SEEDS),
        num_inference_steps=1 if listed else steps,
        generator=[torch.Generator().manual_seed(seed) for seed in SEEDS],
        output_type="np",
        **listed,
    ).images
    config = ConsistencyConfig(**options)
    if isinstance(steps, str):
        sampler = Consistency.at(config, steps)
    else:
        sampler = Consistency.over(config, Stretch(steps))
    result = run(sampler, model_of(config, network, label))
    inside = (result.abs() < 1).float().mean()
    assert inside >= 0.5, "an image that is clipped everywhere shows no difference"
    difference = (latent_to_image(result) - torch.from_numpy(images)).abs().max().item()
    figure("consistency, ConsistencyModelPipeline", difference, 1e-5)


def test_the_noise_levels_and_their_times_are_those_of_diffusers():
    for T, options in ((40, {}), (201, {"sigma_max": 50.0, "rho": 5.0})):
        scheduler = diffusers.CMStochasticIterativeScheduler(num_train_timesteps=T, **options)
        config = ConsistencyConfig(num_train_timesteps=T, **options)
        for steps in (1, 2, 3, 7, T):
            scheduler.set_timesteps(steps)
            entries = Consistency.over(config, Stretch(steps)).span.timesteps
            levels = torch.tensor([config.level(k) for k in entries])
            torch.testing.assert_close(scheduler.sigmas[:-1], levels, rtol=1e-6, atol=0)
            times = torch.tensor([config.time_of(k) for k in entries], dtype=torch.float64)
            torch.testing.assert_close(scheduler.timesteps, times, rtol=1e-12, atol=0)


def test_the_parts_of_image_and_output_are_those_of_diffusers():
    scheduler, config = diffusers.CMStochasticIterativeScheduler(), ConsistencyConfig()
    ones, zeros = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    for level in (0.002, 0.01, 0.5, 3.0, 80.0):
        sigma = torch.tensor(level, dtype=torch.float64)
        c_skip, c_out = scheduler.get_scalings_for_boundary_condition(sigma)
        torch.testing.assert_close(config.denoised(zeros, 0.1 * ones, sigma), 0.1 * c_skip * ones)
        torch.testing.assert_close(config.denoised(ones, zeros, sigma), c_out * ones)
    # The lowest level is the image itself, and lower ones count as the lowest.
    for level in (0.002, 0.001, 0.0):
        sigma = torch.tensor(level)
        assert config.denoised(torch.randn(4), torch.full((4,), 0.3), sigma).eq(0.3).all()
        assert config.network_time(sigma) == pytest.approx(250 * math.log(0.002))


def test_images_are_clipped_unless_the_options_say_otherwise():
    x, sigma = torch.full((1, 3, 8, 8), 4.0), torch.tensor(0.002)
    assert ConsistencyConfig().denoised(x, x, sigma).max() == 1
    assert ConsistencyConfig(clip_denoised=False).denoised(x, x, sigma).max() == 4


def test_an_image_of_a_consistency_model_is_the_same_alone_and_in_a_batch():
    config = ConsistencyConfig()
    network, _ = ours_and_theirs(toys.TINY)
    sampler = Consistency.at(config, "22, 0")
    batch = run(sampler, model_of(config, network))
    for k, seed in enumerate(SEEDS):
        alone = run(sampler, model_of(config, network), (seed,))
        torch.testing.assert_close(alone[0], batch[k], rtol=0, atol=1e-5)


def gaussian(config: ConsistencyConfig, mean: float, std: float) -> Model:
    """The exact consistency function of Gaussian data: it keeps the number of deviations."""

    def call(x: Tensor, entry: float) -> Tensor:
        sigma = config.level(int(entry))
        spread = math.hypot(std, config.sigma_min) / math.hypot(std, sigma)
        return mean + (x - mean) * spread

    return call


@pytest.mark.parametrize("steps", [1, 2, 10])
def test_the_exact_function_of_gaussian_data_gives_their_mean_and_spread(steps):
    config, seeds = ConsistencyConfig(), tuple(range(200))
    images = run(
        Consistency.over(config, Stretch(steps)), gaussian(config, -0.4, 0.2), seeds
    ).flatten()
    assert images.mean().item() == pytest.approx(-0.4, abs=0.01)
    assert images.std().item() == pytest.approx(0.2, abs=0.005)


# Which steps run


def test_denoise_starts_a_consistency_model_in_the_middle_of_its_list():
    config = ConsistencyConfig()

    def entries(steps: int, denoise: float) -> Span:
        stretch = Stretch.of_denoise(steps, denoise, config.num_train_timesteps)
        return Consistency.over(config, stretch).span

    assert entries(1, 0.5) == Span((20,), skipped=1)
    assert entries(2, 0.5) == Span((20, 30), skipped=2)
    assert entries(30, 0.25) == Span(tuple(range(30, 40)), skipped=30)
    assert entries(4, 1.0) == Span((0, 10, 20, 30))


def test_denoise_leaves_out_what_a_list_has_before_the_start():
    config = ConsistencyConfig()
    assert Consistency.at(config, "30, 22, 0", 1.0).span == Span((0, 22, 30))
    assert Consistency.at(config, "30, 22, 0", 0.5).span == Span((22, 30), skipped=1)
    assert Consistency.at(config, "30, 20", 0.5).span == Span((20, 30))
    with pytest.raises(ScheduleError, match="starts at timestep 20 of 0 to 39 or later, but"):
        Consistency.at(config, "19, 0", 0.5)


def test_an_image_to_start_from_gets_the_noise_of_the_first_level():
    config = ConsistencyConfig()
    sampler = Consistency(config, Span((20,)))
    image, noise = torch.full((1, *SHAPE), 0.3), SeededNoise([1], SHAPE)()
    x = sampler.add_noise(image, noise)
    variance = config.level(20) ** 2 - config.sigma_min**2
    torch.testing.assert_close(x, image + variance**0.5 * noise)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("22, 5", "must end with 0, not 5"),
        ("0, 22", "descending order"),
        ("40, 0", "whole numbers from 0 to 39"),
        ("x", "'x' is not a timestep"),
    ],
)
def test_a_list_that_no_run_can_use_is_an_error_that_says_why(text, words):
    with pytest.raises(ScheduleError, match=words):
        Consistency.at(ConsistencyConfig(), text)


def test_more_steps_than_noise_levels_are_an_error():
    with pytest.raises(ScheduleError, match="steps must be from 1 to 40"):
        Consistency.over(ConsistencyConfig(), Stretch(41))


# NCSN++ against diffusers' network


@pytest.mark.parity
def test_euler_over_20_sigmas_is_the_same_in_the_data_s_range_with_diffusers_network(figure):
    config = ScoreConfig()
    network, theirs = ours_and_theirs(NCSNPP)
    sigmas = torch.logspace(math.log10(1348), -2, 20).tolist()
    sigmas.append(0.0)
    noise = SeededNoise(SEEDS, SHAPE)()

    # Images in -1..1, whose noise levels are twice the data's.
    x = config.noised(torch.zeros_like(noise), noise, torch.tensor(2 * sigmas[0]))
    with torch.inference_mode():
        for level, following in itertools.pairwise(sigmas):
            sigma = torch.tensor(2 * level)
            output = network(config.network_input(x, sigma), config.network_time(sigma))
            slope = (x - config.denoised(output, x, sigma)) / sigma
            x = x + (2 * following - sigma) * slope

    # The data in their own range, 0..1: Euler's method for dx = -sigma score dsigma.
    data = 0.5 + sigmas[0] * noise
    with torch.inference_mode():
        for level, following in itertools.pairwise(sigmas):
            score = theirs(data, torch.tensor(level)).sample
            data = data - (following - level) * level * score

    assert data.std() > 0.1
    difference = ((x + 1) / 2 - data).abs().max() / data.abs().max()
    figure("NCSN++, Euler over 20 sigmas", difference.item(), 1e-5)


@pytest.mark.parametrize("second_order", [False, True], ids=["euler", "heun"])
def test_the_exact_score_of_gaussian_data_in_0_to_1_gives_their_mean_and_spread(second_order):
    config, mean, std = ScoreConfig(), 0.3, 0.1

    def slope(x: Tensor, level: float) -> Tensor:
        sigma = torch.tensor(level)
        data, own = config.network_input(x, sigma), config.network_time(sigma)
        score = (mean - data) / (std**2 + own**2)
        return (x - config.denoised(score, x, sigma)) / sigma

    sigmas = torch.logspace(math.log10(2 * 1348), math.log10(0.02), 400).tolist()
    x = sigmas[0] * SeededNoise(range(200), SHAPE)()
    for sigma, following in itertools.pairwise(sigmas):
        d = slope(x, sigma)
        moved = x + (following - sigma) * d
        if second_order:
            moved = x + (following - sigma) * (d + slope(moved, following)) / 2
        x = moved
    assert x.mean().item() == pytest.approx(2 * mean - 1, abs=0.01)
    assert x.std().item() == pytest.approx(2 * std, abs=0.01)


# Options


@pytest.mark.parametrize(
    ("scheduler", "kind"),
    [
        (
            diffusers.CMStochasticIterativeScheduler(sigma_max=50.0, s_noise=1.003),
            ConsistencyConfig,
        ),
        (diffusers.CMStochasticIterativeScheduler(201, clip_denoised=False), ConsistencyConfig),
        (diffusers.ScoreSdeVeScheduler(sigma_max=348.0, snr=0.1), ScoreConfig),
    ],
    ids=["consistency", "consistency, trained alone", "NCSN++"],
)
def test_the_file_of_diffusers_scheduler_gives_its_options_and_they_are_saved_again(
    scheduler, kind, tmp_path
):
    scheduler.save_pretrained(tmp_path)
    fields = json.loads((tmp_path / "scheduler_config.json").read_text())
    process = read_process(fields)
    assert isinstance(process, kind)
    assert not process.warnings
    again = process.to_dict()
    assert read_process(again) == process
    opened = type(scheduler).from_config(again).config
    assert {name: opened[name] for name in again if name != "_class_name"} == {
        name: value for name, value in fields.items() if not name.startswith("_")
    }
    null = dict.fromkeys(set(fields) - {"_class_name"})
    assert read_process({**null, "_class_name": process.CLASS_NAME}) == kind()


def test_the_class_of_the_scheduler_decides_which_process_it_is():
    assert isinstance(read_process({}), SchedulerConfig)
    assert isinstance(read_process({"_class_name": "DDIMScheduler"}), SchedulerConfig)
    name = "CMStochasticIterativeScheduler"
    assert read_process({"_class_name": name}) == ConsistencyConfig()
    assert read_process({"_class_name": "FlaxScoreSdeVeScheduler"}) == ScoreConfig()
    # Fields alone prove nothing.
    with pytest.raises(ScheduleError, match=f'write "_class_name": "{name}"'):
        read_process({"clip_denoised": True, "sigma_max": 80.0})
    with pytest.raises(ScheduleError, match='write "_class_name": "ScoreSdeVeScheduler"'):
        read_process({"snr": 0.15})


def test_a_network_that_takes_sigmas_has_the_process_of_ncsnpp_and_no_other():
    assert read_process({}, takes_sigmas=True) == ScoreConfig()
    assert read_process({"snr": 0.15, "sigma_max": 50}, takes_sigmas=True) == ScoreConfig(
        sigma_max=50
    )
    for name in ("DDPMScheduler", "CMStochasticIterativeScheduler"):
        with pytest.raises(ScheduleError, match='Write "_class_name": "ScoreSdeVeScheduler"'):
            read_process({"_class_name": name}, takes_sigmas=True)
    with pytest.raises(ScheduleError, match="Karras VE"):
        read_process({"_class_name": "KarrasVeScheduler"}, takes_sigmas=True)


@pytest.mark.parametrize("name", ["CMStochasticIterativeScheduler", "ScoreSdeVeScheduler"])
@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"sigma_min": "0.1"}, "'sigma_min' must be a number"),
        ({"sigma_max": float("inf")}, "'sigma_max' must be a number"),
        ({"sigma_max": True}, "'sigma_max' must be a number"),
        (
            {"sigma_min": 2.0, "sigma_max": 1.0},
            r"'sigma_min' \(2\) must be below 'sigma_max' \(1\)",
        ),
        ({"num_train_timesteps": 0}, "'num_train_timesteps' must be a whole number"),
    ],
    ids=str,
)
def test_an_option_that_cannot_be_used_is_an_error_that_names_it(name, fields, words):
    with pytest.raises(ScheduleError, match=words):
        read_process({"_class_name": name, **fields})


def test_other_options_of_consistency_models_are_checked_too():
    for fields, words in (
        ({"clip_denoised": 1}, "'clip_denoised' must be true or false, not 1"),
        ({"rho": 0}, "'rho' must be a number from 0.001"),
        ({"num_train_timesteps": 1}, "'num_train_timesteps' must be a whole number from 2"),
    ):
        with pytest.raises(ScheduleError, match=words):
            ConsistencyConfig.from_dict(fields)


@pytest.mark.parametrize("name", ["CMStochasticIterativeScheduler", "ScoreSdeVeScheduler"])
def test_a_field_that_the_class_does_not_have_is_a_warning_that_names_it(name):
    process = read_process({"_class_name": name, "_diffusers_version": "0.9", "beta_start": 0.1})
    (warning,) = process.warnings
    assert "'beta_start'" in warning
    assert "_diffusers_version" not in warning


def test_usual_options_of_a_format_do_not_mix_with_a_given_process():
    consistency = {"_class_name": "CMStochasticIterativeScheduler"}
    usual = {"num_train_timesteps": 1000, "beta_schedule": "linear"}
    assert merge_options(usual, {"beta_end": 0.1}) == {**usual, "beta_end": 0.1}
    assert merge_options(usual, consistency) == consistency
    assert merge_options(consistency, {"sigma_max": 9.0}) == {**consistency, "sigma_max": 9.0}
    assert merge_options({**consistency, "rho": 5.0}, consistency) == {**consistency, "rho": 5.0}
    ddpm = {"_class_name": "DDPMScheduler"}
    assert merge_options({**consistency, "sigma_data": 1.0}, ddpm) == ddpm


# Files


@pytest.mark.parametrize(
    ("fields", "process", "pipeline"),
    [
        (toys.TINY, ConsistencyConfig(sigma_max=50.0), diffusers.ConsistencyModelPipeline),
        (NCSNPP, ScoreConfig(sigma_max=348.0), diffusers.ScoreSdeVePipeline),
    ],
    ids=["consistency", "NCSN++"],
)
def test_a_saved_model_is_a_pipeline_that_diffusers_opens_with_its_scheduler(
    fields, process, pipeline, tmp_path
):
    network, theirs = ours_and_theirs(fields)
    save_model(tmp_path, network.state_dict(), network.config, process)
    opened = diffusers.DiffusionPipeline.from_pretrained(tmp_path)
    assert type(opened) is pipeline
    assert opened.scheduler.config.sigma_max == process.sigma_max  # type: ignore[union-attr]
    x = torch.randn(1, *SHAPE)
    with torch.inference_mode():
        torch.testing.assert_close(opened.unet(x, 3.0).sample, theirs(x, 3.0).sample)
    checkpoint = read_checkpoint(find_files(tmp_path))
    assert checkpoint.scheduler is not None
    sigmas = checkpoint.config.is_variance_exploding
    assert read_process(checkpoint.scheduler, takes_sigmas=sigmas) == process


def test_a_folder_without_a_scheduler_is_of_the_network_s_usual_process(tmp_path):
    for name, fields, sigma_max in (("plain", toys.TINY, None), ("ncsnpp", NCSNPP, 1348.0)):
        toys.write_checkpoint(tmp_path / name, fields)
        checkpoint = read_checkpoint(find_files(tmp_path / name))
        assert checkpoint.scheduler is None
        assumed = checkpoint.origin.assumed_schedule
        assert assumed.get("sigma_max") == sigma_max
        sigmas = checkpoint.config.is_variance_exploding
        assert read_process(assumed, takes_sigmas=sigmas) == read_process({}, takes_sigmas=sigmas)


def test_the_file_beside_a_single_file_may_be_of_a_consistency_model(tmp_path):
    torch.save(toys.reference_model(toys.TINY).state_dict(), tmp_path / "cm.pt")
    beside = {"_class_name": "CMStochasticIterativeScheduler", "sigma_max": 50.0}
    content = {"_class_name": "UNet2DModel", **toys.TINY, "scheduler": beside}
    (tmp_path / "cm.json").write_text(json.dumps(content))
    checkpoint = read_checkpoint(find_files(tmp_path / "cm.pt"))
    assert checkpoint.scheduler == beside
    (tmp_path / "cm.json").write_text(json.dumps({"_class_name": "UNet2DModel", **toys.TINY}))
    (tmp_path / "scheduler_config.json").write_text(json.dumps(beside))
    checkpoint = read_checkpoint(find_files(tmp_path / "cm.pt"))
    assert checkpoint.scheduler == beside
    assert not checkpoint.origin.assumed_schedule
