"""From a MODEL to LATENTs and an IMAGE: how an image appears."""

from typing import Any

from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io

from ..host.our_model import own_schedule, unconditional_model
from ..host.run_report import REPORTS
from ..host.sampling import sample
from ..host.trajectory import TrajectoryRecorder, check_memory
from ..pictures.images import latent_to_image, to_rgb
from ..schedulers.errors import ScheduleError, check_choice
from ..schedulers.span import Stretch
from .inputs import (
    CATEGORY,
    batch_size_input,
    class_label_input,
    model_input,
    sampler_input,
    sampler_maker,
    seed_input,
    spacing_input,
    steps_input,
)

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
            **REPORTS,
            inputs=[
                model_input(),
                seed_input(),
                steps_input(
                    50,
                    "Steps through the schedule: about 50 for PNDM and DDIM, 250 to 1000 for DDPM.",
                ),
                batch_size_input(),
                sampler_input(),
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
                spacing_input(),
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
        spacing: str = "model",
    ) -> io.NodeOutput:
        _check(show, every)
        make_sampler = sampler_maker(sampler, own_schedule(model), spacing)
        recorder = TrajectoryRecorder(show, every, make_sampler(Stretch(steps)).evaluations)
        config = unconditional_model(model).unet_config
        check_memory(recorder.frames, batch_size, config.in_channels, *config.size)
        final, report = sample(
            model,
            make_sampler,
            seed=seed,
            steps=steps,
            batch_size=batch_size,
            class_label=class_label,
            spacing=spacing,
            on_evaluation=recorder,
        )
        trajectory = recorder.finish(final)
        frames = to_rgb(latent_to_image(trajectory["samples"]))
        return io.NodeOutput(final, trajectory, frames, ui=report)


def _check(show: str, every: int) -> None:
    """Raise ``ScheduleError`` for values that no widget offers."""
    check_choice("show", show, _SHOWN)
    if not 1 <= every <= _MOST:
        raise ScheduleError(f"every must be from 1 to {_MOST} evaluations, not {every}.")
