"""The samplers over a part of their steps, as the host's KSamplerAdvanced runs its own."""

from typing import Any

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
    noise_input,
    seed_input,
    spacing_input,
    steps_input,
    variance_type_input,
)
from .sample import SamplerNode

_LEFTOVER = (
    "Leftover noise is in ComfyUI's scale, so a run can start here and end in KSampler (Advanced), "
    "or the other way round."
)


def _first_inputs(default_steps: int) -> list[Any]:
    return [
        model_input(),
        io.Combo.Input(
            "add_noise",
            options=list(ENABLE),
            tooltip="enable: add the noise that the first step expects; step 0 starts from pure "
            "noise. disable: the latent still has its noise, from a sampler that stopped early.",
        ),
        seed_input(),
        steps_input(
            default_steps,
            "The number of steps in the whole schedule. Those from start_at_step to end_at_step "
            "run.",
        ),
    ]


def _last_inputs() -> list[Any]:
    return [
        io.Latent.Input(
            "latent",
            tooltip="The starting image or noise. It also sets the size and the number of images. "
            "With a mask, only the masked part changes.",
        ),
        io.Int.Input(
            "start_at_step",
            default=0,
            min=0,
            max=10000,
            tooltip="The first step to run, counted from 0.",
        ),
        io.Int.Input(
            "end_at_step",
            default=10000,
            min=0,
            max=10000,
            tooltip="The step to stop before. A number beyond the last step runs to the end.",
        ),
        io.Combo.Input(
            "return_with_leftover_noise",
            options=["disable", "enable"],
            tooltip="If the run stops early. disable: the last step goes all the way to the "
            "image. enable: the remaining noise stays in the latent for the next sampler, except "
            "where a mask keeps the image.",
        ),
        class_label_input(),
    ]


class SamplerPartNode(SamplerNode):
    """The part that all advanced sampler nodes share."""

    RUN = staticmethod(sample_part)


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
            description="Runs part of the steps of PNDM. Each part has its own warm-up, so two "
            f"parts differ slightly from a whole run. {_LEFTOVER}",
            search_aliases=["f-pndm", "ksampler advanced", "leftover noise", "plms"],
            inputs=[
                *_first_inputs(50),
                method_input(),
                convention_input(),
                *_last_inputs(),
                spacing_input(),
                noise_input(),
            ],
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
            description="Runs part of the steps of DDPM. Two parts with the same seed give the "
            f"same image as a whole run. {_LEFTOVER}",
            search_aliases=["ancestral", "ksampler advanced", "leftover noise"],
            inputs=[*_first_inputs(1000), variance_type_input(), *_last_inputs(), noise_input()],
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
            description="Runs part of the steps of DDIM. Two parts with the same seed give the "
            f"same image as a whole run. {_LEFTOVER}",
            search_aliases=["ksampler advanced", "leftover noise"],
            inputs=[
                *_first_inputs(50),
                eta_input(),
                *_last_inputs(),
                spacing_input(),
                noise_input(),
            ],
            outputs=latent_output(),
            **REPORTS,
        )
