"""The samplers over a part of their steps, as the host's KSamplerAdvanced runs its own."""

from typing import Any

from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io

from ..host.run_report import REPORTS
from ..host.sampling import ENABLE, sample_part
from ..schedulers.ddim import DDIM
from ..schedulers.ddpm import DDPM
from ..schedulers.pndm import PNDM
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
from .sample import SamplerNode

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


class SamplerPartNode(SamplerNode):
    """The part that all advanced sampler nodes share."""

    @classmethod
    def execute(cls, model: ModelPatcher, class_label: int = -1, **inputs: Any) -> io.NodeOutput:
        make_sampler = cls.sampler_of(model, inputs)
        latent, report = sample_part(model, make_sampler, class_label=class_label, **inputs)
        return io.NodeOutput(latent, ui=report)


class UnconditionalPNDMSamplerAdvanced(SamplerPartNode):
    """PNDM Sampler (Advanced)."""

    SAMPLER = PNDM
    SETTINGS = ("method", "convention")

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
            **REPORTS,
        )


class UnconditionalDDPMSamplerAdvanced(SamplerPartNode):
    """DDPM Sampler (Advanced)."""

    SAMPLER = DDPM
    SETTINGS = ("variance_type",)

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
            **REPORTS,
        )


class UnconditionalDDIMSamplerAdvanced(SamplerPartNode):
    """DDIM Sampler (Advanced)."""

    SAMPLER = DDIM
    SETTINGS = ("eta",)

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
            **REPORTS,
        )
