"""From a MODEL to a LATENT: the three samplers."""

from typing import Any

from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io

from ..host.model import own_schedule
from ..host.run_report import TELLS
from .inputs import (
    CATEGORY,
    batch_size_input,
    class_label_input,
    convention_input,
    eta_input,
    image_to_image_inputs,
    latent_output,
    method_input,
    model_input,
    seed_input,
    steps_input,
    variance_type_input,
)
from .recipes import ddim, ddpm, pndm, sample


class UnconditionalPNDMSampler(io.ComfyNode):
    """PNDM Sampler."""

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
                    "Steps through the schedule. 50 is plenty; 10 to 20 are often enough. Numbers "
                    "that divide the model's training steps (1000) work best. F-PNDM's warm-up "
                    "takes up to 9 more evaluations.",
                ),
                batch_size_input(),
                method_input(),
                convention_input(),
                class_label_input(),
                *image_to_image_inputs(),
            ],
            outputs=latent_output(),
            **TELLS,
        )

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        seed: int,
        steps: int,
        batch_size: int,
        method: Any,
        convention: Any,
        class_label: int = -1,
        latent: dict[str, Any] | None = None,
        denoise: float = 1.0,
    ) -> io.NodeOutput:
        return sample(
            model,
            pndm(own_schedule(model), method, convention),
            seed=seed,
            steps=steps,
            batch_size=batch_size,
            class_label=class_label,
            latent=latent,
            denoise=denoise,
        )


class UnconditionalDDPMSampler(io.ComfyNode):
    """DDPM Sampler."""

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
            ],
            outputs=latent_output(),
            **TELLS,
        )

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        seed: int,
        steps: int,
        batch_size: int,
        variance_type: Any,
        class_label: int = -1,
        latent: dict[str, Any] | None = None,
        denoise: float = 1.0,
    ) -> io.NodeOutput:
        return sample(
            model,
            ddpm(own_schedule(model), variance_type),
            seed=seed,
            steps=steps,
            batch_size=batch_size,
            class_label=class_label,
            latent=latent,
            denoise=denoise,
        )


class UnconditionalDDIMSampler(io.ComfyNode):
    """DDIM Sampler."""

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
            ],
            outputs=latent_output(),
            **TELLS,
        )

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        seed: int,
        steps: int,
        batch_size: int,
        eta: float,
        class_label: int = -1,
        latent: dict[str, Any] | None = None,
        denoise: float = 1.0,
    ) -> io.NodeOutput:
        return sample(
            model,
            ddim(own_schedule(model), eta),
            seed=seed,
            steps=steps,
            batch_size=batch_size,
            class_label=class_label,
            latent=latent,
            denoise=denoise,
        )
