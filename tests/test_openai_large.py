"""OpenAI's large networks, and its consistency models: recognised, computed, saved and read."""

import json
from pathlib import Path
from typing import Any

import foreign
import pytest
import torch
from comfyui_unconditional.checkpoints.files import is_foreign, read_json
from comfyui_unconditional.checkpoints.formats import openai
from comfyui_unconditional.checkpoints.formats.conversion import Converted
from comfyui_unconditional.checkpoints.reading import Checkpoint
from comfyui_unconditional.checkpoints.saving import save_model
from comfyui_unconditional.networks.errors import CheckpointError, ConfigError
from comfyui_unconditional.schedulers.config import SchedulerConfig
from comfyui_unconditional.unet.config import UNetConfig
from comfyui_unconditional.unet.memory import activation_bytes
from comfyui_unconditional.unet.unet2d import UNet2D
from diffusers import DDPMPipeline, DiffusionPipeline, UNet2DModel
from float64 import compare_networks
from live_tensors import peak_bytes
from test_formats import load, save

_512 = {"mult": (0.5, 1, 1, 2, 2, 4, 4), "attention": (4, 5, 6), "updown": True}
_256 = {"mult": (1, 1, 2, 2, 4, 4)}
_64 = {"mult": (1, 2, 3, 4), "layers": 3}

# Published networks at their full size: the reference's arguments, and what the pack must find.
PUBLISHED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "512x512_diffusion_uncond_finetune_008100": (
        {**_512, "ch": 256, "layers": 2, "heads": None},
        {
            "sample_size": 512,
            "block_out_channels": (128, 256, 256, 512, 512, 1024, 1024),
            "time_projection_dim": 256,
            "time_embedding_dim": 1024,
            "attention_head_dim": 64,
            "layers_per_block": 2,
        },
    ),
    "portrait_generator_v001": (
        {**_512, "ch": 128, "layers": 2, "heads": 4},
        {
            "sample_size": 512,
            "block_out_channels": (64, 128, 128, 256, 256, 512, 512),
            "time_projection_dim": 128,
            "attention_head_dim": (16, 32, 32, 64, 64, 128, 128),
        },
    ),
    "256x256_diffusion_uncond": (
        {**_256, "ch": 256, "layers": 2, "attention": (3, 4, 5), "heads": None, "updown": True},
        {"sample_size": 256, "time_projection_dim": None, "attention_head_dim": 64},
    ),
    "128x128_diffusion": (
        {
            "ch": 256,
            "mult": (1, 1, 2, 3, 4),
            "layers": 2,
            "attention": (2, 3, 4),
            "heads": 4,
            "updown": True,
            "classes": 1000,
        },
        {
            "sample_size": 128,
            "time_projection_dim": None,
            "attention_head_dim": (64, 64, 128, 192, 256),
            "num_class_embeds": 1000,
        },
    ),
    "ffhq_p2": (
        {**_256, "ch": 128, "attention": (4,), "heads": None, "updown": True},
        {"sample_size": 256, "attention_head_dim": 64, "layers_per_block": 1},
    ),
    "watercolordiffusion": (
        {**_256, "ch": 128, "layers": 2, "attention": (4,), "heads": 1, "scale_shift": False},
        {
            "sample_size": 256,
            "attention_head_dim": None,
            "resnet_time_scale_shift": "default",
            "time_embedding_type": "positional",
        },
    ),
    "imagenet64_uncond_100M_1500K": (
        {**_64, "ch": 128, "attention": (2, 3), "heads": 4},
        {
            "sample_size": 64,
            "attention_head_dim": (32, 64, 96, 128),
            "time_embedding_type": "learned",
            "num_train_timesteps": 4000,
            "layers_per_block": 3,
        },
    ),
    "imagenet64_cond_270M_250K": (
        {**_64, "ch": 192, "attention": (2, 3), "heads": 4, "classes": 1000},
        {
            "sample_size": 64,
            "attention_head_dim": (48, 96, 144, 192),
            "time_embedding_type": "positional",
        },
    ),
}


def on_meta(fields: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The names and shapes of a reference network's tensors."""
    with torch.device("meta"):
        return foreign.OpenAI(**fields).state_dict()


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_network_is_recognised_at_its_full_size(name):
    fields, expected = PUBLISHED[name]
    found = openai.convert(on_meta(fields), {"_file_name": f"{name}.pt"})
    assert {field: getattr(found.config, field) for field in expected} == expected
    assert not found.config.warnings
    network = UNet2D(found.config, device="meta")
    network.load_state_dict(found.weights, strict=True, assign=True)
    steps = 4000 if "imagenet64" in name else 1000
    assert found.scheduler == {
        "num_train_timesteps": steps,
        "beta_schedule": "linear" if steps == 1000 else "squaredcos_cap_v2",
        "variance_type": "learned_range",
    }
    assert found.assumed["attention_head_dim"] == found.config.attention_head_dim


# Narrowed: the reference's arguments, the size of the image, and the JSON beside the file.
NARROWED: dict[str, tuple[dict[str, Any], int, dict[str, Any]]] = {
    "512x512_diffusion": ({**_512, "ch": 64, "heads": None}, 64, {}),
    "portrait_generator": ({**_512, "ch": 64, "heads": 4}, 64, {"num_heads": 4}),
    "128x128_diffusion": (
        {"mult": (1, 1, 2, 3, 4), "attention": (2, 3, 4), "updown": True},
        32,
        {"num_heads": 4},
    ),
    "ImageNet-64": ({**_64, "layers": 1, "attention": (2, 3), "rescale_from": 4000}, 16, {}),
}


def narrowed(name: str, tmp_path: Path, suffix: str = "pt") -> tuple[Checkpoint, foreign.OpenAI]:
    fields, _, given = NARROWED[name]
    model = foreign.randomise(foreign.OpenAI(**fields))
    assert isinstance(model, foreign.OpenAI)
    return load(save(model, tmp_path / f"model.{suffix}", given)), model


@pytest.mark.slow
@pytest.mark.parametrize("name", NARROWED)
def test_a_large_network_computes_what_its_own_project_does(name, tmp_path, parity):
    checkpoint, model = narrowed(name, tmp_path)
    size = NARROWED[name][1]
    x = torch.randn(2, 3, size, size)
    for t in ((0, 999), (7, 500)):
        comparison, apart = compare_networks(checkpoint.build(UNet2D), model, x, torch.tensor(t))
        parity("format: OpenAI, large", comparison)
        assert comparison.apart < 1e-5
        assert apart < 1e-12


@pytest.mark.parametrize(
    "wrong",
    [{"attention_head_dim": 32}, {"attention_head_dim": [8, 16, 12, 32]}, {"num_heads": 2}],
    ids=str,
)
def test_the_comparison_fails_where_heads_are_wrong(wrong, tmp_path):
    _, model = narrowed("ImageNet-64", tmp_path)
    mistaken = load(save(model, tmp_path / "mistaken.pt", wrong)).build(UNet2D)
    comparison, apart = compare_networks(
        mistaken, model, torch.randn(2, 3, 16, 16), torch.tensor([7, 7])
    )
    assert not comparison.holds
    assert apart > 1e-5


@pytest.mark.parametrize(
    ("given", "head_dim"),
    [
        ({"num_heads": 2}, (16, 32, 48, 64)),
        ({"num_heads": 1}, None),
        ({"num_head_channels": 32}, 32),
        ({"num_head_channels": -1, "num_heads": 8}, (4, 8, 12, 16)),
        ({"num_head_channels": 16, "num_heads": 8}, 16),
        ({"num_head_channels": None}, (8, 16, 24, 32)),
        ({"attention_head_dim": None}, None),
        ({"attention_head_dim": [1, 1, 96, 64]}, (1, 1, 96, 64)),
    ],
    ids=str,
)
def test_a_json_sets_the_heads_of_a_network(given, head_dim):
    weights = on_meta({**_64, "ch": 32, "attention": (2, 3)})
    found = openai.convert(weights, given)
    assert found.config.attention_head_dim == head_dim
    assert ("attention_head_dim" in found.assumed) == (given == {"num_head_channels": None})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"num_heads": 5}, "must divide the 96 and 128 channels"),
        ({"num_heads": "four"}, "'num_heads' \\('four'\\)"),
        ({"num_head_channels": 40}, "Heads of 40 channels do not divide the 96"),
        ({"num_head_channels": "wide"}, "'attention_head_dim' must be"),
        ({"attention_head_dim": [32, 32]}, "has 2 entries, but 'block_out_channels' has 4"),
        ({"attention_head_dim": [1, 1, 97, 64]}, "97.*96 channels"),
        ({"attention_head_dim": [1, 0, 32, 32]}, r"'attention_head_dim\[1\]' must be 1"),
    ],
    ids=str,
)
def test_heads_that_a_network_cannot_have_are_rejected(given, words):
    with pytest.raises(ConfigError, match=words):
        openai.convert(on_meta({**_64, "ch": 32, "attention": (2, 3)}), given)


def test_an_unexpected_attention_layer_is_named_whatever_its_level(tmp_path):
    model = foreign.OpenAI(**NARROWED["ImageNet-64"][0])
    name = "down_blocks.77.attentions.0.qkv.weight"
    torch.save({**model.state_dict(), name: torch.zeros(384, 128)}, tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match=r"not part of .*down_blocks\.77"):
        load(tmp_path / "model.pt")


def test_a_first_level_that_is_not_as_wide_as_the_input_convolution_is_rejected():
    weights = on_meta({"ch": 32, "mult": (1, 2)})
    weights["input_blocks.0.0.weight"] = torch.empty(64, 3, 3, 3, device="meta")
    with pytest.raises(ConfigError, match="as wide as its input convolution"):
        openai.convert(weights, {"sample_size": 8})


# Saving


def saved(checkpoint: Checkpoint, folder: Path) -> Path:
    save_model(folder, checkpoint.weights, checkpoint.config, SchedulerConfig())
    return folder


@pytest.mark.parametrize("name", ["512x512_diffusion", "ImageNet-64"])
def test_a_network_beyond_diffusers_is_saved_and_read_again_bit_for_bit(name, tmp_path):
    checkpoint, _ = narrowed(name, tmp_path)
    folder = saved(checkpoint, tmp_path / "saved")
    assert not is_foreign(folder)
    again = load(folder)
    assert again.config == checkpoint.config
    assert not again.config.warnings
    assert again.weights.keys() == checkpoint.weights.keys()
    assert all(torch.equal(again.weights[n], w) for n, w in checkpoint.weights.items())


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("512x512_diffusion", "first level (32 channels) is not as wide"),
        ("ImageNet-64", "attention heads differ by level (8, 16, 24, 32)"),
        ("portrait_generator", "(8, 16, 16, 32, 32, 64, 64)"),
    ],
)
def test_diffusers_rejects_a_network_it_lacks_and_the_files_say_why(name, words, tmp_path):
    checkpoint, _ = narrowed(name, tmp_path)
    folder = saved(checkpoint, tmp_path / "saved")
    for pipeline in (DDPMPipeline, DiffusionPipeline):
        with pytest.raises(ValueError, match="has no class `UNet2D`"):
            pipeline.from_pretrained(folder)
    # Without the pipeline, diffusers ignores the class and the fields that it does not know.
    for options in ({}, {"low_cpu_mem_usage": False}):
        with pytest.raises((TypeError, ValueError, RuntimeError)):
            UNet2DModel.from_pretrained(folder, subfolder="unet", **options)
    for file in ("model_index.json", "unet/config.json"):
        assert words in read_json(folder / file)["not_for_diffusers"]
    assert words in checkpoint.config.not_for_diffusers


def test_a_network_that_diffusers_has_is_written_as_diffusers_does(tmp_path):
    model = foreign.randomise(foreign.OpenAI())
    checkpoint = load(save(model, tmp_path / "model.pt"))
    fields = read_json(saved(checkpoint, tmp_path / "saved") / "unet" / "config.json")
    assert fields["_class_name"] == "UNet2DModel"
    assert fields.keys() - UNet2DModel().config.keys() == {"_class_name"}
    assert not checkpoint.config.not_for_diffusers


@pytest.mark.parametrize("kind", ["learned", "fourier", "positional"])
@pytest.mark.parametrize("class_embed_type", [None, "timestep"])
def test_a_time_embedding_may_have_another_width_than_the_first_level(kind, class_embed_type):
    config = UNetConfig.from_dict(
        {
            "block_out_channels": [32, 64],
            "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
            "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
            "time_projection_dim": 48,
            "time_embedding_type": kind,
            "class_embed_type": class_embed_type,
            "num_train_timesteps": 10,
        }
    )
    network = UNet2D(config).eval()
    assert network.time_embedding.linear_1.in_features == 48 * (2 if kind == "fourier" else 1)
    label = 3 if class_embed_type else None
    with torch.inference_mode():
        assert network(torch.randn(1, 3, 8, 8), 7, label).isfinite().all()
    assert UNetConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize("name", list(PUBLISHED)[:3])
def test_the_memory_of_an_evaluation_is_estimated_for_a_large_network(name):
    config = openai.convert(on_meta(PUBLISHED[name][0]), {}).config
    with torch.device("meta"):
        network, x = UNet2D(config).eval(), torch.empty(1, 3, *config.size)
    peak = peak_bytes(lambda: network(x, torch.zeros(1, device="meta")))
    estimate = activation_bytes(config, (1, 3, *config.size), torch.float32)
    assert peak <= estimate <= 1.15 * peak


# Consistency models

CONSISTENCY: dict[str, tuple[dict[str, Any], int]] = {
    "cd_imagenet64_l2.pt": ({**_64, "layers": 1, "attention": (1, 2, 3), "classes": 10}, 40),
    "CT_imagenet64.pt": ({**_64, "layers": 1, "attention": (1, 2, 3), "classes": 10}, 201),
    "ct_cat256.pt": ({**_256, "attention": (3, 4, 5), "scale_shift": False}, 151),
    "openai-cd_bedroom256_lpips.pt": ({**_256, "attention": (4, 5), "scale_shift": False}, 40),
}
_THREE_BLOCKS = {"ch": 64, "out": 3, "updown": True, "heads": None, "new_order": True}


def flat_kernels(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Attention's projections as openai/consistency_models has them: of 2-d convolutions."""
    return {
        name: weight.unsqueeze(-1) if weight.ndim == 3 else weight
        for name, weight in weights.items()
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", CONSISTENCY)
def test_a_consistency_model_in_openais_format_is_known_by_its_name(name, tmp_path, parity):
    fields, levels = CONSISTENCY[name]
    model = foreign.randomise(foreign.OpenAI(**_THREE_BLOCKS, **fields))
    torch.save(flat_kernels(model.state_dict()), tmp_path / name)
    checkpoint = load(tmp_path / name)
    assert checkpoint.scheduler == {
        "_class_name": "CMStochasticIterativeScheduler",
        "num_train_timesteps": levels,
        "sigma_min": 0.002,
        "sigma_max": 80.0,
        "sigma_data": 0.5,
        "rho": 7.0,
    }
    assert not checkpoint.config.warnings
    assert not checkpoint.config.not_for_diffusers
    assert checkpoint.origin.assumed["use_new_attention_order"] is True
    assert checkpoint.origin.assumed_schedule["sigma_max"] == 80.0
    labels = () if "classes" not in fields else (torch.tensor([0, 9]),)
    x = torch.randn(2, 3, 32, 32)
    # Times of a consistency model are 250 times the logarithm of sigma: fractions, and negative.
    t = torch.tensor([1095.5, -1553.7])
    comparison, apart = compare_networks(checkpoint.build(UNet2D), model, x, t, *labels)
    parity("format: consistency models", comparison)
    assert apart < 1e-12


def published_consistency() -> list[dict[str, Any]]:
    more = {"out": 3, "updown": True, "heads": None}
    return [
        {**_64, **more, "ch": 192, "attention": (1, 2, 3), "classes": 1000},
        {**_256, **more, "ch": 256, "layers": 2, "attention": (3, 4, 5), "scale_shift": False},
    ]


@pytest.mark.parametrize("fields", published_consistency(), ids=["ImageNet-64", "LSUN"])
def test_a_published_consistency_or_edm_network_under_another_name_is_rejected_with_what_to_do(
    fields,
):
    weights = on_meta(fields)
    with pytest.raises(ConfigError, match=r"a consistency model or an EDM model.*published name"):
        openai.convert(weights, {"_file_name": "model.pt"})
    given = {"scheduler": {"_class_name": "CMStochasticIterativeScheduler", "sigma_max": 20.0}}
    found = openai.convert(weights, {"_file_name": "model.pt", **given})
    assert consistency(found)
    assert found.scheduler is not None
    assert (found.scheduler["sigma_max"], found.scheduler["sigma_min"]) == (20.0, 0.002)
    # Only an option of the same process: the name still decides.
    named = openai.convert(
        weights, {"_file_name": "cd_imagenet64_lpips.pt", "scheduler": {"sigma_max": 20.0}}
    )
    assert consistency(named)
    ordinary = openai.convert(on_meta({**fields, "out": 6}), {"_file_name": "model.pt"})
    assert not consistency(ordinary)
    assert not ordinary.config.warnings


def consistency(found: Converted) -> bool:
    name = (found.scheduler or {}).get("_class_name")
    return name == "CMStochasticIterativeScheduler"


@pytest.mark.parametrize("name", ["edm_bedroom256_ema.pt", "edm_imagenet64_ema.pt"])
def test_an_edm_model_in_openais_format_is_rejected_with_its_process(name, tmp_path):
    fields = {**_THREE_BLOCKS, "mult": (1, 2, 3, 4), "attention": (3,)}
    path = save(foreign.randomise(foreign.OpenAI(**fields)), tmp_path / name)
    with pytest.raises(ConfigError, match=r"EDM \(Karras et al\. 2022\) is a process.*\.json"):
        load(path)
    # A file that only has such a name: the user's JSON decides.
    path.with_suffix(".json").write_text('{"scheduler": {"beta_schedule": "linear"}}')
    checkpoint = load(path)
    assert checkpoint.scheduler is not None
    assert "sigma_max" not in checkpoint.scheduler
    assert not checkpoint.config.warnings


def test_only_the_names_of_published_files_are_those_of_consistency_models():
    weights = on_meta({**_THREE_BLOCKS, "mult": (1, 2, 3, 4), "attention": (3,)})
    for name in ("acd_cat256.pt", "ct_scan.pt", "cd.pt"):
        found = openai.convert(weights, {"_file_name": name})
        assert not consistency(found)
        assert "consistency" in found.config.warnings[0]
    # A learned variance is not part of a consistency model.
    learned = on_meta({**_THREE_BLOCKS, "mult": (1, 2, 3, 4), "attention": (3,), "out": 6})
    assert not consistency(openai.convert(learned, {"_file_name": "cd_cat256.pt"}))
