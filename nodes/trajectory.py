"""From a MODEL to LATENTs and an IMAGE: how an image appears."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io

from ..host.model import own_schedule, unconditional_model
from ..host.run_report import TELLS
from ..host.trajectory import TrajectoryRecorder, check_memory
from ..pictures.images import latent_to_image, to_rgb
from ..schedulers.config import SchedulerConfig
from ..schedulers.errors import ScheduleError, check_choice
from ..schedulers.run import Stretch
from .inputs import (
    CATEGORY,
    batch_size_input,
    class_label_input,
    model_input,
    seed_input,
    steps_input,
)
from .recipes import Recipe, ddim, ddpm, pndm, sample

_SAMPLERS: dict[str, Callable[[SchedulerConfig], Recipe]] = {
    "F-PNDM": lambda config: pndm(config, "F-PNDM", "diffusers"),
    "S-PNDM": lambda config: pndm(config, "S-PNDM", "diffusers"),
    "PLMS": lambda config: pndm(config, "PLMS", "diffusers"),
    "FON": lambda config: pndm(config, "FON", "diffusers"),
    "DDIM": lambda config: ddim(config, 0.0),
    "DDPM": lambda config: ddpm(config, "model"),
}
_SHOWN = ("x0", "x_t")
_MOST = 10000


class UnconditionalTrajectory(io.ComfyNode):
    """Trajectory."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UnconditionalTrajectory",
            display_name="Trajectory",
            category=CATEGORY,
            description="Samples and records the images between noise and result (progressive "
            "generation, Ho et al., 2020). Image Output turns them into a grid or an animation.",
            search_aliases=["ddim", "ddpm", "intermediate steps", "pndm", "progressive generation"],
            **TELLS,
            inputs=[
                model_input(),
                seed_input(),
                steps_input(
                    50,
                    "Steps through the schedule: about 50 for PNDM and DDIM, 250 to 1000 for DDPM.",
                ),
                batch_size_input(),
                io.Combo.Input(
                    "sampler",
                    options=list(_SAMPLERS),
                    tooltip="F-PNDM, S-PNDM, PLMS and FON are the methods of PNDM Sampler, at "
                    "diffusers' timesteps. DDIM is DDIM Sampler with eta 0. DDPM is DDPM Sampler "
                    "with the model's own variance type. The final image is the same as theirs.",
                ),
                io.Combo.Input(
                    "show",
                    options=list(_SHOWN),
                    tooltip="x0: the image that the network predicts at each step, from blurred to "
                    "sharp. x_t: the network's input, from noise to image.",
                ),
                io.Int.Input(
                    "every",
                    default=5,
                    min=1,
                    max=_MOST,
                    tooltip="Records the first evaluation of the network and then every nth; the "
                    "final image comes last. 50 evaluations with every 5 give 11 frames.",
                ),
                class_label_input(),
            ],
            outputs=[
                io.Latent.Output(
                    id="LATENT",
                    display_name="LATENT",
                    tooltip="The final images, the same as those of the sampler's own node.",
                ),
                io.Latent.Output(
                    id="trajectory",
                    display_name="trajectory",
                    tooltip="All frames of the first image, then those of the second, and so on, "
                    "for Image Output. The last frame of each is its final image.",
                ),
                io.Image.Output(
                    id="frames",
                    display_name="frames",
                    tooltip="The trajectory as RGB, at the model's size.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        seed: int,
        steps: int,
        batch_size: int,
        sampler: str,
        show: Any,
        every: int,
        class_label: int = -1,
    ) -> io.NodeOutput:
        check_choice("sampler", sampler, _SAMPLERS)
        check_choice("show", show, _SHOWN)
        if not 1 <= every <= _MOST:
            raise ScheduleError(f"every must be from 1 to {_MOST} evaluations, not {every}.")

        recipe = _SAMPLERS[sampler](own_schedule(model))
        config = unconditional_model(model).unet_config
        recorder = TrajectoryRecorder(show, every, recipe.make_run(Stretch(steps)).evaluations)
        check_memory(recorder.frames, batch_size, config.in_channels, *config.size)

        sampled = sample(
            model,
            replace(recipe, make_run=lambda stretch: recorder.watch(recipe.make_run(stretch))),
            seed=seed,
            steps=steps,
            batch_size=batch_size,
            class_label=class_label,
        )
        final = sampled.args[0]
        trajectory = recorder.finish(final)
        frames = to_rgb(latent_to_image(trajectory["samples"]))
        return io.NodeOutput(final, trajectory, frames, ui=sampled.ui)
