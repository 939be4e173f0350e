"""From a MODEL to a model folder."""

from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io

from ..checkpoints.saving import checked_name, save_as_new_model
from ..host.folders import model_names, saved_models
from ..host.our_model import own_process, unconditional_model, weights_as_loaded
from ..networks.base import NetworkConfig
from ..schedulers.process import Process


class UnconditionalUNetSave(io.ComfyNode):
    """Save Unconditional UNet."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UnconditionalUNetSave",
            display_name="Save Unconditional UNet",
            category="unconditional",
            description="Saves a model and its noise schedule to a folder in ComfyUI's output "
            "folder. Load Unconditional UNet can open it, and so can diffusers if it has such a "
            "network. Never overwrites a model.",
            search_aliases=["convert to safetensors", "diffusers", "export model", "save model"],
            is_output_node=True,
            inputs=[
                io.Model.Input(
                    "model",
                    tooltip="A model from Load or Download Unconditional UNet. It is saved in the "
                    "precision in which it was loaded.",
                ),
                io.String.Input(
                    "filename_prefix",
                    default="unconditional",
                    tooltip="The name of the new folder in output/diffusers. Parent folders may "
                    "come before slashes. If the name is taken, a number is added.",
                ),
            ],
            outputs=[],
        )

    @classmethod
    def execute(cls, model: ModelPatcher, filename_prefix: str) -> io.NodeOutput:
        ours = unconditional_model(model)
        root = saved_models()
        wanted = checked_name(root, filename_prefix)
        weights, process = weights_as_loaded(model), own_process(model)
        name = save_as_new_model(
            root, wanted, weights, ours.unet_config, process, taken=model_names()
        )
        report = [f"Saved as {name} in {root}. Press R to find it in Load Unconditional UNet."]
        if name != wanted:
            report.append(f"The name {wanted} was taken.")
        report += _warnings(ours.unet_config, process)
        if model.patches:
            report.append("Patches from other nodes are not included.")
        return io.NodeOutput(ui={"text": [" ".join(report)]})


def _warnings(unet: NetworkConfig, process: Process) -> list[str]:
    """Return why diffusers cannot read the saved model, or would draw other images with it."""
    warnings = [unet.not_for_diffusers] if unet.not_for_diffusers else []
    if process.timestep_scale != 1:
        warnings.append(
            "diffusers does not support its timestep_scale and would sample it incorrectly."
        )
    return warnings
