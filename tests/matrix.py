"""Narrow random configurations of a UNet2DModel that cover every pair of option values."""

import itertools
import random
from collections.abc import Callable
from functools import cache
from typing import Any

Case = dict[str, Any]
Setting = tuple[str, Any]
Pair = frozenset[Setting]

_DOWN = (
    "DownBlock2D",
    "AttnDownBlock2D",
    "ResnetDownsampleBlock2D",
    "SkipDownBlock2D",
    "AttnSkipDownBlock2D",
)
_UP = ("UpBlock2D", "AttnUpBlock2D", "ResnetUpsampleBlock2D", "SkipUpBlock2D", "AttnSkipUpBlock2D")

# Every option with its values here. Names in lower-case with a blank are not options themselves:
# `fields` makes options of them.
OPTIONS: dict[str, tuple[Any, ...]] = {
    "number of levels": (2, 3),
    "first down": _DOWN,
    "last down": _DOWN,
    "first up": _UP,
    "last up": _UP,
    "all widths": ((8, 8, 8), (16, 24, 12), (9, 15, 21), (32, 32, 32), (32, 64, 32)),
    "sample_size": (None, 8, (8, 16)),
    "in_channels": (1, 3, 4),
    "out_channels": (1, 3, 6),
    "center_input_sample": (False, True),
    "time_embedding_type": ("positional", "fourier", "learned"),
    "time_embedding_dim": (None, 20, 33),
    "freq_shift": (0, 1),
    "flip_sin_to_cos": (False, True),
    "mid_block_type": ("UNetMidBlock2D", None),
    "layers_per_block": (0, 1, 2),
    "mid_block_scale_factor": (1, 1.5),
    "downsample_padding": (0, 1),
    "downsample_type": ("conv", "resnet", None),
    "upsample_type": ("conv", "resnet", None),
    "dropout": (0.0, 0.3),
    "act_fn": ("silu", "swish", "mish", "gelu", "relu", "SiLU"),
    "attention_head_dim": (None, 3, 5, 8),
    "norm_num_groups": (1, 4, None),
    "attn_norm_num_groups": (None, 1, 2),
    "norm_eps": (1e-5, 1e-6),
    "resnet_time_scale_shift": ("default", "scale_shift"),
    "add_attention": (True, False),
    "class_embed_type": (None, "timestep", "identity"),
    "num_class_embeds": (None, 5),
    "num_train_timesteps": (None, 100),
}

_BLOCKS = ("first down", "last down", "first up", "last up")


def _fits(case: Case, groups: int | None) -> bool:
    return not groups or all(width % groups == 0 for width in case["all widths"])


def _has_resnets(case: Case, block: str) -> bool:
    """On the way down without layers, only a resampling resnet is left, and not on every level."""
    if "up" in block or case["layers_per_block"]:
        return True
    kind, resnet = case[block], case["downsample_type"] == "resnet"
    return block == "first down" and (
        "Skip" in kind or "Resnet" in kind or ("Attn" in kind and resnet)
    )


# Incompatible options: a sentence, the options concerned, and whether they are compatible.
_RULES: dict[str, tuple[tuple[str, ...], Callable[[Case], bool]]] = {
    "a learned time is a table of num_train_timesteps": (
        ("time_embedding_type", "num_train_timesteps"),
        lambda c: c["time_embedding_type"] != "learned" or c["num_train_timesteps"] is not None,
    ),
    "without layers no width can change": (
        ("layers_per_block", "all widths"),
        lambda c: c["layers_per_block"] > 0 or len(set(c["all widths"])) == 1,
    ),
    "groups divide widths": (
        ("norm_num_groups", "all widths"),
        lambda c: _fits(c, c["norm_num_groups"] or 4),
    ),
    "attention's groups divide the lowest width": (
        ("attn_norm_num_groups", "all widths", "add_attention", "mid_block_type"),
        lambda c: (
            _fits(c, c["attn_norm_num_groups"])
            or not c["add_attention"]
            or c["mid_block_type"] is None
        ),
    ),
    "the image of Skip blocks is in colour, down": (
        ("first down", "in_channels"),
        lambda c: "Skip" not in c["first down"] or c["in_channels"] == 3,
    ),
    "the image of Skip blocks is in colour, up": (
        ("first up", "out_channels"),
        lambda c: "Skip" not in c["first up"] or c["out_channels"] == 3,
    ),
    "after a Skip block going up come Skip blocks": (
        ("first up", "last up"),
        lambda c: "Skip" not in c["first up"] or "Skip" in c["last up"],
    ),
    **{
        f"{block}: only Skip blocks do without norm_num_groups": (
            (block, "norm_num_groups", "layers_per_block", "downsample_type"),
            lambda c, block=block: (
                "Skip" in c[block] or c["norm_num_groups"] is not None or not _has_resnets(c, block)
            ),
        )
        for block in _BLOCKS
    },
    **{
        f"{block}: Skip blocks have groups of their own": (
            (block, "all widths", "layers_per_block", "downsample_type"),
            lambda c, block=block: (
                "Skip" not in c[block] or not _has_resnets(c, block) or _fits(c, 4)
            ),
        )
        for block in _BLOCKS
    },
    **{
        f"{block}: the attention of Skip blocks has 32 groups": (
            (block, "all widths", "layers_per_block"),
            lambda c, block=block: (
                "AttnSkip" not in c[block]
                or ("down" in block and not c["layers_per_block"])
                or _fits(c, 32)
            ),
        )
        for block in _BLOCKS
    },
}


def _broken(case: Case) -> int:
    """How many rules a case, complete or not, breaks."""
    return sum(
        not holds(case) for names, holds in _RULES.values() if all(name in case for name in names)
    )


def _complete(fixed: Case, rng: random.Random, wanted: set[Pair]) -> Case:
    """Choose the other options: breaking the fewest rules first, then with the most of
    ``wanted``."""
    case = dict(fixed)
    for name in rng.sample(sorted(OPTIONS.keys() - fixed.keys()), len(OPTIONS) - len(fixed)):

        def cost(value: Any, name: str = name) -> tuple[int, int, float]:
            pairs = {frozenset((setting, (name, value))) for setting in case.items()}
            return _broken({**case, name: value}), -len(pairs & wanted), rng.random()

        case[name] = min(OPTIONS[name], key=cost)
    return {name: case[name] for name in OPTIONS}


def pairs_of(case: Case) -> set[Pair]:
    return {frozenset(pair) for pair in itertools.combinations(case.items(), 2)}


def all_pairs() -> list[Pair]:
    return [
        frozenset(((one, value), (two, other)))
        for one, two in itertools.combinations(OPTIONS, 2)
        for value, other in itertools.product(OPTIONS[one], OPTIONS[two])
    ]


@cache
def make_matrix(count: int, seed: int = 0) -> tuple[list[Case], list[tuple[Pair, list[Case]]]]:
    """Return at least ``count`` cases, and the pairs that are in none of them.

    With each of those pairs come the cases that have it and break fewest of the rules.
    """
    rng = random.Random(seed)
    cases: list[Case] = []
    apart: list[tuple[Pair, list[Case]]] = []
    wanted = set(all_pairs())
    for pair in all_pairs():
        if pair not in wanted:
            continue
        tries: list[Case] = []
        while len(tries) < 60 and (not tries or _broken(tries[-1])):
            # The greedy choice may get stuck; a random one finds another solution, if there is one.
            tries.append(_complete(dict(pair), rng, wanted if len(tries) < 10 else set()))
        if _broken(tries[-1]):
            apart.append((pair, sorted(tries, key=_broken)[:4]))
        else:
            cases.append(tries[-1])
            wanted -= pairs_of(cases[-1])
    while len(cases) < count:
        case = _complete({}, rng, set())
        if not _broken(case):
            cases.append(case)
            wanted -= pairs_of(case)
    apart = [(pair, closest) for pair, closest in apart if pair in wanted]
    return cases, apart


def fields(case: Case) -> dict[str, Any]:
    """Return the contents of a ``config.json``."""
    levels = case["number of levels"]
    return {
        "down_block_types": [case["first down"]] * (levels - 1) + [case["last down"]],
        "up_block_types": [case["first up"]] * (levels - 1) + [case["last up"]],
        "block_out_channels": list(case["all widths"][:levels]),
        **{name: value for name, value in case.items() if " " not in name},
    }
