"""The scheduler options of a model, as diffusers writes them into ``scheduler_config.json``."""

from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Literal, get_args

from .classes import recognise
from .errors import ScheduleError
from .options import LARGEST, NUMBER, Ranges, check_numbers, check_switches

BetaSchedule = Literal["linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid", "laplace"]
PredictionType = Literal["epsilon", "sample", "v_prediction"]
VarianceType = Literal[
    "fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log", "learned", "learned_range"
]
TimestepSpacing = Literal["leading", "linspace", "trailing"]

PRESETS: dict[str, dict[str, Any]] = {
    "none": {},
    "dark or bright pictures": {
        "timestep_spacing": "trailing",
        "clip_sample": False,
        "thresholding": False,
    },
}
"""Sets of options, by the name that the user sees.

Clipping and a list that starts below T - 1 pull the brightness of pictures towards middle grey (Lin
et al. 2024, arXiv 2305.08891). This is visible if the model's pictures are far from grey.
"""

_BETAS = {"num_train_timesteps", "beta_start", "beta_end", "beta_schedule"}
_NOT_IN_FILE = {"optimised", "warnings"}


@dataclass(frozen=True)
class SchedulerConfig:
    """Every scheduler option that changes an image, with diffusers' defaults.

    One object serves all samplers, whichever scheduler class wrote the file. The samplers'
    defaults for ``set_alpha_to_one`` differ: None means the sampler's own.
    """

    CLASS_NAME: ClassVar[str] = "DDPMScheduler"
    PIPELINE: ClassVar[str] = "DDPMPipeline"

    num_train_timesteps: int = 1000
    beta_start: float = 0.0001
    beta_end: float = 0.02
    beta_schedule: BetaSchedule = "linear"
    trained_betas: tuple[float, ...] | None = None
    prediction_type: PredictionType = "epsilon"
    variance_type: VarianceType = "fixed_small"
    clip_sample: bool = True
    clip_sample_range: float = 1.0
    thresholding: bool = False
    dynamic_thresholding_ratio: float = 0.995
    sample_max_value: float = 1.0
    timestep_spacing: TimestepSpacing = "leading"
    steps_offset: int = 0
    set_alpha_to_one: bool | None = None
    rescale_betas_zero_snr: bool = False
    timestep_scale: float = 1.0
    """The network receives t times this; diffusers has no such option."""
    optimised: tuple[tuple[int, ...], ...] = ()
    """Timesteps found for the model, one list for each number of steps; in a separate file."""
    warnings: tuple[str, ...] = field(default=(), compare=False)
    """Warnings for the user about the file that these options were read from."""

    @classmethod
    def from_dict(cls, given: dict[str, Any]) -> "SchedulerConfig":
        """Parse the contents of a ``scheduler_config.json``, of any class with DDPM's process.

        A null or missing field takes its default. For options that define the betas, it is the
        default of the class that wrote the file. diffusers writes every field, so fields are
        missing only in old or hand-written files, and in diffusers the class fills them in too.

        Args:
            given: the fields; names from 2022 are translated.

        Raises:
            ScheduleError: the process is not DDPM's, the class is unknown, or a field has a wrong
                type or an invalid value. The message names it.
        """
        known = {f.name for f in fields(cls)} - _NOT_IN_FILE
        options = modern_options(given)
        written_by = recognise(options, options=known)
        values = written_by.defaults | {n: v for n, v in options.items() if n in known}
        if isinstance(values.get("trained_betas"), list):
            values["trained_betas"] = tuple(values["trained_betas"])
        config = cls(**values, warnings=written_by.warnings + _ambiguous_nulls(given))
        config._check()
        return config

    def to_dict(self) -> dict[str, Any]:
        """Return the options that are set, as in a ``scheduler_config.json``."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in _NOT_IN_FILE}
        if self.timestep_scale == 1:
            del values["timestep_scale"]
        return {name: value for name, value in values.items() if value is not None}

    def changed(self, **changes: Any) -> "SchedulerConfig":
        """Return these options with the given changes.

        A change of the number of timesteps or of the beta schedule discards ``trained_betas``. A
        change of the process itself discards ``optimised``.

        Raises:
            ScheduleError: an option has an invalid value. The message names it.
        """
        if _BETAS & changes.keys():
            changes["trained_betas"] = None
        if (_BETAS | {"trained_betas", "prediction_type", "timestep_scale"}) & changes.keys():
            changes["optimised"] = ()
        config = replace(self, **changes)
        config._check()
        return config

    def _check(self) -> None:
        for name, options in _CHOICES.items():
            value = getattr(self, name)
            if value not in options:
                raise ScheduleError(
                    f"The scheduler option '{name}' must be one of {', '.join(options)}, not "
                    f"{value!r:.100}."
                )
        check_switches(self, ("clip_sample", "thresholding", "rescale_betas_zero_snr"))
        if self.set_alpha_to_one is not None:
            check_switches(self, ("set_alpha_to_one",))
        check_numbers(self, _RANGES)
        betas = self.trained_betas
        if betas is not None:
            if not isinstance(betas, tuple) or len(betas) != self.num_train_timesteps:
                raise ScheduleError(
                    "The scheduler option 'trained_betas' must be a list of "
                    f"num_train_timesteps = {self.num_train_timesteps} numbers."
                )
            if not all(type(b) in (int, float) and 0 <= b <= 1 for b in betas):
                raise ScheduleError("Each entry of 'trained_betas' must be a number from 0 to 1.")


_OLD_NAMES = {"timesteps": "num_train_timesteps", "clip_predicted_image": "clip_sample"}


def modern_options(given: dict[str, Any]) -> dict[str, Any]:
    """Return the fields that are not null, with names from 2022 replaced by the current ones.

    If a file has a field under both names, the current one takes precedence.

    Raises:
        ScheduleError: ``predict_epsilon`` and ``prediction_type`` contradict each other.
    """
    modern = {name: value for name, value in given.items() if value is not None}
    for old, new in _OLD_NAMES.items():
        if old in modern:
            modern.setdefault(new, modern.pop(old))
    predicts_epsilon = modern.pop("predict_epsilon", True)
    if not isinstance(predicts_epsilon, bool):
        raise ScheduleError(
            "The scheduler option 'predict_epsilon' must be true or false, not "
            f"{predicts_epsilon!r:.100}."
        )
    # True was the default, and is still in files that got a prediction_type later.
    if not predicts_epsilon and modern.setdefault("prediction_type", "sample") == "epsilon":
        raise ScheduleError(
            "The scheduler options contradict each other: 'predict_epsilon' is false, which means "
            "'prediction_type' 'sample', but 'prediction_type' is 'epsilon'. Remove the wrong one "
            "from scheduler_config.json."
        )
    return modern


def _ambiguous_nulls(given: dict[str, Any]) -> tuple[str, ...]:
    if "clip_sample" not in given or given["clip_sample"] is not None:
        return ()
    return (
        "'clip_sample' is null in the scheduler configuration. Null means the default, true, here, "
        "but false in diffusers. Set it to true or false.",
    )


_CHOICES: dict[str, tuple[str, ...]] = {
    "beta_schedule": get_args(BetaSchedule),
    "prediction_type": get_args(PredictionType),
    "variance_type": get_args(VarianceType),
    "timestep_spacing": get_args(TimestepSpacing),
}
_RANGES: Ranges = {
    "num_train_timesteps": (int, 1, 1_000_000),
    "steps_offset": (int, 0, 1_000_000),
    "beta_start": (NUMBER, 0, 1),
    "beta_end": (NUMBER, 0, 1),
    "clip_sample_range": (NUMBER, 0, LARGEST),
    "dynamic_thresholding_ratio": (NUMBER, 0, 1),
    "sample_max_value": (NUMBER, 1, LARGEST),
    "timestep_scale": (NUMBER, 1e-6, 1e6),
}
