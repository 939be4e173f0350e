"""Every checkpoint format loads as the original network, or is rejected with an explanation."""

import json
import pickle
import re
from pathlib import Path
from typing import Any

import foreign
import pytest
import torch
import toys
from comfyui_unconditional.checkpoints.files import find_files, find_variants, network_folders
from comfyui_unconditional.checkpoints.reading import Checkpoint, read_checkpoint
from comfyui_unconditional.networks.errors import CheckpointError, ConfigError
from comfyui_unconditional.schedulers.config import SchedulerConfig
from comfyui_unconditional.schedulers.ddpm import DDPM
from comfyui_unconditional.schedulers.randomness import SeededNoise
from comfyui_unconditional.schedulers.sampler import drain
from comfyui_unconditional.schedulers.span import Stretch
from comfyui_unconditional.schedulers.timesteps import make_timesteps
from comfyui_unconditional.unet.unet2d import UNet2D
from diffusers import UNet2DModel
from float64 import Parity, compare_networks, distances
from safetensors.torch import load_file, save_file
from torch import nn

TIMES = (0, 7, 999)


def load(path: Path, variant: str = "") -> Checkpoint:
    return read_checkpoint(find_files(path, variant))


def save(model: nn.Module, path: Path, sidecar: dict[str, Any] | None = None) -> Path:
    if path.suffix == ".safetensors":
        save_file(model.state_dict(), path)
    else:
        torch.save(model.state_dict(), path)
    if sidecar is not None:
        path.with_suffix(".json").write_text(json.dumps(sidecar))
    return path


def same(
    name: str,
    parity: Parity,
    checkpoint: Checkpoint,
    reference: nn.Module,
    size: int = 16,
) -> None:
    """Compare ours, and diffusers' network with the same configuration, with the reference."""
    network = checkpoint.build(UNet2D)
    fields = {n: v for n, v in checkpoint.config.to_dict().items() if n[0] != "_"}
    theirs = UNet2DModel(**fields).eval()
    theirs.load_state_dict(checkpoint.weights, strict=True)
    x = torch.randn((2, checkpoint.config.in_channels, size, size))
    for t in TIMES:
        times = torch.full((2,), t)
        comparison, apart = compare_networks(network, reference, x, times)
        parity(name, comparison)
        assert apart < 1e-12
    comparison, apart = compare_networks(theirs, reference, x, times)
    parity(f"{name}, in diffusers", comparison)
    assert apart < 1e-12


# Ho et al.


@pytest.mark.parametrize("mult", [(1, 2, 2, 2), (1, 2, 2, 2, 4), (1, 1, 2, 2, 4, 4)])
def test_ho_checkpoints_of_the_published_shapes_load_alone(mult, tmp_path, parity):
    size = {4: 32, 5: 64, 6: 256}[len(mult)]
    level = {32: 1, 64: 2, 256: 4}[size]
    model = foreign.randomise(foreign.Ho(mult=mult, attention=(level,)))
    checkpoint = load(save(model, tmp_path / "ema.ckpt"))
    assert checkpoint.config.size == (size, size)
    assert checkpoint.scheduler is not None
    config = SchedulerConfig.from_dict(checkpoint.scheduler)
    assert (config.beta_start, config.beta_end) == (0.0001, 0.02)
    assert config.variance_type == ("fixed_large" if size == 32 else "fixed_small")
    same("format: Ho et al.", parity, checkpoint, model, 32)


def test_ho_checkpoints_with_two_layers_and_one_channel(tmp_path, parity):
    model = foreign.randomise(foreign.Ho(layers=2, channels=1, attention=(1, 3), mult=(1, 2, 2, 4)))
    path = save(model, tmp_path / "a.safetensors")
    with pytest.raises(ConfigError, match=r'"sample_size": 64.*into .*a\.json'):
        load(path)
    path.with_suffix(".json").write_text('{"sample_size": [16, 24]}')
    assert load(path).config.size == (16, 24)
    same("format: Ho et al.", parity, load(path), model)


@pytest.mark.parametrize("wrap", ["train.ckpt", "ddim", "DataParallel"])
def test_what_a_training_run_saves_loads(wrap, tmp_path, parity):
    model = foreign.randomise(foreign.Ho())
    averaged = foreign.randomise(foreign.Ho(), seed=5)
    optimizer = torch.optim.Adam(model.parameters())
    sum(p.sum() for p in model.parameters()).backward()
    optimizer.step()
    parallel = {f"module.{name}": tensor for name, tensor in model.state_dict().items()}
    content: Any = {
        "train.ckpt": [model.state_dict(), optimizer.state_dict(), 3, 1000],
        "ddim": [parallel, optimizer.state_dict(), 3, 1000, averaged.state_dict()],
        "DataParallel": parallel,
    }[wrap]
    torch.save(content, tmp_path / "ckpt.pth")
    expected = averaged if wrap == "ddim" else model
    same("format: Ho et al., training", parity, load(tmp_path / "ckpt.pth"), expected)


# OpenAI

IMPROVED: dict[str, dict[str, Any]] = {
    "CIFAR-10": {"ch": 32, "mult": (1, 2, 2, 2), "layers": 3, "attention": (1, 2), "heads": 4},
    "LSUN": {
        "mult": (1, 1, 2, 2, 4, 4),
        "attention": (4,),
        "heads": 1,
        "scale_shift": False,
        "out": 6,
    },
    "fixed variance": {"out": 3},
}
GUIDED: dict[str, dict[str, Any]] = {
    "256": {
        "ch": 64,
        "mult": (1, 1, 2, 2, 4, 4),
        "attention": (3, 4, 5),
        "heads": None,
        "updown": True,
    },
    "two layers": {
        "ch": 64,
        "mult": (1, 1, 2, 3, 4),
        "layers": 2,
        "attention": (2, 3, 4),
        "heads": None,
        "updown": True,
        "out": 3,
    },
    "64": {
        "ch": 64,
        "mult": (1, 2, 3, 4),
        "attention": (1, 2, 3),
        "heads": None,
        "updown": True,
        "new_order": True,
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("name", IMPROVED)
def test_improved_diffusion_loads_alone(name, tmp_path, parity):
    steps = None if name == "LSUN" else 4000
    model = foreign.randomise(foreign.OpenAI(**IMPROVED[name], rescale_from=steps))
    checkpoint = load(save(model, tmp_path / "model.pt"))
    assert checkpoint.config.size == ((256, 256) if name == "LSUN" else (32, 32))
    same("format: improved-diffusion", parity, checkpoint, model, 32)
    assert checkpoint.scheduler == {
        "num_train_timesteps": steps or 1000,
        "beta_schedule": "squaredcos_cap_v2" if steps else "linear",
        "variance_type": "fixed_large" if name == "fixed variance" else "learned_range",
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", GUIDED)
def test_guided_diffusion_loads_alone(name, tmp_path, parity):
    model = foreign.randomise(foreign.OpenAI(**GUIDED[name]))
    checkpoint = load(save(model, tmp_path / "model.pt"))
    size = {"256": 256, "two layers": 128, "64": 64}[name]
    assert checkpoint.config.size == (size, size)
    same("format: guided-diffusion", parity, checkpoint, model, 32)


@pytest.mark.parametrize("new_order", [False, True])
@pytest.mark.parametrize("updown", [False, True])
@pytest.mark.parametrize("scale_shift", [False, True])
def test_a_json_next_to_the_file_supplies_what_the_tensors_do_not_show(
    new_order, updown, scale_shift, tmp_path, parity
):
    model = foreign.OpenAI(
        mult=(1, 2),
        attention=(1,),
        heads=2,
        new_order=new_order,
        updown=updown,
        scale_shift=scale_shift,
    )
    sidecar = {
        "sample_size": 8,
        "num_heads": 2,
        "use_new_attention_order": new_order,
        "scheduler": {"num_train_timesteps": 1000, "beta_schedule": "linear"},
    }
    path = save(foreign.randomise(model), tmp_path / "model.pt", sidecar)
    assert load(path).config.size == (8, 8)
    same("format: OpenAI, with a JSON", parity, load(path), model)
    scheduler = load(path).scheduler
    assert scheduler is not None
    assert scheduler["beta_schedule"] == "linear"
    assert scheduler["variance_type"] == "learned_range"


def test_classes_of_guided_diffusion_load(tmp_path, parity):
    model = foreign.randomise(foreign.OpenAI(**GUIDED["256"], classes=5))
    checkpoint = load(save(model, tmp_path / "model.pt"))
    assert checkpoint.config.num_class_embeds == 5
    x, t, y = torch.randn((2, 3, 32, 32)), torch.tensor([3, 900]), torch.tensor([0, 4])
    comparison, apart = compare_networks(checkpoint.build(UNet2D), model, x, t, y)
    parity("format: guided, classes", comparison)
    assert apart < 1e-12


class _Tamed(nn.Module):
    """A random network under which the sampler stays in range: its outputs made small."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model
        with torch.no_grad():
            model.out[2].weight.mul_(0.2)
            model.out[2].bias.mul_(0.2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "steps"), [("improved", 40), ("improved", 100), ("guided", 20), ("guided", 50)]
)
def test_a_converted_network_samples_as_its_own_project_does(kind, steps, tmp_path):
    fields = IMPROVED["CIFAR-10"] | {"layers": 1} if kind == "improved" else GUIDED["256"]
    train_steps = 4000 if kind == "improved" else 1000
    rescale = train_steps if kind == "improved" else None
    model = foreign.randomise(foreign.OpenAI(**fields, rescale_from=rescale))
    _Tamed(model)
    checkpoint = load(save(model, tmp_path / "model.pt"))
    assert checkpoint.scheduler is not None
    config = SchedulerConfig.from_dict(checkpoint.scheduler)
    assert config.num_train_timesteps == train_steps
    double = torch.float64
    linear = torch.linspace(1e-4, 0.02, 1000, dtype=double)
    betas = foreign.cosine_betas(4000) if kind == "improved" else linear
    shape, times = (3, 8, 8) if kind == "improved" else (3, 32, 32), make_timesteps(config, steps)
    # Both in float64, tables and networks too, so that no rounding is enlarged on the way.
    noise, same_noise = SeededNoise([3], shape), SeededNoise([3], shape)
    with torch.inference_mode():
        expected = foreign.p_sample_loop(model.double(), noise(), betas, times, noise)
        sampler = DDPM.over(config, Stretch(steps), dtype=double)
        network = checkpoint.build(UNet2D).double()
        result = drain(sampler.sample(network, same_noise().double(), same_noise))
    assert max(distances(result, expected)) < 1e-10


def test_an_openai_network_of_unknown_levels_asks_for_its_size(tmp_path):
    path = save(foreign.OpenAI(mult=(1, 3)), tmp_path / "model.pt")
    with pytest.raises(ConfigError, match=r"\"sample_size\": 64"):
        load(path)


@pytest.mark.parametrize("format_name", ["Ho", "OpenAI", "diffusers"])
@pytest.mark.parametrize(("inputs", "outputs"), [(6, 3), (5, 1), (3, 4)])
def test_a_network_that_needs_another_image_is_rejected_in_every_format(
    format_name, inputs, outputs, tmp_path
):
    model, first, last = {
        "Ho": (foreign.Ho(mult=(1, 2), attention=(1,)), "conv_in", "conv_out"),
        "OpenAI": (foreign.OpenAI(mult=(1, 2), attention=(1,)), "input_blocks.0.0", "out.2"),
        "diffusers": (toys.reference_model(toys.TINY), "conv_in", "conv_out"),
    }[format_name]
    weights = model.state_dict()
    width = weights[f"{first}.weight"].shape[0]
    weights[f"{first}.weight"] = torch.zeros(width, inputs, 3, 3)
    weights[f"{last}.weight"] = torch.zeros(outputs, width, 3, 3)
    weights[f"{last}.bias"] = torch.zeros(outputs)
    path = tmp_path / "model.pt"
    torch.save(weights, path)
    sidecar = {"sample_size": 8, "norm_num_groups": 8, "num_heads": 1}
    del sidecar["num_heads" if format_name != "OpenAI" else "norm_num_groups"]
    path.with_suffix(".json").write_text(json.dumps(sidecar))
    words = "super-resolution" if inputs > outputs else "as many outputs as inputs"
    with pytest.raises(CheckpointError, match=rf"model\.pt.*{words}") as caught:
        load(path)
    assert "can be written" not in str(caught.value)


def test_super_resolution_with_a_learned_variance_is_rejected(tmp_path):
    path = save(foreign.OpenAI(channels=6, out=6), tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match="super-resolution"):
        load(path)


def test_a_guided_diffusion_network_without_a_learned_variance_is_loaded_with_a_warning(tmp_path):
    fields = GUIDED["two layers"]
    path = save(foreign.randomise(foreign.OpenAI(**fields)), tmp_path / "model.pt")
    assert "consistency" in load(path).config.warnings[0]
    learned = save(foreign.randomise(foreign.OpenAI(**fields | {"out": 6})), tmp_path / "6.pt")
    assert not load(learned).config.warnings
    path.with_suffix(".json").write_text('{"scheduler": {"beta_schedule": "linear"}}')
    assert not load(path).config.warnings


def test_null_and_old_names_in_a_single_files_schedule_are_read(tmp_path):
    sidecar = {"scheduler": {"num_train_timesteps": None, "timesteps": 100, "beta_schedule": None}}
    path = save(foreign.randomise(foreign.OpenAI()), tmp_path / "model.pt", sidecar)
    checkpoint = load(path)
    assert checkpoint.scheduler is not None
    assert checkpoint.scheduler["num_train_timesteps"] == 100
    assert checkpoint.scheduler["beta_schedule"] == "squaredcos_cap_v2"
    assert checkpoint.config.num_train_timesteps == 100


@pytest.mark.slow
@pytest.mark.parametrize(
    "model",
    [foreign.Ho(mult=(1, 2)), foreign.OpenAI(mult=(1, 2), attention=(1,))],
    ids=["Ho et al.", "OpenAI"],
)
def test_a_missing_or_misshapen_tensor_of_a_foreign_format_is_a_checkpoint_error(model, tmp_path):
    weights = model.state_dict()
    path = tmp_path / "model.pt"
    path.with_suffix(".json").write_text('{"sample_size": 8}')
    shapes = ((), (0,), (3, 3, 3, 3), (95,), (2, 0, 3, 3))
    seen: set[str] = set()
    for number, name in enumerate(weights):
        layer = re.sub(r"\d+", "0", name)
        damages = [
            {n: w for n, w in weights.items() if n != name},
            *({**weights, name: torch.zeros(shape)} for shape in shapes),
        ]
        # All kinds of damage for the first tensor of each kind of layer, one for the others.
        tried = damages[number % 6 :][:1] if layer in seen else damages
        seen.add(layer)
        for content in tried:
            torch.save(content, path)
            with pytest.raises(CheckpointError, match=r"model\.pt"):
                load(path)


@pytest.mark.parametrize(
    ("model", "name", "words"),
    [
        (foreign.Ho, "surprise", "not part of this configuration: surprise"),
        (foreign.Ho, "up.99999999999999999999.block.0.conv1.weight", "not part of"),
        (foreign.Ho, "up.9.attn.x", "not part of"),
        (foreign.Ho, "down_blocks.0.resnets.0.conv1.weight", "would be renamed to"),
        (foreign.OpenAI, "input_blocks.1.0.surprise", "not part of .*input_blocks.1.0.surprise"),
        (foreign.OpenAI, "classifier.weight", "not part of .*classifier"),
        (foreign.OpenAI, "output_blocks.99.0.in_layers.0.weight", "not part of .*output_blocks.99"),
    ],
)
def test_an_unexpected_tensor_is_named(model, name, words, tmp_path):
    path = tmp_path / "model.pt"
    torch.save({**model().state_dict(), name: torch.zeros(2)}, path)
    with pytest.raises(CheckpointError, match=words):
        load(path)


# diffusers, early and in one file


def with_copies(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The first names, with the downsamplers a second time, as the files have them."""
    old = toys.early_names(weights)
    return old | {n.replace(".conv.", ".op."): w for n, w in old.items() if ".downsamplers." in n}


def test_the_first_diffusers_loads(tmp_path, parity):
    model = toys.reference_model({**toys.CIFAR, "norm_num_groups": 8})
    fields = {
        "_class_name": "UNetUnconditionalModel",
        "image_size": 32,
        "in_channels": 3,
        "out_channels": 3,
        "num_res_blocks": 2,
        "block_channels": toys.CIFAR["block_out_channels"],
        "down_blocks": [f"UNetRes{kind}" for kind in toys.CIFAR["down_block_types"]],
        "up_blocks": [f"UNetRes{kind}" for kind in toys.CIFAR["up_block_types"]],
        "downsample_padding": 0,
        "downscale_freq_shift": 1,
        "flip_sin_to_cos": False,
        "num_head_channels": None,
        "resnet_eps": 1e-6,
        "resnet_act_fn": "silu",
        "resnet_num_groups": 8,
        "conv_resample": True,
        "ddpm": False,
        "ldm": False,
        "attention_resolutions": [8],
    }
    (tmp_path / "config.json").write_text(json.dumps(fields))
    for names in (with_copies, toys.legacy_names, dict):
        torch.save(names(model.state_dict()), tmp_path / "diffusion_pytorch_model.bin")
        checkpoint = load(tmp_path)
        assert checkpoint.config.size == (32, 32)
        same("format: early diffusers", parity, checkpoint, model)


def test_the_very_first_class_with_the_names_of_ho_loads(tmp_path, parity):
    model = foreign.randomise(foreign.Ho(mult=(1, 2), attention=(1,)))
    fields = {"_class_name": "UNetModel", "ch": 32, "ch_mult": [1, 2], "resolution": 16}
    (tmp_path / "config.json").write_text(json.dumps(fields))
    torch.save(model.state_dict(), tmp_path / "diffusion_pytorch_model.bin")
    same("format: early diffusers", parity, load(tmp_path), model)


def whole(fields: dict[str, Any]) -> dict[str, Any]:
    return {"_class_name": "UNet2DModel", **fields}


@pytest.mark.parametrize("where", ["metadata", "beside"])
@pytest.mark.parametrize("fields", [toys.CIFAR, toys.TRAINED, toys.TINY], ids=("a", "b", "c"))
def test_one_file_with_its_configuration_loads(where, fields, tmp_path, parity):
    model = toys.reference_model(fields)
    schedule = {"beta_schedule": "squaredcos_cap_v2"}
    path = tmp_path / "model.safetensors"
    metadata = {"config": json.dumps(whole(fields)), "scheduler_config": json.dumps(schedule)}
    save_file(model.state_dict(), path, metadata if where == "metadata" else None)
    if where == "beside":
        sidecar = {**whole(fields), "scheduler": schedule}
        path.with_suffix(".json").write_text(json.dumps(sidecar))
    checkpoint = load(path)
    assert checkpoint.scheduler == schedule
    same("format: one file", parity, checkpoint, model, 32)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"resnet_time_scale_shift": "scale_shift", "attn_norm_num_groups": 32},
        {"resnet_time_scale_shift": "scale_shift"},
        {"add_attention": False, "out_channels": 6, "in_channels": 3},
        {"downsample_type": "resnet", "upsample_type": "resnet"},
        {
            "down_block_types": ["ResnetDownsampleBlock2D", "AttnDownBlock2D"],
            "up_block_types": ["AttnUpBlock2D", "ResnetUpsampleBlock2D"],
        },
    ],
    ids=str,
)
def test_the_configuration_of_one_file_is_read_from_its_shapes(fields, tmp_path, parity):
    model = toys.reference_model(
        {
            "sample_size": 16,
            "block_out_channels": [32, 64],
            "layers_per_block": 2,
            "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
            "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
            **fields,
        }
    )
    path = save(model, tmp_path / "model.safetensors", {"sample_size": 16})
    same("format: one file, by shapes", parity, load(path), model)


def test_one_file_with_the_names_of_2022_is_assumed_to_be_googles(tmp_path, parity):
    model = toys.reference_model(
        {**toys.CIFAR, "block_out_channels": [32] * 4, "norm_num_groups": 32}
    )
    path = tmp_path / "model.bin"
    torch.save(toys.legacy_names(model.state_dict()), path)
    path.with_suffix(".json").write_text('{"sample_size": 32}')
    same("format: one file, by shapes", parity, load(path), model)


def test_one_file_without_a_size_says_which_json_to_write(tmp_path):
    path = save(toys.reference_model(toys.TINY), tmp_path / "model.safetensors")
    sidecar = {"norm_num_groups": 8}
    path.with_suffix(".json").write_text(json.dumps(sidecar))
    with pytest.raises(ConfigError, match=r"\"sample_size\": 64.*model\.json"):
        load(path)


def test_assumptions_are_logged(tmp_path, caplog):
    load(save(foreign.Ho(), tmp_path / "ema.ckpt"))
    assert "'sample_size': 32" in caplog.text
    assert "ema.json" in caplog.text
    assert "fixed_large" in caplog.text


def test_a_file_with_unknown_tensor_names_is_rejected(tmp_path):
    torch.save({"decoder.up.weight": torch.zeros(2)}, tmp_path / "vae.pt")
    with pytest.raises(CheckpointError, match=r"not an unconditional .* UNet.*decoder\.up"):
        load(tmp_path / "vae.pt")


# Layouts, variants and shards


def test_training_checkpoints_are_entries_with_the_runs_schedule(tmp_path):
    toys.write_checkpoint(tmp_path, toys.TINY, layout="pipeline", scheduler={"beta_end": 0.01})
    for name in ("unet", "unet_ema"):
        toys.write_checkpoint(tmp_path / "checkpoint-500" / name, toys.TINY)
    found = network_folders(tmp_path / "checkpoint-500")
    assert list(found) == ["/unet", "/unet_ema"]
    assert list(network_folders(tmp_path)) == [""]
    schedule = tmp_path / "scheduler" / "scheduler_config.json"
    for network in found.values():
        assert find_files(network).scheduler_config == schedule


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_variants_are_choices(suffix, tmp_path):
    toys.write_checkpoint(tmp_path, toys.TINY, suffix=suffix, seed=1)
    plain = tmp_path / f"diffusion_pytorch_model.{suffix}"
    for k, variant in enumerate(("fp16", "non_ema", "ema")):
        source = tmp_path / variant
        toys.write_checkpoint(source, toys.TINY, suffix=suffix, seed=k + 2)
        (source / plain.name).rename(tmp_path / f"diffusion_pytorch_model.{variant}.{suffix}")
    assert find_variants(tmp_path) == ["", "ema", "fp16", "non_ema"]
    assert len({load(tmp_path, variant).sha256 for variant in find_variants(tmp_path)}) == 4
    plain.unlink()
    assert find_variants(tmp_path) == ["ema", "fp16", "non_ema"]
    with pytest.raises(CheckpointError, match="Available variants: ema, fp16, non_ema"):
        load(tmp_path)
    with pytest.raises(CheckpointError, match="variant 'fp8'"):
        load(tmp_path, "fp8")


def shard(folder: Path, variant: str = "") -> Path:
    """Cut a model's weights in three with an index, as diffusers writes them."""
    whole_file = folder / "diffusion_pytorch_model.safetensors"
    weights = load_file(whole_file)
    whole_file.unlink()
    dot = f".{variant}" if variant else ""
    weight_map = {}
    for k in range(3):
        name = f"diffusion_pytorch_model{dot}-{k + 1:05}-of-00003.safetensors"
        part = {n: w.clone() for i, (n, w) in enumerate(weights.items()) if i % 3 == k}
        save_file(part, folder / name)
        weight_map |= dict.fromkeys(part, name)
    index = folder / f"diffusion_pytorch_model.safetensors.index{dot}.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return index


@pytest.mark.parametrize("variant", ["", "fp16"])
def test_shards_are_one_model(variant, tmp_path, parity):
    model = toys.write_checkpoint(tmp_path, toys.TINY)
    shard(tmp_path, variant)
    assert find_variants(tmp_path) == [variant]
    checkpoint = load(tmp_path, variant)
    same("format: shards", parity, checkpoint, model)
    files = find_files(tmp_path, variant)
    before = files.fingerprint
    files.shards[1].write_bytes(files.shards[2].read_bytes())
    assert files.fingerprint != before
    with pytest.raises(CheckpointError, match="also in another part"):
        load(tmp_path, variant)
    files.shards[1].unlink()
    with pytest.raises(CheckpointError, match=f"{files.shards[1].name}, a part of"):
        load(tmp_path, variant)


@pytest.mark.parametrize(
    "name",
    [
        "../secret.safetensors",
        "/etc/secret.safetensors",
        "a/b.safetensors",
        "a\\b.safetensors",
        "C:x.safetensors",
        "..",
        "",
        "x.pkl",
        "x.bin",
        ".hidden.safetensors",
        "a\nb.safetensors",
        "a\0.safetensors",
        7,
        None,
        ["x.safetensors"],
    ],
)
def test_an_index_names_no_file_elsewhere(name, tmp_path):
    folder = tmp_path / "model"
    toys.write_checkpoint(folder, toys.TINY)
    index = shard(folder)
    save_file({"stolen": torch.zeros(1)}, tmp_path / "secret.safetensors")
    content = json.loads(index.read_text())
    content["weight_map"]["conv_in.weight"] = name
    index.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="Files outside the model's folder are not opened"):
        load(folder)


@pytest.mark.parametrize("content", ["{}", '{"weight_map": {}}', '{"weight_map": [1]}', "{", "[]"])
def test_a_broken_index_is_named(content, tmp_path):
    toys.write_checkpoint(tmp_path, toys.TINY)
    shard(tmp_path).write_text(content)
    with pytest.raises(CheckpointError, match=r"index\.json"):
        load(tmp_path)


def test_a_users_symbolic_links_are_followed(tmp_path):
    store, folder = tmp_path / "store", tmp_path / "model"
    toys.write_checkpoint(store, toys.TINY)
    folder.mkdir()
    for path in store.iterdir():
        (folder / path.name).symlink_to(path)
    assert load(folder).config.size == (8, 8)


# What is never opened


class _Evidence:
    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.mkdir, (self.path,)


@pytest.mark.parametrize("suffix", [".pt", ".ckpt", ".pth", ".bin"])
def test_code_in_a_file_is_refused_with_how_to_convert(suffix, tmp_path):
    path = tmp_path / f"model{suffix}"
    content = {"state_dict": foreign.Ho().state_dict(), "args": _Evidence(tmp_path / "evidence")}
    for write in (torch.save, lambda o, p: Path(p).write_bytes(pickle.dumps(o))):
        write(content, path)
        with pytest.raises(CheckpointError, match=r"contains code.*save_file"):
            load(path)
    assert not (tmp_path / "evidence").exists()


@pytest.mark.parametrize("name", ["edm-cifar10-32x32-uncond-vp.pkl", "x.PKL", "x.pickle"])
def test_an_edm_pickle_is_rejected_without_opening_it(name, tmp_path):
    path = tmp_path / name
    path.write_bytes(pickle.dumps({"ema": _Evidence(tmp_path / "evidence")}))
    with pytest.raises(CheckpointError, match=r"was not opened\. .*Python code"):
        find_files(path)
    toys.write_checkpoint(tmp_path, toys.TINY)
    (tmp_path / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"was not opened\. .*Python code"):
        load(tmp_path)
    assert not (tmp_path / "evidence").exists()


def test_a_pickle_of_something_else_is_rejected(tmp_path):
    for content in ([], [1, 2], {}, {"a": 1}, torch.zeros(3), {1: torch.zeros(3)}):
        torch.save(content, tmp_path / "model.pt")
        with pytest.raises(CheckpointError, match=r"contains (no named tensors|tensor|1)"):
            load(tmp_path / "model.pt")


@pytest.mark.parametrize(
    ("metadata", "words"),
    [({"config": "{"}, "not JSON"), ({"config": "[]"}, "not a JSON object")],
)
def test_broken_metadata_is_named(metadata, words, tmp_path):
    path = tmp_path / "model.safetensors"
    save_file(toys.reference_model(toys.TINY).state_dict(), path, metadata)
    with pytest.raises(ConfigError, match=words):
        load(path)
