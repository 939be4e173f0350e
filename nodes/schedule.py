"""From a MODEL to a MODEL with a different noise schedule."""

from typing import Any, get_args

from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io

from ..host.our_model import own_schedule, with_schedule
from ..schedulers.config import PRESETS, BetaSchedule, PredictionType, TimestepSpacing
from ..schedulers.errors import check_choice

_KEEP = "model"
_KEEP_NUMBER = -1
_SWITCH = (_KEEP, "true", "false")


def _choice(name: str, options: Any, tooltip: str) -> Any:
    return io.Combo.Input(name, options=[_KEEP, *get_args(options)], tooltip=tooltip)


def _switch(name: str, tooltip: str, *, advanced: bool = False) -> Any:
    return io.Combo.Input(name, options=list(_SWITCH), tooltip=tooltip, advanced=advanced)


def _number(name: str, maximum: float, step: float, tooltip: str, *, advanced: bool = False) -> Any:
    return io.Float.Input(
        name,
        default=_KEEP_NUMBER,
        min=_KEEP_NUMBER,
        max=maximum,
        step=step,
        round=False,
        tooltip=f"{tooltip} -1 keeps the model's value.",
        advanced=advanced,
    )


def _whole(name: str, maximum: int, tooltip: str, *, advanced: bool = False) -> Any:
    return io.Int.Input(
        name,
        default=_KEEP_NUMBER,
        min=_KEEP_NUMBER,
        max=maximum,
        tooltip=f"{tooltip} -1 keeps the model's value.",
        advanced=advanced,
    )


class UnconditionalNoiseSchedule(io.ComfyNode):
    """Noise Schedule."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UnconditionalNoiseSchedule",
            display_name="Noise Schedule",
            category="unconditional",
            description="Changes a model's scheduler options, for this pack's samplers and "
            "ComfyUI's. Use it if scheduler_config.json is missing or wrong, or to try other "
            "options. 'model' and -1 keep the model's value.",
            search_aliases=["beta schedule", "diffusers", "prediction type", "scheduler config"],
            inputs=[
                io.Model.Input("model", tooltip="From Load Unconditional UNet. It is not changed."),
                _whole(
                    "num_train_timesteps", 1_000_000, "T, the number of steps used in training."
                ),
                _choice(
                    "beta_schedule",
                    BetaSchedule,
                    "How the noise increases over the training steps.",
                ),
                _number("beta_start", 1.0, 0.0001, "The variance of the first training step."),
                _number("beta_end", 1.0, 0.001, "The variance of the last training step."),
                _choice(
                    "prediction_type",
                    PredictionType,
                    "What the network was trained to predict. A wrong choice gives noise.",
                ),
                _choice("timestep_spacing", TimestepSpacing, "Which timesteps the sampler visits."),
                _whole(
                    "steps_offset",
                    1000,
                    "Added to each timestep of the leading spacing.",
                    advanced=True,
                ),
                _switch(
                    "set_alpha_to_one",
                    "Whether the last step ends at the clean image instead of the lowest noise "
                    "level.",
                    advanced=True,
                ),
                _switch(
                    "clip_sample",
                    "Whether DDPM and DDIM clip each predicted image to clip_sample_range.",
                ),
                _number(
                    "clip_sample_range",
                    1000.0,
                    0.1,
                    "The maximum absolute value of a predicted image.",
                    advanced=True,
                ),
                _switch(
                    "thresholding",
                    "Whether DDPM and DDIM scale each predicted image into the range instead of "
                    "clipping it (dynamic thresholding).",
                    advanced=True,
                ),
                _switch(
                    "rescale_betas_zero_snr",
                    "Whether the last training step is pure noise (Lin et al., 2024). For "
                    "v_prediction.",
                    advanced=True,
                ),
                _number(
                    "timestep_scale",
                    1000.0,
                    0.05,
                    "The network receives t times this value. Use 0.25 for a network that was "
                    "trained with 4000 steps and expects t * 1000 / 4000.",
                    advanced=True,
                ),
                io.Combo.Input(
                    "preset",
                    options=list(PRESETS),
                    optional=True,
                    tooltip="dark or bright pictures: for a model whose pictures are mostly "
                    "dark or bright and come out too grey. Starts at the last timestep "
                    "(trailing) and does not clip. Options that you set above take precedence.",
                ),
            ],
            outputs=[io.Model.Output(tooltip="The model with this schedule.")],
        )

    @classmethod
    def execute(cls, model: ModelPatcher, preset: str = "none", **options: Any) -> io.NodeOutput:
        check_choice("preset", preset, PRESETS)
        changes = PRESETS[preset] | {
            name: value == "true" if name in _SWITCHES else value
            for name, value in options.items()
            if value not in (_KEEP, _KEEP_NUMBER)
        }
        for name in _SWITCHES & options.keys():
            check_choice(name, options[name], _SWITCH)
        return io.NodeOutput(with_schedule(model, own_schedule(model).changed(**changes)))


_SWITCHES = {"set_alpha_to_one", "clip_sample", "thresholding", "rescale_betas_zero_snr"}
