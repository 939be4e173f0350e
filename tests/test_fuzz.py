"""Thousands of damaged and hostile model folders: each loads or fails with a message."""

import json
from pathlib import Path

import fuzz_checkpoints
import pytest
import torch
import toys
from comfyui_unconditional.checkpoints.files import find_files
from comfyui_unconditional.checkpoints.reading import read_checkpoint
from comfyui_unconditional.networks.errors import CheckpointError, ConfigError
from comfyui_unconditional.schedulers.config import SchedulerConfig
from comfyui_unconditional.schedulers.errors import ScheduleError
from comfyui_unconditional.unet.config import UNetConfig
from safetensors.torch import load_file, save_file


@pytest.mark.slow
def test_every_damaged_folder_loads_or_raises_one_of_our_errors(capsys):
    report = fuzz_checkpoints.fuzz(2000, seed=0)
    with capsys.disabled():
        print("\n" + "\n".join(report.lines()))
    assert not report.findings
    assert report.files == 2000
    # Each outcome occurs, so the folders are damaged enough but not too much.
    for outcome in ("loaded", "CheckpointError", "ConfigError", "ScheduleError"):
        assert report.outcomes[outcome] >= 50, outcome


def test_every_kind_of_damage_is_made():
    originals = fuzz_checkpoints.Originals()
    made = {fuzz_checkpoints.make_case(0, number, originals)[0] for number in range(200)}
    assert made == {kind.__name__ for kind in fuzz_checkpoints.KINDS}


# What it found


def load_config(folder: Path, **changes: object) -> None:
    toys.write_checkpoint(folder, toys.TINY)
    (folder / "config.json").write_text(json.dumps({**toys.TINY, **changes}))
    read_checkpoint(find_files(folder))


ENDLESS = "a" * 100_000


@pytest.mark.parametrize(
    "changes",
    [
        {"act_fn": ENDLESS},
        {"_class_name": ENDLESS},
        {"down_block_types": [ENDLESS] * 2},
        {"layers_per_block": 10**4000},
        {"block_out_channels": [8, 10**4000]},
        {"sample_size": 10**4000},
        {"num_class_embeds": 2**63},
        {"_class_name": "\ud800"},
        {"down_block_types": ["\ud800"] * 2},
    ],
    ids=lambda changes: ascii(changes)[:30],
)
def test_any_value_in_a_configuration_gives_a_short_message_that_can_be_sent(tmp_path, changes):
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path, **changes)
    assert len(str(caught.value)) < 1000
    assert str(caught.value).encode()


@pytest.mark.parametrize("name", ["beta_schedule", "beta_end"])
def test_any_value_in_a_scheduler_configuration_gives_a_short_message(name):
    with pytest.raises(ScheduleError) as caught:
        SchedulerConfig.from_dict({name: ENDLESS})
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("is_known", [True, False])
def test_any_name_of_a_tensor_gives_a_short_message(is_known, tmp_path):
    toys.write_checkpoint(tmp_path, toys.TINY)
    path = tmp_path / "diffusion_pytorch_model.safetensors"
    known = {name: tensor.clone() for name, tensor in load_file(path).items()} if is_known else {}
    save_file({**known, ENDLESS: torch.zeros(2), f"b{ENDLESS}": torch.zeros(2)}, path)
    words = "not part of" if is_known else "of a supported format"
    with pytest.raises(CheckpointError, match=words) as caught:
        read_checkpoint(find_files(tmp_path))
    assert len(str(caught.value)) < 1000


def test_an_endless_name_in_a_configuration_gives_a_short_warning():
    fields = {**toys.TINY, **{f"{i}{ENDLESS}": 1 for i in range(100)}, "\ud800": 1}
    (warning,) = UNetConfig.from_dict(fields).warnings
    assert len(warning) < 1000
    assert warning.encode()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**64, 10**400])
def test_a_number_out_of_any_range_is_named(tmp_path, value):
    for name in ("norm_eps", "freq_shift", "dropout", "mid_block_scale_factor"):
        with pytest.raises(ConfigError, match=name):
            load_config(tmp_path, **{name: value})
    for name in ("clip_sample_range", "sample_max_value", "beta_end"):
        with pytest.raises(ScheduleError, match=name):
            SchedulerConfig.from_dict({name: value})
