"""What is known about a checkpoint, what was assumed, and the JSON file that overrides it."""

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
import toys
from comfyui_unconditional.checkpoints.files import find_files
from comfyui_unconditional.checkpoints.reading import Checkpoint, read_checkpoint
from comfyui_unconditional.schedulers.config import SchedulerConfig
from wrapping import network

GUESSES = ("sample_size", "attention_head_dim", "use_new_attention_order", "rescale_timesteps")


def load(path: Path) -> Checkpoint:
    return read_checkpoint(find_files(path))


@pytest.fixture
def guessed(tmp_path: Path) -> Path:
    """A bare file, with only its image size, in a safetensors file's metadata."""
    from safetensors.torch import save_file

    path = tmp_path / "guessed.safetensors"
    save_file(network("improved", 1), path, {"config": '{"sample_size": 32}'})
    return path


def test_settings_missing_from_a_bare_file_are_in_its_origin(guessed):
    origin = load(guessed).origin
    assert origin.format == "OpenAI (improved- or guided-diffusion)"
    assert set(origin.assumed) == set(GUESSES) - {"sample_size"}
    assert origin.assumed_schedule["num_train_timesteps"] == 4000
    guessed.with_suffix(".json").write_text(
        '{"num_heads": 2, "scheduler": {"num_train_timesteps": 1000}}'
    )
    origin = load(guessed).origin
    assert "beta_schedule" in origin.assumed_schedule
    assert "num_train_timesteps" not in origin.assumed_schedule
    (guessed.parent / "scheduler_config.json").write_text('{"beta_schedule": "linear"}')
    assert load(guessed).origin.assumed_schedule == {}


def test_a_whole_model_folder_leaves_nothing_to_assume(tmp_path):
    toys.write_checkpoint(tmp_path, toys.TINY, layout="pipeline", scheduler={})
    origin = load(tmp_path).origin
    assert (origin.assumed, origin.assumed_schedule) == ({}, {})
    assert origin.write_json() is None


def test_a_folder_without_a_schedule_is_said_to_have_the_defaults(tmp_path):
    toys.write_checkpoint(tmp_path, toys.TINY)
    assert load(tmp_path).origin.assumed_schedule == SchedulerConfig().to_dict()


def test_the_json_that_is_written_is_read_again_as_the_same_model(guessed):
    before = load(guessed)
    path = before.origin.write_json()
    assert path == guessed.with_suffix(".json")
    content = json.loads(path.read_text())
    assert content["rescale_timesteps"] is True
    assert content["scheduler"]["beta_schedule"] == "squaredcos_cap_v2"
    after = load(guessed)
    assert (after.config, after.scheduler) == (before.config, before.scheduler)
    assert all(torch.equal(after.weights[n], tensor) for n, tensor in before.weights.items())
    assert (after.origin.assumed, after.origin.assumed_schedule) == ({}, {})
    path.write_text(json.dumps({**content, "rescale_timesteps": False}))
    assert load(guessed).config != before.config


@pytest.mark.parametrize(
    ("layout", "place"),
    [("root", "scheduler_config.json"), ("pipeline", "scheduler/scheduler_config.json")],
)
def test_a_missing_schedule_is_written_where_it_is_looked_up(layout, place, tmp_path):
    toys.write_checkpoint(tmp_path, toys.TINY, layout=layout)
    if layout == "pipeline":
        (tmp_path / "model_index.json").write_text("{}")
    before = load(tmp_path)
    assert before.origin.write_json() == tmp_path / place
    after = load(tmp_path)
    assert after.scheduler is not None
    assert SchedulerConfig.from_dict(after.scheduler) == SchedulerConfig()
    assert after.origin.assumed_schedule == {}


def test_an_existing_json_is_never_replaced(guessed):
    path = guessed.with_suffix(".json")
    origin = load(guessed).origin
    path.write_text('{"num_heads": 2}')
    with pytest.raises(FileExistsError):
        origin.write_json()
    assert path.read_text() == '{"num_heads": 2}'
    assert [each.name for each in sorted(guessed.parent.iterdir())] == [path.name, guessed.name]


@pytest.mark.parametrize("has_links", [True, False])
def test_of_many_writers_at_once_one_writes_the_whole_json_and_the_others_find_it(
    has_links, guessed, monkeypatch
):
    def refuse(*_: Any) -> None:
        raise PermissionError

    if not has_links:
        monkeypatch.setattr(os, "link", refuse)
    origin, ends = load(guessed).origin, []

    def write() -> None:
        try:
            ends.append(origin.write_json())
        except FileExistsError:
            ends.append(None)

    writers = [threading.Thread(target=write) for _ in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert ends.count(origin.json) == 1
    assert len(ends) == 8
    assert "scheduler" in json.loads(guessed.with_suffix(".json").read_text())
    assert len(list(guessed.parent.iterdir())) == 2


def test_a_json_that_cannot_be_written_leaves_nothing(guessed, monkeypatch):
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    origin = load(guessed).origin
    monkeypatch.setattr(os, "link", full)
    monkeypatch.setattr("comfyui_unconditional.checkpoints.origin._write_in_place", full)
    with pytest.raises(OSError, match="No space left"):
        origin.write_json()
    assert [each.name for each in guessed.parent.iterdir()] == [guessed.name]
