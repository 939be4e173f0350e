"""Networks of each format, and the containers that training programs put around them; all
seeded."""

import functools
import random
from typing import Any

import foreign
import torch
import toys
from torch import Tensor

State = dict[str, Tensor]

KEYS = (
    *("state_dict", "model", "model_state_dict", "net", "unet", "network", "params", "module"),
    *("generator", "my weights", "0"),
)
PREFIXES = (
    *("module.", "_orig_mod.", "model.", "unet.", "net.", "diffusion_model.", "denoise_fn."),
    *("network.module.", "_forward_module.", "my_net."),
)
AVERAGED_KEYS = (
    *("ema", "ema_model", "model_ema", "ema_state_dict", "model_ema_state_dict", "state_dict_ema"),
    *("ema_unet", "averaged_model", "EMA", "modelEMA", "emaModel", "ema_0.9999", "swa_model"),
    *("polyak_weights", "shadow"),
)
AVERAGED_PREFIXES = ("ema_model.", "ema.", "ema_unet.", "model_ema.module.", "averaged.model.")
BESIDE: dict[str, Any] = {
    "epoch": 3,
    "step": torch.tensor(100),
    "optimizer": {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{"params": [0, 1]}]},
    "ema_decay": 0.9999,
    "lr_schedulers": [{"last_epoch": 3, "base_lrs": [1e-4]}],
    "loss": None,
    "rng": torch.zeros(16, dtype=torch.uint8),
    "config": {"channels": [1, 2], "name": "a"},
}


def _tiny(seed: int) -> State:
    return toys.reference_model(toys.TINY, seed).state_dict()


def _openai(seed: int, **fields: Any) -> State:
    model = foreign.OpenAI(mult=(1, 2), attention=(1,), **fields)
    return foreign.randomise(model, seed).state_dict()


FORMATS = {
    "Ho": lambda seed: foreign.randomise(foreign.Ho(mult=(1, 2)), seed).state_dict(),
    "improved": lambda seed: _openai(seed, heads=2, out=3),
    "guided": lambda seed: _openai(seed, heads=None, updown=True),
    "early diffusers": lambda seed: toys.early_names(_tiny(seed)),
    "diffusers of 2022": lambda seed: toys.legacy_names(_tiny(seed)),
    "diffusers": _tiny,
}


@functools.cache
def network(kind: str, seed: int) -> State:
    """Return the tensors of a network of a format; another seed, other values."""
    return FORMATS[kind](seed)


def config_of(kind: str) -> dict[str, Any]:
    """Return the contents of the JSON file next to it."""
    if "diffusers" in kind:
        return {"_class_name": "UNet2DModel", **toys.TINY}
    return {"sample_size": 8}


def prefixed(state: State, prefix: str) -> State:
    """Return the tensors with a prefix to their names."""
    return {prefix + name: tensor for name, tensor in state.items()}


def _behind(r: random.Random, state: State, most: int = 2) -> State:
    for _ in range(r.randint(0, most)):
        state = prefixed(state, r.choice(PREFIXES))
    return state


def _beside(r: random.Random, content: dict[str, Any]) -> dict[str, Any]:
    for name in r.sample(sorted(BESIDE), r.randint(0, 4)):
        content.setdefault(name, BESIDE[name])
    entries = list(content.items())
    r.shuffle(entries)
    return dict(entries)


def _under(r: random.Random, content: Any, most: int = 2) -> Any:
    """Put something under keys, next to other things."""
    for _ in range(r.randint(0, most)):
        content = _beside(r, {r.choice(KEYS): content})
    return content


def wrapped(r: random.Random, plain: State, averaged: State | None) -> Any:
    """Return a pickle's content for a network, with its averaged weights if it has any."""
    if averaged is None:
        return _under(r, _behind(r, plain), 3)
    match r.randrange(7):
        case 0:
            pair: dict[str, Any] = {
                r.choice(KEYS): _under(r, _behind(r, plain), 1),
                r.choice(AVERAGED_KEYS): _under(r, _behind(r, averaged), 1),
            }
            return _under(r, _beside(r, pair), 1)
        case 1:
            return _under(r, flat(r, plain, averaged))
        case 2:
            ema = {"decay": 0.9999, "shadow_params": list(averaged.values()), "power": 0.75}
            return _under(r, _beside(r, {r.choice(KEYS): _behind(r, plain), "ema": ema}), 1)
        case 3:
            prefix = r.choice(("model.", "diffusion_model.", ""))
            names = {name: (prefix + name).replace(".", "") for name in plain}
            ema = {f"model_ema.{names[name]}": tensor for name, tensor in averaged.items()}
            ema["model_ema.decay"] = torch.tensor(0.9)
            return _under(r, {**prefixed(plain, f"model.{prefix}"), **ema})
        case 4:
            return [_behind(r, plain), BESIDE["optimizer"], 3, 1000, _behind(r, averaged)]
        case 5:
            own = {"n_averaged": torch.tensor(5), **prefixed(averaged, "module.")}
            return _under(r, _beside(r, {r.choice(KEYS): plain, "last": own}), 1)
        case _:
            both = {**prefixed(plain, "online_model."), **prefixed(averaged, "ema_model.")}
            ema = {"initted": torch.tensor(True), "step": torch.tensor(7), **both}
            return _under(r, _beside(r, {"model": plain, "ema": ema}), 1)


def flat(r: random.Random, plain: State, averaged: State | None) -> State:
    """Return a safetensors file's content: names with prefixes, and nothing else."""
    if averaged is None:
        return _behind(r, plain, 3)
    outer = r.choice(("", *PREFIXES))
    both = prefixed(_behind(r, plain, 1), f"{outer}{r.choice(PREFIXES)}")
    return both | prefixed(_behind(r, averaged, 1), f"{outer}{r.choice(AVERAGED_PREFIXES)}")
