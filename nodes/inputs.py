"""The inputs that several samplers have, written once."""

from collections.abc import Callable
from functools import partial
from typing import Any, get_args

from comfy_api.latest import io

from ..schedulers.config import SchedulerConfig, VarianceType
from ..schedulers.ddim import DDIM
from ..schedulers.ddpm import DDPM
from ..schedulers.errors import check_choice
from ..schedulers.pndm import PNDM, Method
from ..schedulers.pndm_grid import Convention
from ..schedulers.sampler import ScheduleSampler
from ..schedulers.span import Stretch
from ..schedulers.timesteps import Spacing

CATEGORY = "unconditional"
_SAMPLERS: dict[str, tuple[type[ScheduleSampler], dict[str, Any]]] = {
    **{method: (PNDM, {"method": method}) for method in ("F-PNDM", "S-PNDM", "PLMS", "FON")},
    "DDIM": (DDIM, {}),
    "DDPM": (DDPM, {}),
    "iPNDM_v": (PNDM, {"method": "iPNDM_v"}),
}
SPACINGS = ("model", *get_args(Spacing))


def model_input() -> Any:
    """The first input of each sampler."""
    return io.Model.Input("model", tooltip="A model from Load Unconditional UNet.")


def seed_input(
    tooltip: str = "The seed of the first image. Image k uses seed + k, and is the same alone or "
    "in any batch. Seeds repeat every 2^32.",
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
    """The number of images, if no latent sets it."""
    return io.Int.Input(
        "batch_size",
        default=1,
        min=1,
        max=4096,
        tooltip="The number of images to generate at once.",
    )


def method_input() -> Any:
    """Which PNDM."""
    return io.Combo.Input(
        "method",
        options=list(get_args(Method)),
        tooltip="F-PNDM: Runge-Kutta warm-up, then fourth order, as diffusers' PNDMPipeline. "
        "S-PNDM: second order. PLMS: fourth order without Runge-Kutta. FON: the classical "
        "fourth-order method, for comparison. iPNDM_v: fourth order without a warm-up, for uneven "
        "steps; with the spacing power or optimised it needs the fewest, 5 to 20. Overrides the "
        "model's skip_prk_steps.",
    )


def convention_input() -> Any:
    """Whose timesteps PNDM visits."""
    return io.Combo.Input(
        "convention",
        options=list(get_args(Convention)),
        tooltip="Which timesteps to visit: those of diffusers' PNDMPipeline, or those of the "
        "paper's authors, which ignore the model's timestep_spacing, steps_offset and "
        "set_alpha_to_one. The same seed gives different images.",
        advanced=True,
    )


def sampler_input() -> Any:
    """Which of the samplers, with the usual settings."""
    return io.Combo.Input(
        "sampler",
        options=list(_SAMPLERS),
        tooltip="F-PNDM, S-PNDM, PLMS, FON and iPNDM_v are the methods of PNDM Sampler, in "
        "diffusers' convention. DDIM is DDIM Sampler with eta 0. DDPM is DDPM Sampler with the "
        "model's own variance type. The final image is the same as theirs.",
    )


def sampler_maker(
    name: str, config: SchedulerConfig, spacing: Any
) -> Callable[[Stretch], ScheduleSampler]:
    """Return a function that makes the sampler chosen in ``sampler_input`` for some steps."""
    check_choice("sampler", name, _SAMPLERS)
    kind, settings = _SAMPLERS[name]
    return partial(kind.over, config, spacing=chosen_spacing(spacing), **settings)


def variance_type_input() -> Any:
    """How much noise DDPM adds."""
    return io.Combo.Input(
        "variance_type",
        options=["model", *get_args(VarianceType)],
        tooltip="How much noise each step adds. 'model' uses scheduler_config.json; any "
        "other choice overrides it. The learned types need a model that predicts its variance.",
    )


def eta_input() -> Any:
    """How much noise DDIM adds."""
    return io.Float.Input(
        "eta",
        default=0.0,
        min=0.0,
        max=1.0,
        step=0.01,
        tooltip="How much new noise each step adds. 0 adds none, so the result depends only on the "
        "seed; 1 adds as much as DDPM.",
    )


def spacing_input() -> Any:
    """Which timesteps a sampler visits; optional and last, so that older workflows keep working."""
    return io.Combo.Input(
        "spacing",
        options=list(SPACINGS),
        optional=True,
        tooltip="Which timesteps to visit. 'model' uses the model's file. power: steps that become "
        "shorter towards the image, for runs of 8 to 30 steps. optimised: those that Optimise "
        "Timesteps found for this model, for 4 to 20 steps. The others are diffusers'.",
    )


def chosen_spacing(spacing: Any) -> Spacing | None:
    """Return the spacing that a user chose; None means the model's own."""
    check_choice("spacing", spacing, SPACINGS)
    return None if spacing == "model" else spacing


def class_label_input() -> Any:
    """Which class; optional, so that older workflows keep working."""
    return io.Int.Input(
        "class_label",
        default=-1,
        min=-1,
        max=2**31 - 1,
        optional=True,
        tooltip="For a model trained with classes: the class of all images in the batch, counted "
        "from 0. Leave at -1 for a model without classes.",
        advanced=True,
    )


def image_to_image_inputs() -> list[Any]:
    """An image to start from; optional and last, so that older workflows keep working."""
    return [
        io.Latent.Input(
            "latent",
            optional=True,
            tooltip="Sets the size and the number of images instead of batch_size. With denoise "
            "below 1 it is the starting image. With a mask, only the masked part changes. Image k "
            "uses seed + batch_index[k].",
        ),
        io.Float.Input(
            "denoise",
            default=1.0,
            min=0.0,
            max=1.0,
            step=0.01,
            optional=True,
            tooltip="1 starts from pure noise. Below 1, the images in latent are partly noised and "
            "the steps run from there: 0.5 starts half-way. If fewer timesteps than steps remain, "
            "all of them run.",
        ),
    ]


def noise_input() -> Any:
    """Noise to start from; optional and last, so that older workflows keep working."""
    return io.MultiType.Input(
        "noise",
        [io.Noise, io.Latent],
        optional=True,
        tooltip="The noise to start from, instead of the seed's: NOISE from any node, or a LATENT "
        "of noise from Invert. Several noises set the number of images. Noise that a "
        "sampler adds in its steps still comes from the seed.",
    )


def latent_output() -> list[Any]:
    """The output of each sampler."""
    return [io.Latent.Output(tooltip="The images in the model's own range, for Image Output.")]
