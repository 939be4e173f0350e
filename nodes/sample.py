"""From a MODEL to a LATENT: the three samplers."""

from collections.abc import Callable
from typing import Any, ClassVar

from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io

from ..host.our_model import own_schedule
from ..host.page import Ui
from ..host.run_report import REPORTS
from ..host.sampling import sample
from ..schedulers.ddim import DDIM
from ..schedulers.ddpm import DDPM
from ..schedulers.pndm import PNDM
from ..schedulers.sampler import Sampler, ScheduleSampler
from ..schedulers.span import Stretch
from .inputs import (
    CATEGORY,
    batch_size_input,
    chosen_spacing,
    class_label_input,
    convention_input,
    eta_input,
    image_to_image_inputs,
    latent_output,
    method_input,
    model_input,
    noise_input,
    seed_input,
    spacing_input,
    steps_input,
    variance_type_input,
)


class SamplerNode(io.ComfyNode):
    """The part that all sampler nodes share: how their inputs become a sampler."""

    SAMPLER: ClassVar[type[ScheduleSampler]]
    SETTINGS: ClassVar[tuple[str, ...]]
    """The inputs that are the sampler's own settings; "model" means the one in the model's file."""
    RUN: ClassVar[Callable[..., tuple[dict[str, Any], Ui]]] = staticmethod(sample)

    @classmethod
    def sampler_of(
        cls, model: ModelPatcher, inputs: dict[str, Any], spacing: Any
    ) -> Callable[[Stretch], Sampler]:
        """Take the settings out of ``inputs``; return a function that makes a sampler for steps."""
        config, own = own_schedule(model), chosen_spacing(spacing)
        chosen = {name: inputs.pop(name) for name in cls.SETTINGS}
        settings = {name: None if value == "model" else value for name, value in chosen.items()}
        return lambda stretch: cls.SAMPLER.over(config, stretch, own, **settings)

    @classmethod
    def execute(
        cls, model: ModelPatcher, class_label: int = -1, spacing: str = "model", **inputs: Any
    ) -> io.NodeOutput:
        make_sampler = cls.sampler_of(model, inputs, spacing)
        latent, report = cls.RUN(
            model, make_sampler, class_label=class_label, spacing=spacing, **inputs
        )
        return io.NodeOutput(latent, ui=report)


class UnconditionalPNDMSampler(SamplerNode):
    """PNDM Sampler."""

    SAMPLER = PNDM
    SETTINGS = ("method", "convention")

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UnconditionalPNDMSampler",
            display_name="PNDM Sampler",
            category=CATEGORY,
            description="Samples with a pseudo numerical method (Liu et al., ICLR 2022). About 50 "
            "steps do the work of DDPM's 1000. Deterministic for a given seed.",
            search_aliases=["diffusers", "f-pndm", "pixel diffusion", "plms", "unconditional"],
            inputs=[
                model_input(),
                seed_input(),
                steps_input(
                    50,
                    "Steps through the schedule. 50 is plenty. Below 20, set method to iPNDM_v and "
                    "spacing to power. With the model's own spacing, numbers that divide its "
                    "training steps (1000) work best. F-PNDM's warm-up takes up to 9 more "
                    "evaluations.",
                ),
                batch_size_input(),
                method_input(),
                convention_input(),
                class_label_input(),
                *image_to_image_inputs(),
                spacing_input(),
                noise_input(),
            ],
            outputs=latent_output(),
            **REPORTS,
        )


class UnconditionalDDPMSampler(SamplerNode):
    """DDPM Sampler."""

    SAMPLER = DDPM
    SETTINGS = ("variance_type",)

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UnconditionalDDPMSampler",
            display_name="DDPM Sampler",
            category=CATEGORY,
            description="Samples with the original method, ancestral sampling (Ho et al., 2020), "
            "which adds new noise in each step.",
            search_aliases=["ancestral", "diffusers", "pixel diffusion", "unconditional"],
            inputs=[
                model_input(),
                seed_input(),
                steps_input(
                    1000,
                    "Steps through the schedule, one evaluation each. All of the model's training "
                    "steps (1000) are best; with fewer than about 250, images lose detail.",
                ),
                batch_size_input(),
                variance_type_input(),
                class_label_input(),
                *image_to_image_inputs(),
                noise_input(),
            ],
            outputs=latent_output(),
            **REPORTS,
        )


class UnconditionalDDIMSampler(SamplerNode):
    """DDIM Sampler."""

    SAMPLER = DDIM
    SETTINGS = ("eta",)

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UnconditionalDDIMSampler",
            display_name="DDIM Sampler",
            category=CATEGORY,
            description="Samples with DDIM (Song et al., 2021) in few steps. Deterministic for a "
            "given seed at eta 0.",
            search_aliases=["diffusers", "pixel diffusion", "unconditional"],
            inputs=[
                model_input(),
                seed_input(),
                steps_input(
                    50, "Steps through the schedule, one evaluation each. 50 to 100 are usual."
                ),
                batch_size_input(),
                eta_input(),
                class_label_input(),
                *image_to_image_inputs(),
                spacing_input(),
                noise_input(),
            ],
            outputs=latent_output(),
            **REPORTS,
        )
