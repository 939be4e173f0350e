"""Our network against diffusers' in every combination of two option values that it accepts."""

import random
from typing import Any

import matrix
import pytest
import torch
import toys
from comfyui_unconditional.networks.errors import ConfigError
from comfyui_unconditional.unet.config import UNetConfig
from comfyui_unconditional.unet.unet2d import UNet2D
from float64 import compare_networks
from torch import Tensor

CASES, APART = matrix.make_matrix(220)
BATCH = 2


def inputs(fields: dict[str, Any], seed: int) -> tuple[Tensor, int, Tensor | None]:
    """Noisy images, a time and labels that the configuration takes."""
    rng = random.Random(seed)
    torch.manual_seed(seed)
    x = torch.randn(BATCH, fields["in_channels"], rng.choice((8, 16)), rng.choice((8, 16)))
    labels = None
    if fields["class_embed_type"] == "identity":
        labels = torch.randn(
            BATCH, fields["time_embedding_dim"] or 4 * fields["block_out_channels"][0]
        )
    elif fields["class_embed_type"] == "timestep" or fields["num_class_embeds"]:
        labels = torch.randint(1, 5, (BATCH,))
    return x, rng.randrange(1, 100), labels


def diffusers_accepts(fields: dict[str, Any], seed: int = 0, label: Any = None) -> bool:
    """Whether diffusers builds the model and it runs."""
    try:
        model = toys.reference_model(fields)
        x, t, labels = inputs({**DEFAULTS, **fields}, seed)
        with torch.inference_mode():
            model(x, t, labels if label is None else label)
    except (ArithmeticError, AssertionError, IndexError, RuntimeError, TypeError, ValueError):
        return False
    return True


DEFAULTS = {
    "in_channels": 3,
    "class_embed_type": None,
    "num_class_embeds": None,
    "time_embedding_dim": None,
}


def we_accept(fields: dict[str, Any]) -> bool:
    try:
        UNet2D(UNetConfig.from_dict(fields), device="meta")
    except ConfigError:
        return False
    return True


@pytest.mark.slow
@pytest.mark.parity
@pytest.mark.parametrize("number", range(len(CASES)))
def test_a_random_configuration_equals_diffusers(number, parity, figure):
    fields = matrix.fields(CASES[number])
    theirs = toys.reference_model(fields, seed=number)
    ours = UNet2D(UNetConfig.from_dict(fields)).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    # diffusers adds the embedding of such a class in float32, which float64 does not take.
    exact = ours if fields["class_embed_type"] == "timestep" else theirs
    comparison, apart = compare_networks(ours, theirs, *inputs(fields, number), exact=exact)
    parity("UNet, matrix", comparison)
    # The angles of "fourier" are thousands of radians, and ours are in float32 even here.
    fourier = fields["time_embedding_type"] == "fourier"
    kind = "UNet, matrix, fourier" if fourier else "UNet, matrix"
    figure(f"{kind}, both in float64", apart, 1e-5 if fourier else 1e-12)


def test_every_pair_of_values_is_in_the_matrix_or_known_to_be_rejected():
    covered = set().union(*(matrix.pairs_of(case) for case in CASES))
    rejected = {pair for pair, _ in APART}
    assert len(CASES) >= 200
    assert not covered & rejected
    assert covered | rejected == set(matrix.all_pairs())


@pytest.mark.slow
def test_a_pair_that_is_left_out_is_rejected_by_diffusers_and_by_us():
    for pair, closest in APART:
        for case in closest:
            fields = matrix.fields(case)
            assert not diffusers_accepts(fields), dict(pair)
            assert not we_accept(fields), dict(pair)


# Where the two disagree

SMALL: dict[str, Any] = {
    "sample_size": 8,
    "layers_per_block": 1,
    "block_out_channels": [8, 8],
    "norm_num_groups": 4,
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
}
RESNETS = {
    "down_block_types": ["ResnetDownsampleBlock2D"] * 2,
    "up_block_types": ["ResnetUpsampleBlock2D"] * 2,
}
K_UPSCALER = {
    "block_out_channels": [32, 32],
    "down_block_types": ["KDownBlock2D"] * 2,
    "up_block_types": ["KUpBlock2D"] * 2,
}


@pytest.mark.parametrize(
    "change",
    [
        {"mid_block_type": "AnyOtherName"},  # taken for UNetMidBlock2D
        {"class_embed_type": "projection", "num_class_embeds": None},  # no classes at all
        {"downsample_padding": 5, **RESNETS},  # no block reads it
        {"downsample_type": "fir", **RESNETS},
        {"upsample_type": "fir", **RESNETS},
        {"freq_shift": 4},  # the time is NaN
        {"mid_block_scale_factor": 0},  # so is the image
        {"mid_block_scale_factor": -1.0},
        {"norm_eps": 0.0},
        {"time_embedding_dim": 0},  # taken for null
        {"sample_size": 9},  # no size at which it runs
        {"_class_name": "UNet2DConditionModel"},  # not read
        K_UPSCALER,  # blocks of another network, which no trained UNet2DModel is known to have
    ],
    ids=lambda change: " ".join(change),
)
def test_we_reject_some_configurations_that_diffusers_accepts(change):
    fields = {**SMALL, **change}
    without_class = {name: value for name, value in fields.items() if name != "_class_name"}
    assert diffusers_accepts(without_class)
    assert not we_accept(fields)


@pytest.mark.parametrize(
    "kind",
    [
        "CrossAttn{}Block2D",
        "SimpleCrossAttn{}Block2D",
        "{}EncoderBlock2D",
        "{}DecoderBlock2D",
        "KCrossAttn{}Block2D",
    ],
)
def test_blocks_of_other_networks_are_rejected_by_both(kind):
    down = {"down_block_types": [kind.format("Down")] * 2}
    up = {"up_block_types": [kind.format("Up")] * 2}
    for change in (down, up, {**down, **up}):
        fields = {**SMALL, "block_out_channels": [32, 32], **change}
        assert not diffusers_accepts(fields)
        assert not we_accept(fields)


def test_names_from_before_diffusers_0_4_are_accepted():
    old = {
        "down_block_types": ["UNetResDownBlock2D", "UNetResAttnDownBlock2D"],
        "up_block_types": ["UNetResAttnUpBlock2D", "UNetResUpBlock2D"],
    }
    assert diffusers_accepts({**SMALL, **old})
    assert we_accept({**SMALL, **old})


def test_only_we_accept_one_number_as_the_identity_class_of_a_batch():
    fields = {**SMALL, "class_embed_type": "identity"}
    assert not diffusers_accepts(fields, label=torch.tensor([3, 3]))
    network = UNet2D(UNetConfig.from_dict(fields))
    assert network(torch.randn(BATCH, 3, 8, 8), 5, torch.tensor([3, 3])).shape == (BATCH, 3, 8, 8)
