"""Our network against diffusers' UNet2DModel, with the same random weights."""

import pytest
import torch
import toys
from comfyui_unconditional.models.digits import UNET as DIGITS
from comfyui_unconditional.networks.errors import CheckpointError, ConfigError
from comfyui_unconditional.unet.config import UNetConfig
from comfyui_unconditional.unet.unet2d import UNet2D
from float64 import compare_evaluations, compare_networks, widened
from torch import nn
from toys import ours_and_theirs

DIGITS_16 = {name: value for name, value in DIGITS.to_dict().items() if name[0] != "_"}
IDENTITY = {"class_embed_type": "identity"}
LEARNED = {"time_embedding_type": "learned", "num_train_timesteps": 50}
SKIP_BELOW_PLAIN = {
    "block_out_channels": [8, 8, 8],
    "down_block_types": ["DownBlock2D", "SkipDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D"] * 3,
}


@pytest.mark.parity
@pytest.mark.parametrize(
    ("fields", "sizes"),
    [
        (toys.CIFAR, [(32, 32), (16, 40)]),
        (toys.CAT, [(64, 64), (32, 96)]),
        (toys.TRAINED, [(64, 64), (96, 32)]),
        (DIGITS_16, [(16, 16), (8, 24)]),
        ({**toys.CIFAR, "in_channels": 1, "out_channels": 1}, [(32, 32)]),
        ({**toys.CIFAR, "out_channels": 6}, [(32, 32)]),
        ({**toys.TRAINED, "mid_block_scale_factor": 1.5}, [(32, 32)]),
        ({**toys.TRAINED, "center_input_sample": True}, [(32, 32)]),
        ({**toys.TRAINED, "add_attention": False}, [(32, 32)]),
        ({**toys.TRAINED, "time_embedding_dim": 20}, [(32, 32)]),
        ({**toys.TRAINED, "block_out_channels": [48, 16, 32, 48, 16, 32]}, [(32, 32)]),
    ],
    ids=lambda value: None,
)
def test_the_network_equals_diffusers(fields, sizes, parity, figure):
    ours, theirs = ours_and_theirs(fields)
    for height, width in sizes:
        x = torch.randn(2, fields["in_channels"], height, width)
        for t in (0, 13, 999):
            comparison, apart = compare_networks(ours, theirs, x, t)
            parity("UNet", comparison)
            figure("UNet, both in float64", apart, 1e-12)


@pytest.mark.parity
def test_a_network_trained_on_sigmas_equals_diffusers(parity):
    ours, theirs = ours_and_theirs(toys.NCSNPP)
    noise = torch.randn(3, 3, 32, 16)
    sigmas = torch.tensor([0.01, 1.0, 348.0])
    comparison, _ = compare_networks(ours, theirs, noise * sigmas[:, None, None, None], sigmas)
    parity("UNet, on sigmas", comparison)


@pytest.mark.parametrize(
    "wrong",
    [
        {"norm_eps": 1e-5},
        {"freq_shift": 0},
        {"flip_sin_to_cos": True},
        {"downsample_padding": 1},
        {"mid_block_scale_factor": 1.0001},
        {"attention_head_dim": 16},
    ],
    ids=str,
)
def test_the_comparison_fails_where_an_option_is_wrong(wrong):
    ours, theirs = ours_and_theirs(toys.CIFAR)
    mistaken = UNet2D(UNetConfig.from_dict({**toys.CIFAR, **wrong})).eval()
    mistaken.load_state_dict(ours.state_dict())
    x = torch.randn(2, 3, 32, 32)
    comparison, apart = compare_networks(ours, theirs, x, 13)
    assert comparison.holds
    assert apart < 1e-12
    comparison, apart = compare_networks(mistaken, theirs, x, 13)
    assert not comparison.holds
    assert apart > 1e-12


def test_the_comparison_fails_where_weights_are_in_the_wrong_order():
    ours, theirs = ours_and_theirs(toys.CIFAR)
    attention = ours.mid_block.attentions[0]
    attention.to_q, attention.to_k = attention.to_k, attention.to_q
    comparison, _ = compare_networks(ours, theirs, torch.randn(2, 3, 32, 32), 13)
    assert not comparison.holds


def test_each_image_may_have_its_own_time():
    ours = ours_and_theirs(toys.TINY)[0].double()
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    with torch.inference_mode():
        both = ours(x, torch.tensor([3, 700]))
        torch.testing.assert_close(both[:1], ours(x[:1], 3))
        torch.testing.assert_close(both[1:], ours(x[1:], 700.0))


def test_a_time_between_two_steps_is_accepted():
    ours, _ = ours_and_theirs(toys.TINY)
    x = torch.randn(1, 3, 8, 8)
    with torch.inference_mode():
        a, b, c = (ours(x, t) for t in (3, 3.5, 4))
    assert not torch.equal(a, b)
    assert not torch.equal(b, c)


def test_half_precision_gives_half_precision():
    ours, _ = ours_and_theirs(toys.TINY)
    x = torch.randn(1, 3, 8, 8)
    with torch.inference_mode():
        full = ours(x, 500)
        half = ours.bfloat16()(x.bfloat16(), 500)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), full, atol=0.1, rtol=0.1)


def test_a_size_that_cannot_be_halved_on_each_level_is_rejected():
    ours, _ = ours_and_theirs(toys.CIFAR)
    with pytest.raises(ConfigError, match=r"divisible by 8 .* not 32 x 36"):
        ours(torch.randn(1, 3, 32, 36), 0)


def test_operations_of_a_host_are_used_for_every_layer():
    class Operations:
        class Conv2d(nn.Conv2d): ...

        class Linear(nn.Linear): ...

        class GroupNorm(nn.GroupNorm): ...

        class Embedding(nn.Embedding): ...

    skips = {
        "block_out_channels": [32, 32],
        "down_block_types": ["AttnSkipDownBlock2D"] * 2,
        "up_block_types": ["AttnSkipUpBlock2D"] * 2,
    }
    tables = {"time_embedding_type": "learned", "num_train_timesteps": 10, "num_class_embeds": 3}
    plain = (nn.Conv2d, nn.Linear, nn.GroupNorm, nn.Embedding)
    for change in ({}, skips, tables, {"downsample_type": "resnet"}):
        config = UNetConfig.from_dict({**toys.TINY, **change})
        network = UNet2D(config, operations=Operations)
        assert not [module for module in network.modules() if type(module) in plain]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"down_block_types": ["DownBlock2D", "FluxDownBlock2D"]}, "FluxDownBlock2D"),
        ({"up_block_types": ["UpBlock2D", "BigUpBlock"]}, "BigUpBlock"),
        ({"time_embedding_type": "rotary"}, "time_embedding_type.*'learned', not 'rotary'"),
        ({"time_embedding_type": "learned"}, "'num_train_timesteps'.*Add it to the configuration"),
        ({"class_embed_type": "projection"}, "class_embed_type.*'identity', not 'projection'"),
        ({"num_class_embeds": 0}, "num_class_embeds"),
        ({"mid_block_type": "UNetMidBlock2DCrossAttn"}, "mid_block_type.*or null"),
        ({"downsample_type": "fir"}, "downsample_type"),
        ({"upsample_type": "fir"}, "upsample_type"),
        ({"resnet_time_scale_shift": "spatial"}, "resnet_time_scale_shift.*'spatial'"),
        ({"act_fn": "tanh"}, "act_fn.*'relu', not 'tanh'"),
        *[({"dropout": value}, "'dropout' must be from 0") for value in (1.5, -0.5, 1, 3)],
        ({"freq_shift": 4}, "freq_shift.*divide by zero"),
        ({"attn_norm_num_groups": 5}, "16 channels.*5 groups.*attn_norm_num_groups"),
        ({"norm_num_groups": None}, "norm_num_groups.*only if all blocks are Skip"),
        ({"layers_per_block": 0}, r"layers_per_block.*\[8, 16\]"),
        ({"down_block_types": ["SkipDownBlock2D"] * 2, "in_channels": 1}, "3 'in_channels', not 1"),
        ({"up_block_types": ["SkipUpBlock2D"] * 2, "out_channels": 6}, "3 'out_channels', not 6"),
        ({"up_block_types": ["SkipUpBlock2D", "UpBlock2D"]}, "levels after it must be Skip"),
        ({**SKIP_BELOW_PLAIN}, "levels above it must be Skip"),
        ({"down_block_types": ["DownBlock2D", "AttnSkipDownBlock2D"]}, "16 channels.*32 groups"),
        ({"down_block_types": ["DownBlock2D"]}, "has 1 entries.*has 2"),
        ({"block_out_channels": [8, 12]}, "12 channels.*norm_num_groups"),
        ({"block_out_channels": [8, -16]}, "1 to 65536, not -16"),
        ({"block_out_channels": "wide"}, "block_out_channels"),
        ({"block_out_channels": []}, "1 to 16 entries"),
        ({"layers_per_block": 10**9}, "layers_per_block"),
        ({"layers_per_block": 1.5}, "layers_per_block"),
        ({"attention_head_dim": 17}, "attention_head_dim.*16 channels"),
        ({"sample_size": 9}, "divisible by 2"),
        ({"sample_size": [8, 8, 8]}, "sample_size"),
        ({"norm_eps": "small"}, "norm_eps"),
        ({"norm_eps": float("nan")}, "norm_eps"),
        ({"downsample_padding": 7}, "downsample_padding"),
        ({"mid_block_scale_factor": 0}, "mid_block_scale_factor"),
        ({"cross_attention_dim": 768}, "'cross_attention_dim'.*text"),
        ({"rescale_timesteps": True}, "'rescale_timesteps'.*OpenAI"),
        ({"prediction_type": "v_prediction"}, "'prediction_type'.*scheduler_config.json"),
        ({"_class_name": "UNet2DConditionModel"}, "UNet2DConditionModel"),
    ],
    ids=str,
)
def test_a_configuration_that_cannot_be_used_is_named(change, words):
    with pytest.raises(ConfigError, match=words):
        UNet2D(UNetConfig.from_dict({**toys.TINY, **change}), device="meta")


CLASSES = {**toys.TINY, "num_class_embeds": 5}


def test_a_label_is_needed_with_classes_and_rejected_without():
    x = torch.randn(2, 3, 8, 8)
    with pytest.raises(ConfigError, match="needs class_labels"):
        UNet2D(UNetConfig.from_dict(CLASSES))(x, 3)
    with pytest.raises(ConfigError, match="without classes"):
        UNet2D(UNetConfig.from_dict(toys.TINY))(x, 3, 1)


def test_one_label_is_that_of_all_images(parity):
    for change in ({"num_class_embeds": 5}, {"class_embed_type": "timestep"}, IDENTITY):
        ours, theirs = ours_and_theirs({**toys.TINY, **change})
        x = torch.randn(2, 3, 8, 8)
        with torch.inference_mode():
            both = ours(x, 3, 4)
            alone = [theirs(image[None], 3, torch.tensor([4])).sample for image in x]
            exact = widened(ours)(x.double(), 3, torch.tensor([4, 4]))
        parity("UNet, one label", compare_evaluations(both, torch.cat(alone), exact))


@pytest.mark.parametrize(
    ("change", "label", "words"),
    [
        ({}, 0, "without classes, so it does not accept class_label 0"),
        ({"num_class_embeds": 5}, None, r"Set class_label \(0 to 4\)"),
        ({"num_class_embeds": 5}, 5, r"5 is not one of .*\. Use 0 to 4"),
        ({"num_class_embeds": 5}, -1, "-1 is not one of"),
        ({"class_embed_type": "timestep"}, None, r"class_label \(a number from 0\)"),
        ({"class_embed_type": "identity"}, -2, "-2 is not one of"),
        ({"class_embed_type": "timestep", **LEARNED}, 50, "0 to 49"),
        ({"class_embed_type": "timestep", "time_embedding_type": "fourier"}, 0, "logarithm"),
    ],
    ids=str,
)
def test_a_class_that_the_model_does_not_know_is_named(change, label, words):
    config = UNetConfig.from_dict({**toys.TINY, **change})
    with pytest.raises(ConfigError, match=words):
        config.check_class_label(label)


def test_every_class_that_the_model_knows_is_allowed():
    UNetConfig.from_dict(toys.TINY).check_class_label(None)
    for label in range(5):
        UNetConfig.from_dict(CLASSES).check_class_label(label)
    UNetConfig.from_dict({**toys.TINY, **IDENTITY}).check_class_label(10**6)


@pytest.mark.parametrize("t", [3.5, 50, -1])
def test_a_timestep_outside_the_learned_table_is_rejected(t):
    network = UNet2D(UNetConfig.from_dict({**toys.TINY, **LEARNED}))
    with pytest.raises(ConfigError, match=rf"0 to 49, but none for \[{t}\]"):
        network(torch.randn(1, 3, 8, 8), t)


def test_a_model_without_a_sample_size_loads_but_cannot_say_its_size():
    config = UNetConfig.from_dict({**toys.TINY, "sample_size": None})
    with pytest.raises(ConfigError, match='"sample_size": 64'):
        _ = config.size


def test_harmless_fields_that_libraries_write_give_no_warning():
    fields = {"decay": 0.9999, "optimization_step": 5, "use_ema_warmup": True}
    fields |= {"quantization_config": {"bits": 8}, "_name_or_path": "x"}
    config = UNetConfig.from_dict({**toys.TINY, **fields})
    assert config == UNetConfig.from_dict(toys.TINY)
    assert not config.warnings


def test_an_unknown_field_is_a_warning_that_names_it():
    plain = UNetConfig.from_dict(toys.TINY)
    warned = UNetConfig.from_dict({**toys.TINY, "colour_space": "lab", "some_new_field": None})
    (warning,) = warned.warnings
    assert "'colour_space'" in warning
    assert "some_new_field" not in warning
    assert warned == plain
    assert hash(warned) == hash(plain)
    assert warned.to_dict() == plain.to_dict()


# The meaning of null; for every other field it is not a value, and diffusers fails with it.
NULL_IS_A_VALUE = {
    *("sample_size", "time_embedding_dim", "mid_block_type", "downsample_type", "upsample_type"),
    *("attention_head_dim", "norm_num_groups", "attn_norm_num_groups", "class_embed_type"),
    *("num_class_embeds", "num_train_timesteps"),
}


def test_null_means_the_default_unless_it_is_a_value():
    for name, default in UNetConfig().to_dict().items():
        config = UNetConfig.from_dict({name: None})
        if name == "_class_name":
            assert config == UNetConfig()
            continue
        expected = None if name in NULL_IS_A_VALUE else default
        assert getattr(config, name) == expected, name
        ambiguous = name in ("flip_sin_to_cos", "add_attention")
        assert bool(config.warnings) == ambiguous, name


@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (1, 2), (3, 3), (3, 6), (4, 4), (4, 8)])
def test_a_network_from_noise_alone_has_as_many_outputs_or_twice(inputs, outputs):
    fields = {**toys.TINY, "in_channels": inputs, "out_channels": outputs}
    UNetConfig.from_dict(fields).check_unconditional()


@pytest.mark.parametrize(
    ("inputs", "outputs", "words"),
    [
        *[(i, o, "another image.*super-resolution") for i, o in ((5, 1), (4, 3), (6, 3), (2, 1))],
        *[(i, o, "as many outputs as inputs") for i, o in ((3, 4), (3, 5), (1, 3), (4, 6))],
    ],
)
def test_a_network_of_other_channels_is_rejected_with_its_purpose(inputs, outputs, words):
    fields = {**toys.TINY, "in_channels": inputs, "out_channels": outputs}
    with pytest.raises(CheckpointError, match=words) as caught:
        UNetConfig.from_dict(fields).check_unconditional()
    assert f"{inputs} " in str(caught.value)
    assert f"{outputs}" in str(caught.value)
