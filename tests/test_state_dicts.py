"""The network is found in any training program's file, averaged weights first."""

import argparse
import collections
import datetime
import json
import pathlib
import random
import sys
import types
from pathlib import Path
from typing import Any

import matrix
import numpy as np
import pytest
import torch
import toys
import wrapping
from comfyui_unconditional.checkpoints.files import find_files
from comfyui_unconditional.checkpoints.formats.diffusers import in_order
from comfyui_unconditional.checkpoints.reading import Checkpoint, read_checkpoint
from comfyui_unconditional.checkpoints.state_dicts import is_averaged
from comfyui_unconditional.networks.errors import CheckpointError, ConfigError
from comfyui_unconditional.schedulers.config import SchedulerConfig
from comfyui_unconditional.schedulers.noise_schedule import NoiseSchedule
from comfyui_unconditional.unet.config import UNetConfig
from comfyui_unconditional.unet.unet2d import UNet2D
from diffusers import UNet2DModel
from diffusers.training_utils import EMAModel
from safetensors.torch import save_file
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from wrapping import State, network, prefixed

PLAIN, AVERAGED = network("diffusers", 1), network("diffusers", 2)


def load(folder: Path, content: Any, kind: str = "diffusers", suffix: str = ".pt") -> Checkpoint:
    """Save this next to the JSON of its format, and load it."""
    path = folder / f"model{suffix}"
    if suffix == ".safetensors":
        save_file({name: tensor.clone() for name, tensor in content.items()}, path)
    else:
        torch.save(content, path)
    path.with_suffix(".json").write_text(json.dumps(wrapping.config_of(kind)))
    return read_checkpoint(find_files(path))


def is_the_same(a: State, b: State) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.slow
@pytest.mark.parametrize("has_averaged", [False, True], ids=["plain", "averaged"])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("kind", wrapping.FORMATS)
def test_any_nesting_of_keys_and_prefixes_loads_with_averaged_weights_where_there_are_any(
    kind, suffix, has_averaged, tmp_path
):
    plain, averaged = network(kind, 1), network(kind, 2)
    expected = load(tmp_path, averaged if has_averaged else plain, kind).weights
    make = wrapping.flat if suffix == ".safetensors" else wrapping.wrapped
    for number in range(8):
        r = random.Random(f"{kind} {suffix} {has_averaged} {number}")
        content = make(r, plain, averaged if has_averaged else None)
        checkpoint = load(tmp_path, content, kind, suffix)
        assert is_the_same(checkpoint.weights, expected), number
        assert checkpoint.origin.averaged is (True if has_averaged else None), number


# Averaged weights, as the programs themselves save them


def averaging_model(averaged: State) -> AveragedModel:
    model = toys.reference_model(toys.TINY)
    model.load_state_dict(averaged)
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn())


def averaging_library(averaged: State, fields: dict[str, Any] = toys.TINY) -> dict[str, Any]:
    model = toys.reference_model(fields)
    model.load_state_dict(averaged)
    return EMAModel(model.parameters(), decay=0.9999).state_dict()


@pytest.mark.parametrize(
    "content",
    [
        {"net": PLAIN, "ema": averaging_library(AVERAGED)},
        {"model_ema": averaging_model(AVERAGED).state_dict(), "model": PLAIN},
        averaging_model(AVERAGED).state_dict(),
        {"params": {"unet": PLAIN}, "params_ema": {"unet": AVERAGED}},
        {"ema": 0.9999, "model": PLAIN, "ema_model": AVERAGED},
        {**prefixed(PLAIN, "model."), **prefixed(AVERAGED, "ema_model.module.")},
        {"ema": {"decay": 0.9, "shadow": AVERAGED}, "model": PLAIN},
        {
            "model": PLAIN,
            "ema": {"shadow_params": [*AVERAGED.values()], "collected_params": [*PLAIN.values()]},
        },
        [PLAIN, AVERAGED],
        {"callbacks": {"EMACallback": {"ema_state_dict": AVERAGED}}, "state_dict": PLAIN},
    ],
    ids=range(10),
)
def test_averaged_weights_take_precedence_however_a_program_stores_them(content, tmp_path):
    checkpoint = load(tmp_path, content)
    assert is_the_same(checkpoint.weights, AVERAGED)
    assert checkpoint.origin.averaged is True


@pytest.mark.parametrize(
    ("content", "averaged"),
    [
        ({"ema": 0.9999, "model": PLAIN}, None),
        ({"ema": None, "model": PLAIN}, None),
        ({"ema": {}, "model": PLAIN, "ema_loss": [torch.tensor(1.0)] * 20}, None),
        ({"schema": PLAIN}, None),
        ({"model_non_ema": PLAIN}, False),
        ({"model_without_optimizer": PLAIN}, None),
        ({"online_model": PLAIN}, False),
        ({"G": PLAIN, "D": {"conv.weight": torch.zeros(3, 3)}}, None),
        ({"model": PLAIN, "state_dict": PLAIN}, None),
        ({"model": PLAIN, "random_states": [torch.zeros(9)], "lr_scheduler": {"a": [1]}}, None),
        ({"down_blocks": {}, **PLAIN, "extra": {"model.x": torch.zeros(3)}}, None),
        ({"n": torch.tensor(1), **{n.replace("mid_block.", "mid_block._orig_mod."): t
                                   for n, t in PLAIN.items()}}, None),
    ],
    ids=range(12),
)  # fmt: skip
def test_without_averaged_weights_the_plain_ones_are_used_and_not_called_averaged(
    content, averaged, tmp_path
):
    checkpoint = load(tmp_path, content)
    assert is_the_same(checkpoint.weights, PLAIN)
    assert checkpoint.origin.averaged is averaged


def test_averaged_weights_without_names_take_them_from_the_configuration(tmp_path):
    ema = averaging_library(AVERAGED)
    assert is_the_same(load(tmp_path, {"ema": ema}).weights, AVERAGED)
    (tmp_path / "model.json").write_text('{"sample_size": 8}')
    with pytest.raises(ConfigError, match=r"ema\.shadow_params have no names.*model\.json"):
        read_checkpoint(find_files(tmp_path / "model.pt"))
    ema["shadow_params"].pop()
    with pytest.raises(CheckpointError, match="their number or shapes do not match"):
        load(tmp_path, {"ema": ema})


def test_a_parameter_that_is_not_trained_need_not_be_averaged(tmp_path):
    plain, averaged = (toys.reference_model(toys.NCSNPP, seed).state_dict() for seed in (1, 2))
    averaged["time_proj.weight"] = plain["time_proj.weight"]
    trained = {name: tensor for name, tensor in averaged.items() if name != "time_proj.weight"}
    path = tmp_path / "model.pt"
    config = {"_class_name": "UNet2DModel", **toys.NCSNPP}
    path.with_suffix(".json").write_text(json.dumps(config))
    for ema in (trained, {"shadow_params": list(trained.values())}):
        torch.save({"model": plain, "ema": ema}, path)
        assert is_the_same(read_checkpoint(find_files(path)).weights, averaged)


@pytest.mark.parametrize("number", range(0, 220, 5))
def test_the_order_of_parameters_is_that_of_diffusers(number):
    fields = matrix.fields(matrix.make_matrix(220)[0][number])
    expected = [name for name, _ in UNet2DModel(**fields).named_parameters()]
    network = UNet2D(UNetConfig.from_dict(fields), device="meta")
    assert list(in_order(network.state_dict())) == expected


@pytest.mark.parametrize("kind", ["Ho", "guided", "diffusers"])
def test_betas_that_were_saved_around_the_network_are_its_schedule(kind, tmp_path):
    betas = torch.linspace(0.001, 0.05, 50)
    content = {"state_dict": {"betas": betas, **prefixed(network(kind, 1), "model.")}}
    checkpoint = load(tmp_path, content, kind)
    assert checkpoint.scheduler is not None
    config = SchedulerConfig.from_dict(checkpoint.scheduler)
    assert config.num_train_timesteps == 50
    assert torch.equal(NoiseSchedule.from_config(config).betas.float(), betas)
    assert not {"beta_schedule", "num_train_timesteps"} & checkpoint.origin.assumed_schedule.keys()
    (tmp_path / "scheduler_config.json").write_text('{"beta_end": 0.03}')
    assert read_checkpoint(find_files(tmp_path / "model.pt")).scheduler == {"beta_end": 0.03}


# Files that would give wrong pictures are rejected


def changed(state: State, *without: str) -> State:
    return {name: tensor for name, tensor in state.items() if not name.startswith(without)}


@pytest.mark.parametrize(
    ("ema", "words"),
    [
        (changed(AVERAGED, "conv_in."), r"averaged \(EMA\) weights in ema do not fit"),
        (changed(AVERAGED, "mid_block."), "in ema: .*missing: mid_block"),
        ({"shadow_params": [*AVERAGED.values()][1:]}, "do not fit the plain ones in model"),
        ({"shadow_params": [*AVERAGED.values()][::-1]}, "do not fit the plain ones in model"),
        ({name.replace(".", "/"): t for name, t in AVERAGED.items()}, "do not fit the plain"),
    ],
    ids=range(5),
)
def test_averaged_weights_that_do_not_fit_are_an_error_and_not_replaced_by_the_plain_ones(
    ema, words, tmp_path
):
    with pytest.raises(CheckpointError, match=words):
        load(tmp_path, {"model": PLAIN, "ema": ema})


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"unet": PLAIN, "unet_2": AVERAGED}, "2 different networks: unet, unet_2"),
        ({"ema_0.999": PLAIN, "ema_0.9999": AVERAGED}, "different networks: ema_0.999, ema_0.9999"),
        ({**prefixed(PLAIN, "a."), **prefixed(AVERAGED, "b.c.")}, r"different networks: a, b\.c"),
    ],
    ids=range(3),
)
def test_several_networks_that_differ_are_an_error_that_names_them(content, words, tmp_path):
    with pytest.raises(CheckpointError, match=words):
        load(tmp_path, content)


@pytest.mark.parametrize(
    ("beside", "words"),
    [("first_stage_model.decoder.conv.weight", "autoencoder"), ("vae.x.weight", "autoencoder"),
     ("cond_stage_model.transformer.weight", "needs text")],
)  # fmt: skip
def test_a_network_saved_with_an_autoencoder_or_a_text_encoder_is_rejected(beside, words, tmp_path):
    content = {"state_dict": {**prefixed(PLAIN, "model."), beside: torch.zeros(3, 3)}}
    with pytest.raises(CheckpointError, match=words):
        load(tmp_path, content)


# Messages


def test_other_content_is_rejected_with_its_first_keys_and_without_advice_to_run_it(tmp_path):
    for content, words in (
        ({"epoch": 3, "state_dict": {"decoder.up.weight": torch.zeros(2)}},
         r"epoch \(int\), state_dict \(decoder\.up\.weight\)"),
        ({f"layer{k}.weight": torch.zeros(2) for k in range(30)},
         r"layer5.weight \(tensor \(2,\)\), …"),
        ([1, "a"], r"no named tensors, but 0 \(int\), 1 \(str\)"),
        ({"model": None}, r"no named tensors, but model \(NoneType\)"),
    ):  # fmt: skip
        with pytest.raises(CheckpointError, match=words) as caught:
            load(tmp_path, content)
        assert "diffusers" in str(caught.value)
        assert "weights_only" not in str(caught.value)


def test_nested_lists_that_lead_to_themselves_end_in_a_message(tmp_path):
    content: dict[str, Any] = {"a": 1}
    content["b"] = [content] * 100
    with pytest.raises(CheckpointError, match="lists and dicts"):
        load(tmp_path, content)


@pytest.fixture
def lightning(monkeypatch: pytest.MonkeyPatch) -> type:
    """The class of dicts that Lightning saves a model's hyperparameters in."""
    name = "pytorch_lightning.utilities.parsing"
    for parent in ("pytorch_lightning", "pytorch_lightning.utilities", name):
        monkeypatch.setitem(sys.modules, parent, types.ModuleType(parent))
    cls = type("AttributeDict", (dict,), {"__module__": name})
    monkeypatch.setattr(sys.modules[name], "AttributeDict", cls, raising=False)
    return cls


@pytest.mark.parametrize("zipped", [True, False])
def test_settings_saved_with_the_weights_do_not_keep_a_file_from_loading(
    zipped, lightning, tmp_path
):
    settings = {
        "args": argparse.Namespace(lr=1e-4, out=pathlib.Path("/tmp")),
        "hyper_parameters": lightning(lr=1e-4),
        "best": np.float64(0.1),
        "lr": np.float32(0.1),
        "steps": np.int64(3),
        "losses": np.zeros(3),
        "history": collections.defaultdict(list, loss=[0.1]),
        "rng": np.random.get_state(),
        "when": datetime.datetime(2024, 1, 1),
    }
    before = set(torch.serialization.get_safe_globals())
    path = tmp_path / "model.ckpt"
    content = {"state_dict": prefixed(PLAIN, "model."), **settings}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    path.with_suffix(".json").write_text(json.dumps(wrapping.config_of("diffusers")))
    assert is_the_same(read_checkpoint(find_files(path)).weights, PLAIN)
    assert set(torch.serialization.get_safe_globals()) == before


class _Settings:
    """Of a class that this process has, but that is not in the list of harmless ones."""


def test_the_message_about_code_in_a_file_names_it(tmp_path):
    with pytest.raises(CheckpointError, match=r"contains code \(.*test_state_dicts\._Settings\)"):
        load(tmp_path, {"model": PLAIN, "config": _Settings()})


@pytest.mark.parametrize("start", [b"", b"version https://git-lfs", b"<!DOCTYPE html>"])
@pytest.mark.parametrize("suffix", [".pt", ".ckpt"])
def test_the_message_about_a_download_that_is_not_a_pickle_does_not_advise_to_run_it(
    start, suffix, tmp_path
):
    path = tmp_path / f"model{suffix}"
    path.write_bytes(start)
    with pytest.raises(CheckpointError, match=r"a web page or a Git LFS pointer") as caught:
        read_checkpoint(find_files(path))
    assert "weights_only" not in str(caught.value)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript_is_called_a_program(tmp_path):
    path = tmp_path / "model.pt"
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path)
    with pytest.raises(CheckpointError, match=r"It is a TorchScript program"):
        read_checkpoint(find_files(path))


@pytest.mark.parametrize("version", ["2.5.1+cu124", "2.4.0", "1.13.1", "2.5.0a0+git"])
def test_pickles_are_rejected_where_torch_cannot_open_them_safely(version, tmp_path, monkeypatch):
    assert is_the_same(load(tmp_path, PLAIN).weights, PLAIN)
    monkeypatch.setattr(torch, "__version__", version)
    with pytest.raises(CheckpointError, match=r"CVE-2025-32434.*Update torch.*safetensors"):
        load(tmp_path, PLAIN)
    assert is_the_same(load(tmp_path, PLAIN, suffix=".safetensors").weights, PLAIN)


@pytest.mark.parametrize("version", ["2.6.0", "2.13.0+cpu", "3.0.0", "2.10.0"])
def test_pickles_are_opened_where_torch_is_new_enough(version, tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "__version__", version)
    assert is_the_same(load(tmp_path, PLAIN).weights, PLAIN)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        *((key, True) for key in wrapping.AVERAGED_KEYS),
        *(("EMAModel", True), ("ema_0.9999_150000.pt", True), ("model.ema.pt", True)),
        *(("schema", None), ("cinema", None), ("model", None), ("exp_avg", None), ("gemma", None)),
        *(("non_ema", False), ("x.non_ema.bin", False), ("online_model", False)),
        *(("notes", None), ("no_attention", None), ("emanuel", None), ("model500000.pt", None)),
    ],
)
def test_a_name_says_whether_weights_are_averaged(name, says):
    assert is_averaged(name) is says


@pytest.mark.parametrize(
    ("layout", "averaged"), [("unet_ema", True), ("unet", None), ("ema-of-cats", None)]
)
def test_a_folder_says_whether_its_weights_are_averaged(layout, averaged, tmp_path):
    toys.write_checkpoint(tmp_path / layout, toys.TINY)
    assert read_checkpoint(find_files(tmp_path / layout)).origin.averaged is averaged


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_a_folder_with_a_prefix_to_its_names_loads(suffix, tmp_path):
    toys.write_checkpoint(tmp_path, toys.TINY, suffix=suffix)
    path = tmp_path / f"diffusion_pytorch_model.{suffix}"
    state = prefixed(PLAIN, "_orig_mod.module.")
    save_file(state, path) if suffix == "safetensors" else torch.save(state, path)
    assert is_the_same(read_checkpoint(find_files(tmp_path)).weights, PLAIN)
