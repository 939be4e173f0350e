"""Models of lucidrains/denoising-diffusion-pytorch, in all their generations."""

import json
import random
from typing import Any

import pytest
import torch
from comfyui_unconditional.checkpoints.files import find_files, read_json
from comfyui_unconditional.checkpoints.formats import identify
from comfyui_unconditional.checkpoints.formats.lucidrains import convert
from comfyui_unconditional.checkpoints.reading import read_checkpoint
from comfyui_unconditional.checkpoints.saving import save_as_new_model
from comfyui_unconditional.lucidrains.config import LucidrainsConfig
from comfyui_unconditional.lucidrains.network import LucidrainsUNet
from comfyui_unconditional.networks.errors import CheckpointError, ConfigError
from comfyui_unconditional.schedulers.config import SchedulerConfig
from comfyui_unconditional.schedulers.ddim import DDIM
from comfyui_unconditional.schedulers.ddpm import DDPM
from comfyui_unconditional.schedulers.sampler import drain
from comfyui_unconditional.schedulers.span import Stretch
from float64 import compare_evaluations
from live_tensors import peak_bytes
from lucidrains_files import TINY, betas_of, loss_weight, save_trained, trained
from lucidrains_oracle import GENERATIONS, Oracle, stored_shapes
from torch import Tensor

SIZE = {"sample_size": 8}
# Each generation has 60 random configurations; the first few are enough for a quick run.
CASES = [n if n < 5 else pytest.param(n, marks=pytest.mark.slow) for n in range(60)]


def name_of(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def random_oracle(version: tuple[int, ...], rng: random.Random) -> Oracle:
    levels = rng.choice([1, 2, 3])
    more: dict[str, Any] = {}
    if version >= (1, 8, 15):
        more["full"] = tuple(rng.random() < 0.4 for _ in range(levels))
        more["heads"] = tuple(rng.choice([1, 2, 4]) for _ in range(levels))
        more["head_width"] = tuple(rng.choice([4, 8]) for _ in range(levels))
        more["theta"] = rng.choice([10000, 3000])
    if version >= (2, 0, 12):
        more["init_dim"] = rng.choice([None, 8, 24])
    else:
        more["groups"] = rng.choice([8, 4])
    learned = rng.random() < 0.2
    return Oracle(
        version,
        dim=rng.choice([8, 16]),
        mults=tuple(rng.choice([1, 2, 3]) for _ in range(levels)),
        channels=rng.choice([1, 2, 3]),
        learned_variance=learned,
        self_condition=not learned and rng.random() < 0.4,
        **more,
    )


def options_of(oracle: Oracle) -> dict[str, Any]:
    """The fields that a JSON file must have for a network, because its own file lacks them."""
    given: dict[str, Any] = {"sample_size": 2 ** len(oracle.mults)}
    if oracle.version < (0, 32):
        given["version"] = name_of(oracle.version)
    if oracle.version < (2,):
        given["resnet_block_groups"] = oracle.groups
    if oracle.version >= (1, 8):
        given["sinusoidal_pos_emb_theta"] = oracle.theta
    if (1, 8) <= oracle.version < (1, 9) and oracle.heads:
        given["attn_heads"] = oracle.heads
    return given


@pytest.mark.parity
@pytest.mark.parametrize("number", CASES)
@pytest.mark.parametrize("version", GENERATIONS, ids=name_of)
def test_a_network_of_each_generation_predicts_what_its_package_does(
    version, number, tmp_path, parity
):
    rng = random.Random(number)
    oracle = random_oracle(version, rng)
    weights = oracle.weights(number)
    file = save_trained(tmp_path, oracle, weights, options_of(oracle))
    checkpoint = read_checkpoint(find_files(file))
    assert checkpoint.origin.assumed == {}
    network = checkpoint.build(LucidrainsUNet)
    torch.manual_seed(number)
    side = 2 ** (len(oracle.mults) - 1)
    x = torch.randn(2, oracle.channels, rng.choice([2, 3]) * side, 2 * side)
    t = torch.randint(0, 1000, (2,))
    last = [torch.randn_like(x)] if oracle.self_condition and number % 2 else []
    with torch.inference_mode():
        found, expected = network(x, t, *last), oracle(weights, x, t, *last)
        wide = {name: tensor.double() for name, tensor in weights.items()}
        exact = oracle(wide, x.double(), t, *(tensor.double() for tensor in last))
    parity(f"lucidrains {name_of(version)}", compare_evaluations(found, expected, exact))


@pytest.mark.parametrize("version", GENERATIONS, ids=name_of)
def test_the_tensors_of_a_published_version_fit_the_configuration_that_is_inferred(version):
    shapes = stored_shapes()[name_of(version)]
    assert Oracle(version).shapes() == shapes
    weights = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    assert identify(weights) == "lucidrains (denoising-diffusion-pytorch)"
    given = {"scheduler": {}, "version": name_of(version)}
    converted = convert(weights, given)
    config = converted.config
    assert isinstance(config, LucidrainsConfig)
    assert (config.dim, config.widths, config.size) == (64, (64, 128, 256, 512), (128, 128))
    network = LucidrainsUNet(config, device="meta")
    expected = {name: tensor.shape for name, tensor in network.state_dict().items()}
    assert {name: tensor.shape for name, tensor in converted.weights.items()} == expected


# The contents of a file


@pytest.mark.parametrize("gamma", [None, 5.0])
@pytest.mark.parametrize("schedule", ["linear", "cosine", "sigmoid"])
@pytest.mark.parametrize("objective", ["epsilon", "sample", "v_prediction"])
@pytest.mark.parametrize("steps", [20, 1000])
def test_the_loss_weights_show_what_a_network_predicts(objective, schedule, gamma, steps, tmp_path):
    betas = betas_of(schedule, steps)
    tables = {"betas": betas, "loss_weight": loss_weight(betas, objective, gamma)}
    checkpoint = trained(tmp_path, TINY, SIZE, process=tables)
    assert checkpoint.scheduler is not None
    config = SchedulerConfig.from_dict(checkpoint.scheduler)
    assert config.prediction_type == objective
    assert config.clip_sample
    assert config.variance_type == "fixed_small"
    assert torch.equal(torch.tensor(config.trained_betas), betas.float())
    assert checkpoint.origin.assumed_schedule == {}


def test_without_loss_weights_the_network_is_assumed_to_predict_noise(tmp_path):
    betas = betas_of("linear", 50)
    checkpoint = trained(tmp_path, TINY, SIZE, process={"betas": betas, "p2_loss_weight": betas})
    assert checkpoint.origin.assumed_schedule == {"prediction_type": "epsilon"}


def test_a_json_file_changes_the_prediction_and_keeps_the_betas(tmp_path):
    given = {"sample_size": 8, "scheduler": {"prediction_type": "sample"}}
    checkpoint = trained(tmp_path, TINY, given)
    assert checkpoint.scheduler is not None
    assert checkpoint.scheduler["prediction_type"] == "sample"
    assert len(checkpoint.scheduler["trained_betas"]) == 1000


def test_a_learned_variance_means_that_noise_is_predicted_whatever_the_loss_weights(tmp_path):
    oracle = Oracle((2, 3, 4), dim=8, mults=(1, 2), channels=1, learned_variance=True)
    betas = betas_of("sigmoid", 100)
    tables = {"betas": betas, "loss_weight": loss_weight(betas, "v_prediction", None)}
    checkpoint = trained(tmp_path, oracle, SIZE, process=tables)
    assert checkpoint.scheduler is not None
    assert checkpoint.scheduler["variance_type"] == "learned_range"
    assert checkpoint.scheduler["prediction_type"] == "epsilon"
    assert (checkpoint.config.in_channels, checkpoint.config.out_channels) == (1, 2)


def test_settings_missing_from_a_file_are_assumed_and_listed(tmp_path):
    checkpoint = trained(tmp_path, TINY, None)
    assert checkpoint.config.size == (128, 128)
    assumed = {"sample_size": 128, "sinusoidal_pos_emb_theta": 10000}
    assert checkpoint.origin.assumed == assumed
    path = checkpoint.origin.write_json()
    assert path is not None
    assert read_json(path) == assumed
    assert read_checkpoint(find_files(tmp_path / "model-1.pt")).origin.assumed == {}


def test_the_version_in_the_file_decides_what_old_tensors_mean(tmp_path):
    norms = {}
    for version in ((1, 6, 4), (1, 7, 7)):
        oracle = Oracle(version, dim=8, mults=(1, 2), channels=1)
        folder = tmp_path / name_of(version)
        checkpoint = trained(folder, oracle, None)
        assert "version" not in checkpoint.origin.assumed
        assert isinstance(checkpoint.config, LucidrainsConfig)
        norms[version] = (checkpoint.config.attention_norm, checkpoint.config.averages_values)
    assert norms == {(1, 6, 4): ("layer", True), (1, 7, 7): ("rms", False)}


def test_old_tensors_without_a_version_are_assumed_to_be_the_most_common_one(tmp_path):
    oracle = Oracle((1, 7, 7), dim=8, mults=(1, 2), channels=1)
    assert trained(tmp_path / "a", oracle, None, version=None).origin.assumed["version"] == "1.6.4"
    loaded = trained(tmp_path / "b", oracle, {"version": "1.7.7"}, version=None)
    assert isinstance(loaded.config, LucidrainsConfig)
    assert loaded.config.attention_norm == "rms"
    # Only versions before 1.5 weighted their loss so, and in those nothing changed.
    tables = {"betas": betas_of("linear", 30), "p2_loss_weight": torch.ones(30)}
    known = trained(tmp_path / "c", oracle, None, version=None, process=tables)
    assert "version" not in known.origin.assumed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"time_mlp.0.weights": torch.ones(4)}, "continuous-time and elucidated"),
        ({"classes_mlp.0.weight": torch.ones(4, 4)}, "classes_mlp.0.weight"),
    ],
)
def test_a_network_of_another_class_of_the_package_is_rejected_by_name(change, message, tmp_path):
    weights = TINY.weights() | change
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(find_files(save_trained(tmp_path, TINY, weights, {"sample_size": 8})))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "no betas for the network"),
        ({"scheduler": {"beta_schedule": "sigmoid"}}, "sigmoid schedule is not the one"),
    ],
)
def test_without_betas_a_network_is_loaded_only_with_a_schedule(given, message, tmp_path):
    with pytest.raises(ConfigError, match=rf"{message}.*model-1\.json"):
        trained(tmp_path, TINY, given, process={})
    checkpoint = trained(tmp_path, TINY, {"scheduler": {"beta_end": 0.01}}, process={})
    assert checkpoint.scheduler == {"beta_end": 0.01, "prediction_type": "epsilon"}


def test_the_oldest_networks_need_a_version_and_those_before_028_are_rejected(tmp_path):
    oracle = Oracle((0, 31, 1), dim=8, mults=(1, 2), channels=1)
    with pytest.raises(ConfigError, match=r"before 0.32.*\"version\": \"0.31.1\""):
        trained(tmp_path, oracle, {"sample_size": 8})
    with pytest.raises(CheckpointError, match=r"0.27.12 .* is not supported"):
        trained(tmp_path, oracle, {"sample_size": 8, "version": "0.27.12"})


def test_unusual_attention_needs_its_number_of_heads_before_19(tmp_path):
    oracle = Oracle(
        (1, 8, 15),
        dim=8,
        mults=(1, 2),
        channels=1,
        heads=(2, 2),
        head_width=(8, 8),
        full=(True, False),
    )
    with pytest.raises(ConfigError, match=r"number of heads is unknown.*attn_heads"):
        trained(tmp_path, oracle, {"sample_size": 8})
    with pytest.raises(ConfigError, match=r"not 3.*attn_heads"):
        trained(tmp_path, oracle, {"sample_size": 8, "attn_heads": 3})
    checkpoint = trained(tmp_path, oracle, {"sample_size": 8, "attn_heads": 2})
    assert isinstance(checkpoint.config, LucidrainsConfig)
    assert checkpoint.config.attn_dim_head == (8, 8)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("dim", 7, "even number"),
        ("attn_heads", [4], "has 1 entries"),
        ("attention_norm", "group", "'rms' or 'layer'"),
        ("resnet_block_groups", 5, "must divide"),
        ("sample_size", 9, "divisible by 2"),
        ("init_dim", 0, "1 to"),
        ("num_mem_kv", -1, "0 to"),
        ("sinusoidal_pos_emb_theta", 1, "above 1"),
        ("_class_name", "UNet2DModel", "is for a 'UNet2DModel'"),
        ("full_attn", "yes", "full_attn"),
    ],
)
def test_a_wrong_field_is_rejected_by_name(field, value, message):
    fields = {"block_out_channels": [8, 16], "init_dim": 8, "full_attn": [False, True]}
    fields |= {"attn_heads": [4, 4], "attn_dim_head": [32, 32]}
    LucidrainsConfig.from_dict(fields)
    with pytest.raises(ConfigError, match=message):
        LucidrainsConfig.from_dict({**fields, field: value})


# Saving


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("version", GENERATIONS, ids=name_of)
def test_a_saved_model_comes_back_bit_for_bit(version, dtype, tmp_path):
    oracle = Oracle(version, dim=8, mults=(1, 2), channels=1, self_condition=True)
    file = save_trained(tmp_path, oracle, oracle.weights(), options_of(oracle))
    first = read_checkpoint(find_files(file), dtype)
    assert first.scheduler is not None
    schedule = SchedulerConfig.from_dict(first.scheduler)
    name = save_as_new_model(tmp_path / "saved", "it", first.weights, first.config, schedule)
    files = find_files(tmp_path / "saved" / name)
    again = read_checkpoint(files)
    assert (again.config, again.network, again.dtype) == (first.config, LucidrainsUNet, dtype)
    assert again.config.warnings == first.config.warnings
    assert again.scheduler is not None
    assert SchedulerConfig.from_dict(again.scheduler) == schedule
    assert again.weights.keys() == first.weights.keys()
    assert all(torch.equal(again.weights[key], first.weights[key]) for key in first.weights)
    assert files.config is not None
    assert "diffusers has no class" in json.loads(files.config.read_text())["not_for_diffusers"]


# Sampling, against the package's own loops


def their_prediction(output: Tensor, x: Tensor, a: Tensor, objective: str) -> tuple[Tensor, Tensor]:
    """The noise and the image, as the package computes them; all in float64."""
    if objective == "epsilon":
        return output, (x / a.sqrt()) - (1 / a - 1).sqrt() * output
    x0 = output if objective == "sample" else a.sqrt() * x - (1 - a).sqrt() * output
    return (x / a.sqrt() - x0) / (1 / a - 1).sqrt(), x0


@pytest.mark.parametrize("is_conditioned", [False, True], ids=["", "self-conditioned"])
@pytest.mark.parametrize("schedule", ["linear", "cosine", "sigmoid"])
@pytest.mark.parametrize("objective", ["epsilon", "sample", "v_prediction"])
@pytest.mark.parametrize("sampler", ["DDPM", "DDIM"])
def test_a_run_ends_at_the_image_of_the_packages_own_loop(
    sampler, objective, schedule, is_conditioned, tmp_path
):
    oracle = Oracle((2, 3, 4), dim=8, mults=(1, 2), channels=1, self_condition=is_conditioned)
    weights = oracle.weights(3)
    for name in ("final_conv.weight", "final_conv.bias"):
        weights[name] = weights[name] / 20  # an untrained network diverges
    betas = betas_of(schedule, 40)
    tables = {"betas": betas, "loss_weight": loss_weight(betas, objective, None)}
    file = save_trained(tmp_path, oracle, weights, {"sample_size": 8}, process=tables)
    checkpoint = read_checkpoint(find_files(file))
    network = checkpoint.build(LucidrainsUNet)
    assert checkpoint.scheduler is not None
    config = SchedulerConfig.from_dict(checkpoint.scheduler).changed(clip_sample=False)

    # Ours: every timestep, so that both visit the same ones.
    torch.manual_seed(1)
    start = torch.randn(2, 1, 8, 8)
    noises = [torch.randn_like(start) for _ in range(40)]
    last: list[Tensor] = []

    def model(x: Tensor, t: float) -> Tensor:
        return network(x, t, *last[-1:]) if is_conditioned else network(x, t)

    kind = DDPM if sampler == "DDPM" else DDIM
    more = {} if sampler == "DDPM" else {"eta": 0.5}
    draws = iter(noises)
    ours = kind.over(config, Stretch(40), **more).sample(model, start, lambda: next(draws))
    with torch.inference_mode():
        found = drain(ours, lambda evaluation: last.append(evaluation.x0))

    # Theirs: p_sample_loop or ddim_sample, without clipping.
    draws, x, x0 = iter(noises), start.double(), None
    a_of = torch.cumprod(1 - betas.double(), 0)
    wide = {name: tensor.double() for name, tensor in weights.items()}
    for t in reversed(range(40)):
        times = torch.full((2,), t)
        output = oracle(wide, x, times, x0) if is_conditioned else oracle(wide, x, times)
        a, before = a_of[t], a_of[t - 1] if t else torch.ones(()).double()
        eps, x0 = their_prediction(output, x, a, objective)
        if sampler == "DDPM":
            beta = betas[t].double()
            mean = beta * before.sqrt() / (1 - a) * x0
            mean = mean + (1 - before) * (1 - beta).sqrt() / (1 - a) * x
            variance = (beta * (1 - before) / (1 - a)).clamp(min=1e-20)
            x = mean + variance.sqrt() * next(draws) if t else mean
        elif t:
            sigma = 0.5 * ((1 - a / before) * (1 - before) / (1 - a)).sqrt()
            x = x0 * before.sqrt() + (1 - before - sigma**2).sqrt() * eps + sigma * next(draws)
        else:
            x = x0
    assert (found - x).abs().max() <= 1e-4 * x.abs().max()


# Other features


def test_self_conditioning_starts_with_zeros_and_is_rejected_elsewhere():
    plain, conditioned = (
        LucidrainsUNet(
            LucidrainsConfig(in_channels=1, out_channels=1, self_condition=self_condition)
        )
        for self_condition in (False, True)
    )
    x = torch.randn(1, 1, 8, 8)
    with torch.inference_mode():
        zeros = conditioned(x, 3, torch.zeros_like(x))
        assert torch.equal(conditioned(x, 3), zeros)
        assert not torch.allclose(conditioned(x, 3, x), zeros)
    with pytest.raises(ConfigError, match="not self-conditioned"):
        plain(x, 3, x)
    with pytest.raises(ConfigError, match="divisible by 8"):
        plain(x[..., 1:], 3)


@pytest.mark.parametrize("number", range(40))
def test_an_evaluation_takes_what_was_estimated_or_a_little_less(number):
    rng = random.Random(number)
    oracle = random_oracle(rng.choice(GENERATIONS), rng)
    weights = {name: torch.empty(shape, device="meta") for name, shape in oracle.shapes().items()}
    given = {**options_of(oracle), "version": name_of(oracle.version), "scheduler": {}}
    config = convert(weights, given).config
    dtype = rng.choice([torch.float32, torch.bfloat16])
    batch, side = rng.choice([1, 2, 4]), rng.choice([16, 32, 64])
    with torch.device("meta"):
        network = LucidrainsUNet(config, dtype=dtype)
        x = torch.empty(batch, config.in_channels, side, side, dtype=dtype)
        t = torch.full((batch,), 3.0)
    peak = peak_bytes(lambda: network(x, t))
    estimate = network.activation_bytes((batch, config.in_channels, side, side), dtype)
    assert peak <= estimate <= 1.25 * peak


def test_a_network_in_bfloat16_predicts_about_the_same(tmp_path):
    for oracle in (TINY, Oracle((1, 6, 4), dim=8, mults=(1, 2), channels=1)):
        file = save_trained(tmp_path, oracle, oracle.weights(), {"sample_size": 8})
        x = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        results = []
        for dtype in (torch.float32, torch.bfloat16):
            network = read_checkpoint(find_files(file), dtype).build(LucidrainsUNet)
            with torch.inference_mode():
                results.append(network(x.to(dtype), 3).float())
        assert (results[0] - results[1]).abs().max() < 0.1 * results[0].abs().max()
