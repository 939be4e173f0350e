"""Timesteps found for a model, and their file."""

import itertools
import json
from dataclasses import replace

import pytest
import torch
import toys
from comfyui_unconditional.checkpoints.files import find_files
from comfyui_unconditional.checkpoints.reading import read_checkpoint
from comfyui_unconditional.checkpoints.saving import save_model
from comfyui_unconditional.networks.errors import ConfigError
from comfyui_unconditional.schedulers.config import SchedulerConfig
from comfyui_unconditional.schedulers.errors import ScheduleError
from comfyui_unconditional.schedulers.noise_schedule import NoiseSchedule
from comfyui_unconditional.schedulers.optimise import evaluations, optimise, typical_distance
from comfyui_unconditional.schedulers.pndm import PNDM
from comfyui_unconditional.schedulers.sampler import drain
from comfyui_unconditional.schedulers.span import Span, Stretch
from comfyui_unconditional.schedulers.timesteps import make_timesteps
from comfyui_unconditional.unet.config import UNetConfig
from comfyui_unconditional.unet.unet2d import UNet2D
from denoisers import SHAPE, Denoiser

from devtools.environment import ROOT

FOUND = replace(
    SchedulerConfig(), optimised=((700, 450, 240, 80), (760, 540, 350, 190, 60), (9, 8, 7, 6, 3, 1))
)


class Drawing:
    """Draws the same noise with one sampler after another, and counts the calls."""

    def __init__(self, config, images=4):
        self.model = Denoiser(config)
        self.noise = {
            held_back: torch.randn(
                images, *SHAPE, generator=torch.Generator().manual_seed(int(held_back))
            )
            for held_back in (False, True)
        }

    def __call__(self, sampler, held_back):
        return drain(sampler.sample(self.model, self.noise[held_back], None))


@pytest.mark.parametrize("refine", [False, True])
@pytest.mark.parametrize(
    "options",
    [{}, {"beta_schedule": "squaredcos_cap_v2"}, {"prediction_type": "v_prediction"}],
    ids=str,
)
def test_the_lists_draw_closer_to_the_image_of_many_steps_than_power(options, refine):
    config = SchedulerConfig(**options)
    draw = Drawing(config)
    found, checked = optimise(config, draw, teacher=60, refine=refine)
    planned = evaluations(config, 60, refine=refine)
    assert len(draw.model.times) <= planned
    if not refine:
        assert len(draw.model.times) == planned
    assert [len(times) for times in found.optimised] == list(range(4, 51))
    for times in found.optimised:
        assert times[0] < 1000
        assert times[-1] >= 1
        assert all(a > b for a, b in itertools.pairwise(times))
        assert PNDM(found, Span(times)).begins_with_noise

    # As the node reports, on seeds that were not used to choose the lists.
    target = draw(PNDM.over(config, Stretch(60), "power", method="iPNDM_v"), True)
    for row in checked:
        for spacing, distance in (("optimised", row.optimised), ("power", row.power)):
            sampler = PNDM.over(found, Stretch(row.steps), spacing, method="iPNDM_v")
            assert typical_distance(draw(sampler, True), target) == pytest.approx(distance)
        assert row.optimised <= row.power
    assert checked[0].optimised < 0.8 * checked[0].power


def test_a_list_that_draws_worse_than_power_on_other_seeds_is_not_kept():
    config = SchedulerConfig()
    draw = Drawing(config)

    def misled(sampler, held_back):
        images = draw(sampler, held_back)
        # On the seeds used to choose, everything seems better than many steps and "power".
        worst = tuple(make_timesteps(config, len(sampler.span.timesteps), spacing="power"))
        return images + 9 * (not held_back and sampler.span.timesteps == worst)

    draw.noise[True] = draw.noise[True] * 0.01  # for an image where a late start is wrong
    found, checked = optimise(config, misled, teacher=60)
    for row in checked:
        assert row.optimised <= row.power
        if row.optimised == row.power:
            power = make_timesteps(config, row.steps, spacing="power")
            assert make_timesteps(found, row.steps, spacing="optimised") == power


def test_a_model_with_few_timesteps_gets_lists_as_far_as_they_go():
    config = SchedulerConfig(num_train_timesteps=7)
    found, checked = optimise(config, Drawing(config), teacher=60, refine=True)
    assert [len(times) for times in found.optimised] == [4, 5, 6, 7]
    assert [row.steps for row in checked] == [4, 5, 6, 7]
    config = SchedulerConfig(num_train_timesteps=3)
    with pytest.raises(ScheduleError, match="Use all of its timesteps"):
        optimise(config, Drawing(config), teacher=60)


def test_without_lists_the_spacing_says_where_they_come_from():
    with pytest.raises(ScheduleError, match="Connect 'Optimise Timesteps'"):
        make_timesteps(SchedulerConfig(), 5, spacing="optimised")


def test_the_list_of_as_many_steps_is_visited_and_power_where_there_is_none():
    assert make_timesteps(FOUND, 5, spacing="optimised") == [760, 540, 350, 190, 60]
    power = make_timesteps(FOUND, 10, spacing="power")
    assert make_timesteps(FOUND, 10, spacing="optimised") == power


def test_the_end_of_a_longer_list_begins_where_denoise_says():
    config, half = FOUND, Stretch.of_denoise(5, 0.5, 1000)
    times = make_timesteps(config, 5, half.whole, "optimised")
    assert times[0] == make_timesteps(config, 5, half.whole, "power")[0] == 499
    table = NoiseSchedule.from_config(config).alphas_cumprod
    clocks = (-table[times].log()).sqrt() / (-table[times[0]].log()).sqrt()
    own = table[list(FOUND.optimised[1])].log().neg().sqrt()
    assert torch.allclose(clocks, own / own[0], atol=2e-3)


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ({"beta_end": 0.03}, False),
        ({"prediction_type": "sample"}, False),
        ({"num_train_timesteps": 2000}, False),
        ({"timestep_scale": 0.5}, False),
        ({"clip_sample": False, "timestep_spacing": "trailing"}, True),
    ],
    ids=str,
)
def test_lists_are_discarded_when_the_process_changes(changes, kept):
    assert FOUND.changed(**changes).optimised == (FOUND.optimised if kept else ())


def test_a_late_start_that_was_found_gives_no_warning(caplog):
    PNDM.over(FOUND, Stretch(4), "optimised", method="iPNDM_v").begin(torch.zeros(1))
    assert "where the model expects" not in caplog.text


@pytest.fixture
def saved(tmp_path):
    config = UNetConfig.from_dict(toys.TINY)
    save_model(tmp_path, UNet2D(config).state_dict(), config, FOUND)
    return tmp_path


def test_lists_are_saved_in_a_separate_file_and_read_again(saved):
    files = find_files(saved)
    assert read_checkpoint(files).read_process() == FOUND
    scheduler = saved / "scheduler"
    assert "optimised" not in json.loads((scheduler / "scheduler_config.json").read_text())
    path = scheduler / "optimised_timesteps.json"
    assert json.loads(path.read_text())["timesteps"]["4"] == [700, 450, 240, 80]

    # A change of the file is a change of the model.
    before = files.fingerprint
    path.write_text(path.read_text().replace("700", "701"))
    assert find_files(saved).fingerprint != before
    path.unlink()
    assert read_checkpoint(find_files(saved)).read_process().optimised == ()


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        "{}",
        '{"timesteps": {}}',
        '{"timesteps": [[9, 8, 7, 6]]}',
        '{"timesteps": {"4": [9, 8, 7]}}',
        '{"timesteps": {"4": [9, 8, 7, 7]}}',
        '{"timesteps": {"4": [1000, 8, 7, 6]}}',
        '{"timesteps": {"4": [9, 8, 7, -1]}}',
        '{"timesteps": {"4": [9.5, 8, 7, 6]}}',
        '{"timesteps": {"4": [true, 8, 7, 6]}}',
        '{"timesteps": {"4": "9, 8, 7, 6"}}',
        '{"timesteps": {"0": []}}',
    ],
)
def test_a_damaged_file_of_lists_is_an_error_that_names_it(content, saved):
    (saved / "scheduler" / "optimised_timesteps.json").write_text(content)
    with pytest.raises(ConfigError, match=r"optimised_timesteps\.json"):
        read_checkpoint(find_files(saved)).read_process()


@pytest.mark.parametrize("name", ["digits-16", "deep-field"])
def test_a_bundled_model_comes_with_its_lists(name):
    process = read_checkpoint(find_files(ROOT / "models" / name)).read_process()
    assert [len(times) for times in process.optimised] == list(range(4, 51))
