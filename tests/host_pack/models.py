"""Test nodes that make MODELs of other kinds, and their conditioning."""

from typing import Any

from comfy_api.latest import io

from .node import node

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


@node(io.Model.Output())
def foreign_model() -> io.NodeOutput:
    """A MODEL of another kind: Stable Diffusion's, without weights."""
    import comfy.model_base
    import comfy.supported_models
    import torch

    config = comfy.supported_models.SD15({"disable_unet_model_creation": True})
    model = comfy.model_base.BaseModel(config)
    model.diffusion_model = torch.nn.Identity()
    return io.NodeOutput(_patcher(model))


@node(
    io.Model.Output(),
    inputs=(
        io.Combo.Input("kind", options=["EPS", "V_PREDICTION", "FLOW", "EDM"]),
        io.Int.Input("seed", default=0),
    ),
)
def tiny_model(kind: str, seed: int) -> io.NodeOutput:
    """A tiny random model of the host's own kinds: SD (epsilon or v), flow-matching, or EDM."""
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


@node(io.Conditioning.Output(), inputs=(io.Int.Input("seed", default=0),))
def conditioning(seed: int) -> io.NodeOutput:
    """CONDITIONING of random numbers, for TestTinyModel."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    return io.NodeOutput([[torch.randn(1, 4, 16, generator=generator), {}]])


@node(io.Conditioning.Output(), inputs=(io.Conditioning.Input("conditioning"),))
def control(conditioning: Any) -> io.NodeOutput:
    """The CONDITIONING with a ControlNet that adds a number to the middle of TestTinyModel."""
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


def _patcher(model: Any) -> Any:
    import comfy.model_management
    import comfy.model_patcher
    import torch

    device = comfy.model_management.get_torch_device()
    return comfy.model_patcher.CoreModelPatcher(model, device, torch.device("cpu"))


@node(
    io.Clip.Output(),
    io.ClipVision.Output(),
    inputs=(
        io.Combo.Input("projection", options=["drawn", "none"]),
        io.Int.Input("vision_width", default=32),
    ),
)
def tiny_clip(projection: str, vision_width: int) -> io.NodeOutput:
    """A tiny random CLIP and CLIP Vision, of the host's classes, as for Stable Diffusion 1."""
    import json
    import tempfile
    from pathlib import Path

    import comfy.clip_vision
    import comfy.sd
    import comfy.sd1_clip
    import comfy.supported_models_base
    import torch

    layers = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    layers |= {"intermediate_size": 64}
    target = comfy.supported_models_base.ClipTarget(
        comfy.sd1_clip.SD1Tokenizer, comfy.sd1_clip.SD1ClipModel
    )
    options = {"clip_l_model_config": layers, "dtype": torch.float32}
    clip = comfy.sd.CLIP(target, model_options=options)
    vision = {**layers, "hidden_act": "quick_gelu", "image_size": 32, "patch_size": 8}
    vision |= {"num_channels": 3, "projection_dim": vision_width, "model_type": "clip_vision_model"}
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config.json"
        config.write_text(json.dumps(vision))
        clip_vision = comfy.clip_vision.ClipVisionModel(str(config))
    generator = torch.Generator().manual_seed(5)
    for model in (clip.cond_stage_model, clip_vision.model):
        for name, parameter in model.named_parameters():
            drawn = torch.randn(parameter.shape, generator=generator)
            norm = "norm" in name or "layrnorm" in name
            scale = (
                1.0
                if "embedding" in name
                else parameter[0].numel() ** -0.5
                if parameter.ndim
                else 1.0
            )
            kept = 1 + 0.1 * drawn if norm and name.endswith("weight") else scale * drawn
            parameter.data.copy_(kept)
    if projection == "none":
        clip.cond_stage_model.clip_l.transformer.text_projection.weight.data.zero_()
    return io.NodeOutput(clip, clip_vision)


@node(
    io.Latent.Output(),
    inputs=(
        io.Clip.Input("clip"),
        io.ClipVision.Input("clip_vision"),
        io.String.Input("text"),
        io.Latent.Input("samples"),
    ),
)
def similarity(clip: Any, clip_vision: Any, text: str, samples: dict[str, Any]) -> io.NodeOutput:
    """The similarity of a text and each image, by the host's own functions, (B, 1, 1, 1)."""
    import torch

    images = (samples["samples"].clamp(-1, 1) / 2 + 0.5).movedim(1, -1).expand(-1, -1, -1, 3)
    seen = clip_vision.encode_image(images)["image_embeds"]
    _, read = clip.encode_from_tokens(clip.tokenize(text), return_pooled="unprojected")
    read = clip.cond_stage_model.clip_l.transformer.text_projection(read.to(seen))
    found = torch.nn.functional.cosine_similarity(seen, read)
    return io.NodeOutput({"samples": found[:, None, None, None]})
