"""From a MODEL to a MODEL with another noise schedule."""

from typing import Any, get_args

from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io

from ..host.model import own_schedule, with_schedule
from ..schedulers.config import BetaSchedule, PredictionType, TimestepSpacing
from ..schedulers.errors import check_choice

_KEEP = "model"
_KEEP_NUMBER = -1
_SWITCH = (_KEEP, "true", "false")


def _choice(name: str, options: Any, tooltip: str) -> Any:
    return io.Combo.Input(name, options=[_KEEP, *get_args(options)], tooltip=tooltip)


def _switch(name: str, tooltip: str) -> Any:
    return io.Combo.Input(name, options=list(_SWITCH), tooltip=tooltip)


def _number(name: str, most: float, step: float, tooltip: str) -> Any:
    return io.Float.Input(
        name,
        default=_KEEP_NUMBER,
        min=_KEEP_NUMBER,
        max=most,
        step=step,
        round=False,
        tooltip=f"{tooltip} -1: as the model has it.",
    )


def _whole(name: str, most: int, tooltip: str) -> Any:
    return io.Int.Input(
        name,
        default=_KEEP_NUMBER,
        min=_KEEP_NUMBER,
        max=most,
        tooltip=f"{tooltip} -1: as the model has it.",
    )


class UnconditionalNoiseSchedule(io.ComfyNode):
    """Noise Schedule."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UnconditionalNoiseSchedule",
            display_name="Noise Schedule",
            category="unconditional",
            description="Changes the scheduler options of a model of this pack, for its samplers "
            "and ComfyUI's: for a model whose scheduler_config.json is missing or wrong, or to try "
            "another. 'model' and -1 keep what the model has.",
            inputs=[
                io.Model.Input("model", tooltip="From Load Unconditional UNet; it is not changed."),
                _whole(
                    "num_train_timesteps", 1_000_000, "T, the number of steps it was trained with."
                ),
                _choice(
                    "beta_schedule", BetaSchedule, "How noise grows from step to step in training."
                ),
                _number("beta_start", 1.0, 0.0001, "Variance of the first training step."),
                _number("beta_end", 1.0, 0.001, "Variance of the last training step."),
                _choice(
                    "prediction_type",
                    PredictionType,
                    "What the network was trained to predict. A wrong one gives noise.",
                ),
                _choice("timestep_spacing", TimestepSpacing, "Which timesteps the steps visit."),
                _whole("steps_offset", 1000, "Added to each timestep of the leading spacing."),
                _switch(
                    "set_alpha_to_one",
                    "Whether the last step ends at the clean image instead of at the least noise.",
                ),
                _switch(
                    "clip_sample",
                    "Whether DDPM and DDIM keep each predicted image within its range.",
                ),
                _number("clip_sample_range", 1000.0, 0.1, "That range, to both sides of 0."),
                _switch(
                    "thresholding",
                    "Whether DDPM and DDIM scale each predicted image into its range instead.",
                ),
                _switch(
                    "rescale_betas_zero_snr",
                    "Whether the last training step is pure noise (Lin et al., 2024); for "
                    "v_prediction.",
                ),
                _number(
                    "timestep_scale",
                    1000.0,
                    0.05,
                    "What the network is told is t times this: 0.25 for one that was trained with "
                    "4000 steps and expects t * 1000 / 4000.",
                ),
            ],
            outputs=[io.Model.Output(tooltip="The model with this schedule.")],
        )

    @classmethod
    def execute(cls, model: ModelPatcher, **options: Any) -> io.NodeOutput:
        changes = {
            name: value == "true" if name in _SWITCHES else value
            for name, value in options.items()
            if value not in (_KEEP, _KEEP_NUMBER)
        }
        for name in _SWITCHES & options.keys():
            check_choice(name, options[name], _SWITCH)
        return io.NodeOutput(with_schedule(model, own_schedule(model).changed(**changes)))


_SWITCHES = {"set_alpha_to_one", "clip_sample", "thresholding", "rescale_betas_zero_snr"}
