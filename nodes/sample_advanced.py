"""The samplers over a part of their steps, as the host's KSamplerAdvanced runs its own."""

from typing import Any

from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io

from ..host.model import own_schedule
from ..host.run_report import TELLS
from .inputs import (
    CATEGORY,
    class_label_input,
    convention_input,
    eta_input,
    latent_output,
    method_input,
    model_input,
    seed_input,
    steps_input,
    variance_type_input,
)
from .recipes import ENABLE, ddim, ddpm, pndm, sample_part

_LEFTOVER = (
    "A latent with noise left over is in ComfyUI's scale, so that a run can begin here and end in "
    "KSamplerAdvanced, or the other way round."
)


def _first_inputs(default_steps: int) -> list[Any]:
    return [
        model_input(),
        io.Combo.Input(
            "add_noise",
            options=list(ENABLE),
            tooltip="enable: noise the latent as far as the first step that runs expects; at step "
            "0 it begins with noise alone. disable: the latent still has its noise, from a sampler "
            "that stopped early.",
        ),
        seed_input(),
        steps_input(
            default_steps,
            "Length of the whole list of steps, of which those from start_at_step to end_at_step "
            "run.",
        ),
    ]


def _last_inputs() -> list[Any]:
    return [
        io.Latent.Input(
            "latent",
            tooltip="What to begin with; it also sets size and batch. Where it has a mask, what is "
            "not masked stays as it is.",
        ),
        io.Int.Input(
            "start_at_step",
            default=0,
            min=0,
            max=10000,
            tooltip="The first step that runs, counted from 0.",
        ),
        io.Int.Input(
            "end_at_step",
            default=10000,
            min=0,
            max=10000,
            tooltip="The first step that does not run any more; beyond the list means its end.",
        ),
        io.Combo.Input(
            "return_with_leftover_noise",
            options=["disable", "enable"],
            tooltip="When the run stops early. disable: its last step goes all the way to the "
            "image. enable: the noise of that time stays in the latent, for the sampler that goes "
            "on, except where a mask keeps the image.",
        ),
        class_label_input(),
    ]


class UnconditionalPNDMSamplerAdvanced(io.ComfyNode):
    """PNDM Sampler (Advanced)."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UnconditionalPNDMSamplerAdvanced",
            display_name="PNDM Sampler (Advanced)",
            category=CATEGORY,
            description="PNDM over a part of its steps. It warms up wherever it begins, so that "
            f"two parts differ a little from the whole. {_LEFTOVER}",
            inputs=[*_first_inputs(50), method_input(), convention_input(), *_last_inputs()],
            outputs=latent_output(),
            **TELLS,
        )

    @classmethod
    def execute(
        cls, model: ModelPatcher, method: Any, convention: Any, class_label: int = -1, **rest: Any
    ) -> io.NodeOutput:
        recipe = pndm(own_schedule(model), method, convention)
        return sample_part(model, recipe, class_label=class_label, **rest)


class UnconditionalDDPMSamplerAdvanced(io.ComfyNode):
    """DDPM Sampler (Advanced)."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UnconditionalDDPMSamplerAdvanced",
            display_name="DDPM Sampler (Advanced)",
            category=CATEGORY,
            description="DDPM over a part of its steps. Each step draws the same noise whichever "
            f"others run, so that two parts with one seed are the whole. {_LEFTOVER}",
            inputs=[*_first_inputs(1000), variance_type_input(), *_last_inputs()],
            outputs=latent_output(),
            **TELLS,
        )

    @classmethod
    def execute(
        cls, model: ModelPatcher, variance_type: Any, class_label: int = -1, **rest: Any
    ) -> io.NodeOutput:
        recipe = ddpm(own_schedule(model), variance_type)
        return sample_part(model, recipe, class_label=class_label, **rest)


class UnconditionalDDIMSamplerAdvanced(io.ComfyNode):
    """DDIM Sampler (Advanced)."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UnconditionalDDIMSamplerAdvanced",
            display_name="DDIM Sampler (Advanced)",
            category=CATEGORY,
            description="DDIM over a part of its steps. Each step draws the same noise whichever "
            f"others run, so that two parts with one seed are the whole. {_LEFTOVER}",
            inputs=[*_first_inputs(50), eta_input(), *_last_inputs()],
            outputs=latent_output(),
            **TELLS,
        )

    @classmethod
    def execute(
        cls, model: ModelPatcher, eta: float, class_label: int = -1, **rest: Any
    ) -> io.NodeOutput:
        recipe = ddim(own_schedule(model), eta)
        return sample_part(model, recipe, class_label=class_label, **rest)
