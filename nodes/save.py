"""From a MODEL to a model folder."""

from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io

from ..checkpoints.saving import checked_name, save_as_new_model
from ..host.folders import model_names, saved_models
from ..host.model import own_schedule, unconditional_model, weights_as_loaded


class UnconditionalUNetSave(io.ComfyNode):
    """Save Unconditional UNet."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UnconditionalUNetSave",
            display_name="Save Unconditional UNet",
            category="unconditional",
            description="Writes a model with its noise schedule as a folder that diffusers and "
            "Load Unconditional UNet open, below ComfyUI's output folder. An existing model is "
            "never overwritten.",
            is_output_node=True,
            inputs=[
                io.Model.Input(
                    "model",
                    tooltip="From Load or Download Unconditional UNet. It is saved in the "
                    "precision that it was loaded in.",
                ),
                io.String.Input(
                    "filename_prefix",
                    default="unconditional",
                    tooltip="Name of the new folder in output/diffusers, and of folders before "
                    "slashes. Where it is taken, a number is added.",
                ),
            ],
            outputs=[],
        )

    @classmethod
    def execute(cls, model: ModelPatcher, filename_prefix: str) -> io.NodeOutput:
        ours = unconditional_model(model)
        root = saved_models()
        wanted = checked_name(root, filename_prefix)
        name = save_as_new_model(
            root,
            wanted,
            weights_as_loaded(model),
            ours.unet_config,
            own_schedule(model),
            taken=model_names(),
        )
        report = [f"Saved as {name} in {root}. Press R to find it in Load Unconditional UNet."]
        if name != wanted:
            report.append(f"The name {wanted} was taken.")
        if own_schedule(model).timestep_scale != 1:
            report.append("diffusers does not know its timestep_scale and would sample it wrongly.")
        if model.patches:
            report.append("The patches that other nodes put on the model are not in it.")
        return io.NodeOutput(ui={"text": [" ".join(report)]})
