"""The inputs that several samplers have, written once."""

from typing import Any, get_args

from comfy_api.latest import io

from ..schedulers.config import VarianceType
from ..schedulers.pndm import Method
from ..schedulers.pndm_grid import Convention

CATEGORY = "unconditional"


def model_input() -> Any:
    """The first input of each sampler."""
    return io.Model.Input("model", tooltip="From Load Unconditional UNet.")


def seed_input(
    tooltip: str = "Image k of the batch has the seed seed + k and is the same alone or in any "
    "batch. Seeds repeat every 2^32, as torch's CPU generator does.",
) -> Any:
    """The seed of the first image."""
    return io.Int.Input(
        "seed",
        default=0,
        min=0,
        max=2**64 - 1,
        control_after_generate=True,
        tooltip=tooltip,
    )


def steps_input(default: int, tooltip: str) -> Any:
    """The number of steps."""
    return io.Int.Input("steps", default=default, min=1, max=10000, tooltip=tooltip)


def batch_size_input() -> Any:
    """The number of images, where no latent says it."""
    return io.Int.Input(
        "batch_size", default=1, min=1, max=4096, tooltip="How many images, at once."
    )


def method_input() -> Any:
    """Which PNDM."""
    return io.Combo.Input(
        "method",
        options=list(get_args(Method)),
        tooltip="F-PNDM: Runge-Kutta warm-up, then fourth order; the best from 20 steps on. "
        "S-PNDM: second order, robust with few steps. PLMS: fourth order without Runge-Kutta. "
        "FON: the classical fourth-order method, for comparison. "
        "Wins over skip_prk_steps in the model's file.",
    )


def convention_input() -> Any:
    """Whose timesteps PNDM visits."""
    return io.Combo.Input(
        "convention",
        options=list(get_args(Convention)),
        tooltip="Which timesteps are visited: those of diffusers' PNDMPipeline, or those of the "
        "paper's authors (who ignore timestep_spacing, steps_offset and set_alpha_to_one). The "
        "same seed gives different images.",
    )


def variance_type_input() -> Any:
    """How much noise DDPM adds."""
    return io.Combo.Input(
        "variance_type",
        options=["model", *get_args(VarianceType)],
        tooltip="How much noise each step adds. model: what the model's scheduler_config.json "
        "says; anything else wins over it. The learned types need a model that predicts its "
        "variance.",
    )


def eta_input() -> Any:
    """How much noise DDIM adds."""
    return io.Float.Input(
        "eta",
        default=0.0,
        min=0.0,
        max=1.0,
        step=0.01,
        tooltip="Fresh noise in each step: 0 is none (the seed alone decides), 1 is as much as "
        "DDPM.",
    )


def class_label_input() -> Any:
    """Which class; optional, so that older workflows go on working."""
    return io.Int.Input(
        "class_label",
        default=-1,
        min=-1,
        max=2**31 - 1,
        optional=True,
        tooltip="Which class of image to make, counted from 0, where the model was trained with "
        "classes; all images of the batch are of it. -1 for the many models without classes.",
    )


def image_to_image_inputs() -> list[Any]:
    """An image to begin with; optional and last, so that older workflows go on working."""
    return [
        io.Latent.Input(
            "latent",
            optional=True,
            tooltip="Sets size and batch instead of batch_size, and the image that denoise below 1 "
            "begins with. Where it has a mask, what is not masked stays as it is. Image k has the "
            "seed seed + batch_index[k].",
        ),
        io.Float.Input(
            "denoise",
            default=1.0,
            min=0.0,
            max=1.0,
            step=0.01,
            optional=True,
            tooltip="1 begins with noise alone. Below, the images in latent are noised only so "
            "far, and the steps run from there: 0.5 begins half way. Where fewer timesteps than "
            "steps lie there, all of them run.",
        ),
    ]


def latent_output() -> list[Any]:
    """What each sampler gives."""
    return [io.Latent.Output(tooltip="The images in the model's own range, for Image Output.")]
