"""Thousands of damaged and hostile model folders: none may do more than fail in words."""

import json
from pathlib import Path

import fuzz_checkpoints
import pytest
import torch
import toys
from comfyui_unconditional.checkpoints.files import find_files
from comfyui_unconditional.checkpoints.reading import read_checkpoint
from comfyui_unconditional.schedulers.config import SchedulerConfig
from comfyui_unconditional.schedulers.errors import ScheduleError
from comfyui_unconditional.unet.config import UNetConfig
from comfyui_unconditional.unet.errors import CheckpointError, ConfigError
from safetensors.torch import load_file, save_file


@pytest.mark.slow
def test_every_damaged_folder_loads_or_raises_one_of_our_errors(
    capsys: pytest.CaptureFixture[str],
) -> None:
    report = fuzz_checkpoints.fuzz(2000, seed=0)
    with capsys.disabled():
        print("\n" + "\n".join(report.lines()))
    assert not report.findings
    assert report.files == 2000
    # Each end is reached, so that the folders are damaged enough and not too much.
    for outcome in ("loaded", "CheckpointError", "ConfigError", "ScheduleError"):
        assert report.outcomes[outcome] >= 50, outcome


def test_every_kind_of_damage_is_made() -> None:
    originals = fuzz_checkpoints.Originals()
    made = {fuzz_checkpoints.make_case(0, number, originals)[0] for number in range(200)}
    assert made == {kind.__name__ for kind in fuzz_checkpoints.KINDS}


# What it found


def load_config(folder: Path, **changes: object) -> None:
    toys.write_checkpoint(folder, toys.TINY)
    (folder / "config.json").write_text(json.dumps({**toys.TINY, **changes}))
    read_checkpoint(find_files(folder))


@pytest.mark.parametrize(
    "changes",
    [
        {"act_fn": "a" * 100_000},
        {"_class_name": "a" * 100_000},
        {"down_block_types": ["a" * 100_000] * 2},
    ],
    ids=lambda changes: next(iter(changes))[:20],
)
def test_an_endless_value_in_a_configuration_makes_no_endless_message(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path, **changes)
    assert len(str(caught.value)) < 1000


def test_an_endless_name_in_a_configuration_makes_no_endless_warning() -> None:
    fields = {**toys.TINY, **{f"{i}" + "a" * 100_000: 1 for i in range(100)}, "\ud800": 1}
    (warning,) = UNetConfig.from_dict(fields).warnings
    assert len(warning) < 1000
    assert warning.encode()


def test_an_endless_value_in_a_scheduler_configuration_makes_no_endless_message() -> None:
    for name in ("beta_schedule", "beta_end"):
        with pytest.raises(ScheduleError) as caught:
            SchedulerConfig.from_dict({name: "a" * 100_000})
        assert len(str(caught.value)) < 1000


def test_an_endless_name_of_a_tensor_makes_no_endless_message(tmp_path: Path) -> None:
    toys.write_checkpoint(tmp_path, toys.TINY)
    path = tmp_path / "diffusion_pytorch_model.safetensors"
    weights = {name: tensor.clone() for name, tensor in load_file(path).items()}
    save_file({**weights, "a" * 100_000: weights["conv_in.bias"].clone()}, path)
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(find_files(tmp_path))
    assert len(str(caught.value)) < 1000


def test_tensors_of_no_known_format_with_endless_names_make_no_endless_message(
    tmp_path: Path,
) -> None:
    toys.write_checkpoint(tmp_path, toys.TINY)
    path = tmp_path / "diffusion_pytorch_model.safetensors"
    save_file({"a" * 100_000: torch.zeros(2), "b" * 100_000: torch.zeros(2)}, path)
    with pytest.raises(CheckpointError, match="of a supported format") as caught:
        read_checkpoint(find_files(tmp_path))
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("dropout", [-0.5, 1, 3])
def test_an_impossible_dropout_is_named(tmp_path: Path, dropout: float) -> None:
    with pytest.raises(ConfigError, match="'dropout' must be from 0"):
        load_config(tmp_path, dropout=dropout)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**64, 10**400])
def test_a_number_out_of_any_range_is_named(tmp_path: Path, value: float) -> None:
    for name in ("norm_eps", "freq_shift", "dropout", "mid_block_scale_factor"):
        with pytest.raises(ConfigError, match=name):
            load_config(tmp_path, **{name: value})
    for name in ("clip_sample_range", "sample_max_value", "beta_end"):
        with pytest.raises(ScheduleError, match=name):
            SchedulerConfig.from_dict({name: value})


def test_a_freq_shift_that_would_divide_by_zero_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'freq_shift'"):
        load_config(tmp_path, freq_shift=toys.TINY["block_out_channels"][0] // 2)


@pytest.mark.parametrize(
    "changes",
    [
        {"layers_per_block": 10**4000},
        {"block_out_channels": [8, 10**4000]},
        {"sample_size": 10**4000},
        {"num_class_embeds": 2**63},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_whole_number_of_thousands_of_digits_makes_no_endless_message(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path, **changes)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    "changes",
    [{"_class_name": "\ud800"}, {"down_block_types": ["\ud800"] * 2}],
    ids=lambda changes: ascii(next(iter(changes))),
)
def test_half_a_character_in_a_configuration_makes_a_message_that_can_be_sent(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path, **changes)
    assert str(caught.value).encode()
