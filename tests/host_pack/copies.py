"""Test nodes that copy a MODEL as the host does, and lend it a device without float64."""

import copy
import sys
from typing import Any

from comfy_api.latest import io

KINDS = ["deep clone", "other device", "dynamic", "dynamic, again", "copy.deepcopy"]


class TestCopiedModel(io.ComfyNode):
    """A MODEL of the same, but with a network of its own; which host can do which is the test's."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TestCopiedModel",
            category="test",
            inputs=[io.Model.Input("model"), io.Combo.Input("kind", options=KINDS)],
            outputs=[io.Model.Output()],
        )

    @classmethod
    def execute(cls, model: Any, kind: str) -> io.NodeOutput:
        match kind:
            case "deep clone":  # as the host's LoRA training
                copied = model.clone(force_deepcopy=True)
            case "other device":  # as its nodes for several GPUs
                copied = model.deepclone_multigpu(new_load_device=model.load_device)
            case "copy.deepcopy":  # as other packs
                copied = copy.deepcopy(model)
            case _:  # as TorchCompileModel
                copied = _dynamic(model).clone(disable_dynamic=True)
                if kind == "dynamic, again":
                    copied = _dynamic(copied).clone(disable_dynamic=True)
        assert copied.model is not model.model
        own = {p.data_ptr() for p in copied.model.parameters()}
        assert own.isdisjoint(p.data_ptr() for p in model.model.parameters())
        assert not copied.is_dynamic()
        return io.NodeOutput(copied)


def _dynamic(model: Any) -> Any:
    """The MODEL as a stub of the host's dynamic one, which a CPU never gets."""

    class Dynamic(type(model)):  # type: ignore[misc]
        def is_dynamic(self) -> bool:
            return True

    stub = copy.copy(model)
    stub.__class__ = Dynamic
    return stub


class TestWithoutFloat64(io.ComfyNode):
    """The MODEL on a device that has no float64: whatever makes such a number fails."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TestWithoutFloat64",
            category="test",
            inputs=[io.Model.Input("model")],
            outputs=[io.Model.Output()],
        )

    @classmethod
    def execute(cls, model: Any) -> io.NodeOutput:
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
