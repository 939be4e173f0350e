"""Test nodes that copy a MODEL as the host does, and simulate a device without float64."""

import copy
import sys
from typing import Any

from comfy_api.latest import io

from .node import node

KINDS = ["deep clone", "other device", "not dynamic", "copy.deepcopy"]


@node(io.Model.Output(), inputs=(io.Model.Input("model"), io.Combo.Input("kind", options=KINDS)))
def copied_model(model: Any, kind: str) -> io.NodeOutput:
    """A copy of the MODEL with its own network; the test knows which host supports which way."""

    match kind:
        case "deep clone":  # as the host's LoRA training
            copied = model.clone(force_deepcopy=True)
        case "other device":  # as its nodes for several GPUs
            copied = model.deepclone_multigpu(new_load_device=model.load_device)
        case "copy.deepcopy":  # as other packs
            copied = copy.deepcopy(model)
        case _:  # as TorchCompileModel
            copied = model.clone(disable_dynamic=True)
    assert copied.model is not model.model
    own = {p.data_ptr() for p in copied.model.parameters()}
    assert own.isdisjoint(p.data_ptr() for p in model.model.parameters())
    assert not copied.is_dynamic()
    return io.NodeOutput(copied)


@node(io.Model.Output(), inputs=(io.Model.Input("model"),))
def dynamic_model(model: Any) -> io.NodeOutput:
    """The same as a MODEL whose weights the host loads on demand. The host only does this on
    NVIDIA's cards. This is its own class, without its requirements for a card: on a CPU the only
    one is pinned memory.
    """
    import comfy.model_patcher as host

    class Dynamic(host.ModelPatcherDynamic):
        def __new__(cls, *_: Any, **__: Any) -> Any:
            return object.__new__(cls)  # the host's gives the plain class for a CPU

        def partially_unload(self, *_: Any, **__: Any) -> int:
            restore = getattr(self, "restore_loaded_backups", lambda: 0)  # newer hosts
            return restore()

    class Memory:
        size = 0

        def __init__(self, *_: Any) -> None: ...

        def truncate(self, *_: Any, **__: Any) -> None: ...

    buffers = getattr(host.comfy_aimdo, "host_buffer", None)  # newer hosts
    if buffers is not None:
        buffers.HostBuffer = Memory
    make, arguments = model.cached_patcher_init
    network = make(*arguments).model
    dynamic = Dynamic(network, model.load_device, model.offload_device)
    dynamic.cached_patcher_init = model.cached_patcher_init
    assert dynamic.is_dynamic()
    return io.NodeOutput(dynamic)


@node(io.Model.Output(), inputs=(io.Model.Input("model"),))
def without_float64(model: Any) -> io.NodeOutput:
    """The MODEL on a device without float64: creating such a tensor fails."""
    import torch
    from comfy.patcher_extension import WrappersMP
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    class Lacking(TorchDispatchMode):
        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            result = func(*args, **(kwargs or {}))
            if any(getattr(x, "dtype", None) == torch.float64 for x in tree_leaves(result)):
                raise RuntimeError("Required aspect fp64 is not supported on the device")
            return result

    host = type(model.model).__module__.rpartition(".")[0]
    precision = sys.modules[f"{host}.precision"]

    def sample(run: Any, *a: Any, **more: Any) -> Any:
        precision.computes_float64.cache_clear()
        try:
            with Lacking():
                return run(*a, **more)
        finally:
            precision.computes_float64.cache_clear()

    lacking = model.clone()
    lacking.add_wrapper(WrappersMP.OUTER_SAMPLE, sample)
    return io.NodeOutput(lacking)
