"""From NOISE to NOISE: mixed, walked through, shifted."""

from typing import Any, get_args

from comfy_api.latest import io

from ..host.composed_noise import MixedNoise, NoiseWalk, ShiftedNoise, as_noise
from ..host.noise import ImageNoise
from ..schedulers.errors import check_choice
from ..schedulers.mixing import Ease, Loop
from .inputs import CATEGORY, seed_input

_MOST_FRAMES = 4096


class UnconditionalMixNoise(io.ComfyNode):
    """Mix Noise."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UnconditionalMixNoise",
            display_name="Mix Noise",
            category=CATEGORY,
            description="Varies a picture: mixes its noise with other noise. The more of the other "
            "noise, the more the picture changes. Connect it to a sampler's noise.",
            search_aliases=["interpolate", "slerp", "subseed", "variation seed", "variations"],
            inputs=[
                seed_input(
                    "The seed of the picture to vary. All images of a batch are variations of it. "
                    "It has no effect if noise is connected."
                ),
                io.Int.Input(
                    "variation_seed",
                    default=0,
                    min=0,
                    max=2**64 - 1,
                    tooltip="The seed of the other noise. Image k uses variation_seed + k. It has "
                    "no effect if variation is connected.",
                ),
                io.Float.Input(
                    "strength",
                    default=0.2,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="How much of the other noise to mix in. 0 is the picture itself, 1 the "
                    "other one; use 0.1 to 0.3 for variations.",
                ),
                _noise_input(
                    "noise",
                    "The noise to vary, for example from Invert. A single one is used for all "
                    "images of a batch.",
                ),
                _noise_input("variation", "The other noise. A single one is used for all images."),
            ],
            outputs=[_noise_output()],
        )

    @classmethod
    def execute(
        cls,
        seed: int,
        variation_seed: int,
        strength: float,
        noise: Any = None,
        variation: Any = None,
    ) -> io.NodeOutput:
        first = ImageNoise(seed) if noise is None else as_noise(noise)
        second = ImageNoise(variation_seed) if variation is None else as_noise(variation)
        return io.NodeOutput(MixedNoise(first, second, strength, one_first=noise is None))


class UnconditionalNoiseWalk(io.ComfyNode):
    """Noise Walk."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UnconditionalNoiseWalk",
            display_name="Noise Walk",
            category=CATEGORY,
            description="Makes a looping film: a walk through several noises and back to the "
            "first. Connect it to a sampler's noise, and the sampler to Image Output with "
            "animated webp. DDIM and PNDM make smooth films.",
            search_aliases=["animation", "interpolation", "latent walk", "loop", "slerp", "video"],
            inputs=[
                seed_input(
                    "The seed of the first key picture. Key k has seed + k. It has no effect if "
                    "noise is connected."
                ),
                io.Int.Input(
                    "keys",
                    default=4,
                    min=2,
                    max=_MOST_FRAMES,
                    tooltip="The number of pictures that the walk passes through. In a LATENT of "
                    "noise with several images, each image is a key.",
                ),
                io.Int.Input(
                    "frames",
                    default=48,
                    min=2,
                    max=_MOST_FRAMES,
                    tooltip="The length of the film, and the number of images that the sampler "
                    "draws. After the last frame comes the first again.",
                ),
                io.Combo.Input(
                    "ease",
                    options=list(get_args(Ease)),
                    tooltip="smooth: slow at the keys and faster between them. even: always at "
                    "the same speed.",
                ),
                _noise_input(
                    "noise", "The keys, for example several pictures from Invert as one batch."
                ),
            ],
            outputs=[_noise_output()],
        )

    @classmethod
    def execute(
        cls, seed: int, keys: int, frames: int, ease: Any, noise: Any = None
    ) -> io.NodeOutput:
        check_choice("ease", ease, get_args(Ease))
        held = ImageNoise(seed) if noise is None else as_noise(noise)
        return io.NodeOutput(NoiseWalk(held, Loop(held.count or keys, frames, ease)))


class UnconditionalShiftNoise(io.ComfyNode):
    """Shift Noise."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UnconditionalShiftNoise",
            display_name="Shift Noise",
            category=CATEGORY,
            description="Rolls noise: values that leave it at one edge enter at the opposite "
            "one. With Seamless Tiling the picture moves with it; without, you get another "
            "picture.",
            search_aliases=["offset", "roll", "scroll", "translate"],
            inputs=[
                seed_input("The seed of the first image. It has no effect if noise is connected."),
                _shift("x", "to the right"),
                _shift("y", "down"),
                _noise_input("noise", "The noise to shift."),
            ],
            outputs=[_noise_output()],
        )

    @classmethod
    def execute(cls, seed: int, x: int, y: int, noise: Any = None) -> io.NodeOutput:
        held = ImageNoise(seed) if noise is None else as_noise(noise)
        return io.NodeOutput(ShiftedNoise(held, x, y))


def _noise_input(name: str, tooltip: str) -> Any:
    return io.MultiType.Input(
        name,
        [io.Noise, io.Latent],
        optional=True,
        tooltip=f"{tooltip} NOISE from any node, or a LATENT of noise.",
    )


def _noise_output() -> Any:
    return io.Noise.Output(
        tooltip="For the noise input of this pack's samplers, SamplerCustomAdvanced, or another "
        "noise node."
    )


def _shift(name: str, where: str) -> Any:
    return io.Int.Input(
        name,
        default=0,
        min=-16384,
        max=16384,
        tooltip=f"How far {where}, in pixels. Multiples of the network's coarsest pixel (4 for "
        "digits-16, 8 for deep-field) move a seamless picture exactly.",
    )
