"""Test nodes that make MODELs of other kinds, or put something on a MODEL."""

import json
from typing import Any

from comfy_api.latest import io

_TINY_SD = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 32,
    "num_res_blocks": [1, 1],
    "channel_mult": [1, 2],
    "num_heads": 2,
    "use_spatial_transformer": True,
    "transformer_depth": [1, 1],
    "transformer_depth_output": [1, 1, 1, 1],
    "transformer_depth_middle": 1,
    "context_dim": 16,
    "use_linear_in_transformer": False,
    "adm_in_channels": None,
    "use_temporal_attention": False,
    "legacy": False,
}


class TestForeignModel(io.ComfyNode):
    """A MODEL of another kind: Stable Diffusion's, without weights."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TestForeignModel",
            category="test",
            inputs=[],
            outputs=[io.Model.Output()],
        )

    @classmethod
    def execute(cls) -> io.NodeOutput:
        import comfy.model_base
        import comfy.supported_models
        import torch

        config = comfy.supported_models.SD15({"disable_unet_model_creation": True})
        model = comfy.model_base.BaseModel(config)
        model.diffusion_model = torch.nn.Identity()
        return io.NodeOutput(_patcher(model))


class TestTinyModel(io.ComfyNode):
    """A tiny random model of the host's own kinds: SD (epsilon or v), flow-matching, or EDM."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TestTinyModel",
            category="test",
            inputs=[
                io.Combo.Input("kind", options=["EPS", "V_PREDICTION", "FLOW", "EDM"]),
                io.Int.Input("seed", default=0),
            ],
            outputs=[io.Model.Output()],
        )

    @classmethod
    def execute(cls, kind: str, seed: int) -> io.NodeOutput:
        import comfy.model_base
        import comfy.supported_models
        import torch

        config = comfy.supported_models.SD15({**_TINY_SD, "dtype": torch.float32})
        config.unet_config["num_head_channels"] = -1
        model = comfy.model_base.BaseModel(config, comfy.model_base.ModelType[kind])
        generator = torch.Generator().manual_seed(seed)
        for name, parameter in model.diffusion_model.named_parameters():
            drawn = torch.randn(parameter.shape, generator=generator)
            norm = "norm" in name and parameter.ndim == 1 and name.endswith("weight")
            fan_in = max(parameter[0].numel(), 1)
            parameter.data = 1 + 0.1 * drawn if norm else drawn / fan_in**0.5
        return io.NodeOutput(_patcher(model))


class TestConditioning(io.ComfyNode):
    """CONDITIONING of random numbers, for TestTinyModel."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TestConditioning",
            category="test",
            inputs=[io.Int.Input("seed", default=0)],
            outputs=[io.Conditioning.Output()],
        )

    @classmethod
    def execute(cls, seed: int) -> io.NodeOutput:
        import torch

        generator = torch.Generator().manual_seed(seed)
        return io.NodeOutput([[torch.randn(1, 4, 16, generator=generator), {}]])


class TestControl(io.ComfyNode):
    """The CONDITIONING with a ControlNet that adds a number to the middle of TestTinyModel."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TestControl",
            category="test",
            inputs=[io.Conditioning.Input("conditioning")],
            outputs=[io.Conditioning.Output()],
        )

    @classmethod
    def execute(cls, conditioning: Any) -> io.NodeOutput:
        import comfy.controlnet
        import torch

        class Control(comfy.controlnet.ControlBase):
            def get_control(self, x_noisy: Any, *_: Any, **__: Any) -> dict[str, Any]:
                height, width = x_noisy.shape[-2] // 2, x_noisy.shape[-1] // 2
                middle = torch.full((len(x_noisy), 64, height, width), 2.0)
                return {"input": [], "middle": [middle], "output": []}

            def get_models(self) -> list[Any]:
                return []

        added = {"control": Control(), "control_apply_to_uncond": True}
        return io.NodeOutput([[c, {**more, **added}] for c, more in conditioning])


class TestPatchedModel(io.ComfyNode):
    """The MODEL with a patch on its weights, as a LoRA or a merge puts one there."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TestPatchedModel",
            category="test",
            inputs=[io.Model.Input("model")],
            outputs=[io.Model.Output()],
        )

    @classmethod
    def execute(cls, model: Any) -> io.NodeOutput:
        import torch

        patched = model.clone()
        name = "diffusion_model.conv_out.weight"
        weight = patched.model_state_dict()[name]
        patched.add_patches({name: ("diff", (torch.full(weight.shape, 0.05),))})
        return io.NodeOutput(patched)


class TestWrappedModel(io.ComfyNode):
    """The MODEL with one of the wrappers that the host offers; the first four halve its answer.

    ``record`` writes what the model is asked to a file of that name.
    """

    @classmethod
    def define_schema(cls) -> io.Schema:
        kinds = [
            "unet function",
            "apply model",
            "diffusion model",
            "post cfg",
            "compiled",
            "record",
            "little memory",
        ]
        return io.Schema(
            node_id="TestWrappedModel",
            category="test",
            inputs=[
                io.Model.Input("model"),
                io.Combo.Input("kind", options=kinds),
                io.String.Input("name", default=""),
            ],
            outputs=[io.Model.Output()],
        )

    @classmethod
    def execute(cls, model: Any, kind: str, name: str) -> io.NodeOutput:
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
            case "compiled":
                set_torch_compile_wrapper(model=wrapped, backend="aot_eager")
            case _:
                wrapped.set_model_unet_function_wrapper(_recorder(name))
        return io.NodeOutput(wrapped)


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
        free = 2.5 * model.model.memory_required([1, *x.shape[1:]])
        management.get_free_memory = lambda *a, **more: free  # type: ignore[assignment]
        wrappers = {**options.get("wrappers", {}), WrappersMP.DIFFUSION_MODEL: {None: [count]}}
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


class TestLowVram(io.ComfyNode):
    """Shows how far an evaluation with all weights offloaded is from one with all loaded."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TestLowVram",
            category="test",
            is_output_node=True,
            inputs=[io.Model.Input("model")],
            outputs=[],
        )

    @classmethod
    def execute(cls, model: Any) -> io.NodeOutput:
        import comfy.model_management
        import torch

        cpu = torch.device("cpu")
        x, sigma = torch.randn(2, 1, 16, 16), torch.full((2,), 1.5)
        comfy.model_management.unload_all_models()
        outputs = []
        for load in ({"full_load": True}, {"lowvram_model_memory": 1}):
            patcher = model.clone()
            patcher.load(cpu, **load)
            outputs.append(patcher.model.apply_model(x, sigma))
            offloaded = patcher.model.model_lowvram
            patcher.detach()
        difference = (outputs[0] - outputs[1]).abs().max().item()
        return io.NodeOutput(ui={"difference": [difference], "offloaded": [offloaded]})


class TestMemory(io.ComfyNode):
    """Shows the host's estimate of the memory that sampling (B, C, H, W) needs."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TestMemory",
            category="test",
            is_output_node=True,
            inputs=[io.Model.Input("model"), io.Latent.Input("latent")],
            outputs=[],
        )

    @classmethod
    def execute(cls, model: Any, latent: Any) -> io.NodeOutput:
        shape = list(latent["samples"].shape)
        return io.NodeOutput(ui={"bytes": [model.model.memory_required(shape)]})


class TestDiffusersSampler(io.ComfyNode):
    """SAMPLER: diffusers' own PNDMScheduler, over the host's model call."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TestDiffusersSampler",
            category="test",
            inputs=[
                io.Int.Input("steps"),
                io.Boolean.Input("skip_prk_steps"),
                io.Int.Input("steps_offset", default=0),
                io.String.Input("prediction_type", default="epsilon"),
            ],
            outputs=[io.Sampler.Output()],
        )

    @classmethod
    def execute(
        cls, steps: int, skip_prk_steps: bool, steps_offset: int, prediction_type: str
    ) -> io.NodeOutput:
        import comfy.samplers
        import torch
        from diffusers import PNDMScheduler

        def sample(model: Any, _x: Any, _sigmas: Any, extra_args: Any, **_: Any) -> Any:
            scheduler: Any = PNDMScheduler(
                beta_start=0.00085,
                beta_end=0.012,
                beta_schedule="scaled_linear",
                skip_prk_steps=skip_prk_steps,
                steps_offset=steps_offset,
                prediction_type=prediction_type,
            )
            scheduler.set_timesteps(steps)
            sigmas = model.inner_model.inner_model.model_sampling.sigmas
            x = model.noise
            for t in scheduler.timesteps:
                sigma = sigmas[t]
                host_x = x * (1 + sigma**2).sqrt()
                denoised = model(host_x, sigma * torch.ones(len(x)), **extra_args)
                output = (host_x - denoised) / sigma
                if prediction_type == "v_prediction":
                    a = 1 / (1 + sigma**2)
                    output = (a.sqrt() * x - denoised) / (1 - a).sqrt()
                x = scheduler.step(output, t, x).prev_sample
            return x

        return io.NodeOutput(comfy.samplers.KSAMPLER(sample))


def _patcher(model: Any) -> Any:
    import comfy.model_management
    import comfy.model_patcher
    import torch

    device = comfy.model_management.get_torch_device()
    kind = getattr(comfy.model_patcher, "CoreModelPatcher", comfy.model_patcher.ModelPatcher)
    return kind(model, device, torch.device("cpu"))
