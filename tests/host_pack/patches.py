"""Test nodes that put something on a MODEL."""

import json
import sys
from typing import Any

from comfy_api.latest import io

from .node import node


@node(io.Model.Output(), inputs=(io.Model.Input("model"),))
def patched_model(model: Any) -> io.NodeOutput:
    """The MODEL with a patch on its weights, like that of a LoRA or a merge."""
    import torch

    patched = model.clone()
    name = "diffusion_model.conv_out.weight"
    weight = patched.model_state_dict()[name]
    patched.add_patches({name: ("diff", (torch.full(weight.shape, 0.05),))})
    return io.NodeOutput(patched)


_KINDS = [
    "unet function",
    "apply model",
    "diffusion model",
    "post cfg",
    "compiled",
    "record",
    "little memory",
    "another sigma",
    "nan",
    "attention",
    "float64",
    "two images",
]


@node(
    io.Model.Output(),
    inputs=(
        io.Model.Input("model"),
        io.Combo.Input("kind", options=_KINDS),
        io.String.Input("name", default=""),
    ),
)
def wrapped_model(model: Any, kind: str, name: str) -> io.NodeOutput:
    """The MODEL with one of the wrappers that the host offers; the first four halve its answer.

    ``record`` writes the model's inputs to a file of that name; ``nan`` spoils the answer for the
    images whose numbers are the name, or for all images without a name.
    """
    from comfy.patcher_extension import WrappersMP
    from comfy_api.torch_helpers import set_torch_compile_wrapper

    wrapped = model.clone()
    match kind:
        case "unet function":
            wrapped.set_model_unet_function_wrapper(
                lambda apply, a: 0.5 * apply(a["input"], a["timestep"], **a["c"])
            )
        case "apply model":
            wrapped.add_wrapper(
                WrappersMP.APPLY_MODEL, lambda run, *a, **more: 0.5 * run(*a, **more)
            )
        case "diffusion model":
            wrapped.add_wrapper(
                WrappersMP.DIFFUSION_MODEL, lambda run, *a, **more: 0.5 * run(*a, **more)
            )
        case "post cfg":
            wrapped.set_model_sampler_post_cfg_function(lambda a: 0.5 * a["denoised"])
        case "little memory":
            wrapped.add_wrapper(WrappersMP.APPLY_MODEL, _with_memory_for_two(model, name))
        case "two images":
            _with_room_for_two(model.model)
        case "another sigma":
            wrapped.set_model_unet_function_wrapper(
                lambda apply, a: apply(a["input"], 0.7 * a["timestep"], **a["c"])
            )
        case "nan":
            wrapped.add_wrapper(WrappersMP.APPLY_MODEL, _spoiling(name))
        case "attention":
            options = wrapped.model_options["transformer_options"]
            options["optimized_attention_override"] = lambda attend, *a, **more: attend(*a, **more)
        case "float64":
            wrapped.add_wrapper(WrappersMP.DIFFUSION_MODEL, _in_float64)
        case "compiled":
            set_torch_compile_wrapper(model=wrapped, backend="aot_eager")
        case _:
            wrapped.set_model_unet_function_wrapper(_recorder(name))
    return io.NodeOutput(wrapped)


def _with_room_for_two(model: Any) -> None:
    """Let the next run find memory for two images."""

    sampling: Any = sys.modules[type(model).__module__.replace(".model", ".sampling")]
    real = sampling.sampled_at_once

    def once(_: Any) -> int:
        sampling.sampled_at_once = real
        return 2

    sampling.sampled_at_once = once


def _spoiling(name: str) -> Any:
    def spoil(run: Any, *a: Any, **more: Any) -> Any:
        answer = run(*a, **more).clone()
        answer[[int(k) for k in name.split()] or slice(None)] = float("nan")
        return answer

    return spoil


def _in_float64(run: Any, x: Any, *a: Any, **more: Any) -> Any:
    """Evaluate in float64, with the weights that are there."""
    layers = [m for m in run.class_obj.modules() if hasattr(m, "comfy_cast_weights")]
    before = [layer.comfy_cast_weights for layer in layers]
    for layer in layers:
        layer.comfy_cast_weights = True  # to what comes in
    try:
        return run(x.double(), *a, **more).to(x.dtype)
    finally:
        for layer, casts in zip(layers, before, strict=True):
            layer.comfy_cast_weights = casts


def _with_memory_for_two(model: Any, name: str) -> Any:
    """Let the host find free memory for two images, and write how many were evaluated at once."""
    import comfy.model_management as management
    from comfy.patcher_extension import WrappersMP

    from .latents import folder

    sizes: list[int] = []

    def count(run: Any, x: Any, *a: Any, **more: Any) -> Any:
        sizes.append(len(x))
        return run(x, *a, **more)

    def apply(run: Any, x: Any, t: Any, c: Any, cross: Any, control: Any, options: Any) -> Any:
        real = management.get_free_memory
        # Without the weights' copies, of which not all are made yet.
        one, two = (model.model.memory_required([n, *x.shape[1:]]) for n in (1, 2))
        free = 2.5 * (two - one)
        management.get_free_memory = lambda *a, **more: free  # type: ignore[assignment]
        wrappers = options.get("wrappers", {})
        around = dict(wrappers.get(WrappersMP.DIFFUSION_MODEL, {}))
        around[None] = [count, *around.get(None, [])]
        wrappers = {**wrappers, WrappersMP.DIFFUSION_MODEL: around}
        try:
            return run(x, t, c, cross, control, {**options, "wrappers": wrappers})
        finally:
            management.get_free_memory = real
            (folder() / f"{name}.json").write_text(json.dumps(sizes))

    return apply


def _recorder(name: str) -> Any:
    import numpy as np

    from .latents import folder

    asked: list[Any] = []

    def ask(apply: Any, a: dict[str, Any]) -> Any:
        asked.append(a["input"].cpu().numpy())
        folder().mkdir(exist_ok=True)
        np.savez(
            folder() / f"{name}.npz",
            x=np.stack(asked),
            sigma=np.array([*getattr(ask, "sigmas", []), a["timestep"][0].item()]),
        )
        ask.sigmas = [*getattr(ask, "sigmas", []), a["timestep"][0].item()]  # type: ignore[attr-defined]
        return apply(a["input"], a["timestep"], **a["c"])

    return ask
