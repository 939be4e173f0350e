"""The scheduler options of a model, as diffusers writes them into ``scheduler_config.json``."""

from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, cast, get_args

from .errors import ScheduleError

BetaSchedule = Literal["linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid", "laplace"]
PredictionType = Literal["epsilon", "sample", "v_prediction"]
VarianceType = Literal[
    "fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log", "learned", "learned_range"
]
TimestepSpacing = Literal["leading", "linspace", "trailing"]


@dataclass(frozen=True)
class SchedulerConfig:
    """Every scheduler option that changes an image, with diffusers' defaults.

    One object serves all samplers, whichever scheduler class wrote the file. The one default on
    which those classes differ is ``set_alpha_to_one``: None means the sampler's own.
    """

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
    """What the network is told is t times this; diffusers has no such option."""
    ignored: tuple[str, ...] = field(default=(), compare=False)
    """Names of fields in the file that no sampler here reads."""
    warnings: tuple[str, ...] = field(default=(), compare=False)
    """What the user should know about the file that these options were read from."""

    @classmethod
    def from_dict(cls, given: dict[str, Any]) -> "SchedulerConfig":
        """Parse the contents of a ``scheduler_config.json``.

        Fields that belong to other scheduler classes are listed in ``ignored``.

        Raises:
            ScheduleError: naming the field with a wrong type or an impossible value.
        """
        known = {f.name for f in fields(cls)} - {"ignored", "warnings"}
        values = {name: value for name, value in given.items() if name in known}
        if isinstance(values.get("trained_betas"), list):
            values["trained_betas"] = tuple(values["trained_betas"])
        others = (name for name in given if name not in known and not name.startswith("_"))
        config = cls(**values, ignored=tuple(sorted(others)))
        config._check()
        return config

    def to_dict(self) -> dict[str, Any]:
        """Return the options that are set, as they stand in a ``scheduler_config.json``."""
        left = {"ignored", "warnings"}
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in left}
        if self.timestep_scale == 1:
            del values["timestep_scale"]
        return {name: value for name, value in values.items() if value is not None}

    def changed(self, **changes: Any) -> "SchedulerConfig":
        """Return these options with others in their place.

        Betas that were given one by one end where their number or formula changes.

        Raises:
            ScheduleError: naming the option with an impossible value.
        """
        if {"num_train_timesteps", "beta_start", "beta_end", "beta_schedule"} & changes.keys():
            changes["trained_betas"] = None
        config = replace(self, **changes)
        config._check()
        return config

    def _check(self) -> None:
        for name, options in _CHOICES.items():
            value = getattr(self, name)
            if value not in options:
                raise ScheduleError(
                    f"The scheduler option '{name}' is {value!r:.100}; it can be "
                    f"{', '.join(options)}."
                )
        for name in ("clip_sample", "thresholding", "rescale_betas_zero_snr", "set_alpha_to_one"):
            value = getattr(self, name)
            if not (isinstance(value, bool) or (value is None and name == "set_alpha_to_one")):
                raise ScheduleError(f"The scheduler option '{name}' must be true or false.")
        for name, (kind, low, high) in _RANGES.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, kind) or not low <= value <= high:
                raise ScheduleError(
                    f"The scheduler option '{name}' is {value!r:.100}; it must be a "
                    f"{'whole number' if kind is int else 'number'} from {low:g} to {high:g}."
                )
        betas = self.trained_betas
        if betas is not None:
            if not isinstance(betas, tuple) or len(betas) != self.num_train_timesteps:
                raise ScheduleError(
                    "The scheduler option 'trained_betas' must be a list of "
                    f"num_train_timesteps = {self.num_train_timesteps} numbers."
                )
            if not all(type(b) in (int, float) and 0 <= b <= 1 for b in betas):
                raise ScheduleError("Each entry of 'trained_betas' must be a number from 0 to 1.")


_CHOICES: dict[str, tuple[str, ...]] = {
    "beta_schedule": get_args(BetaSchedule),
    "prediction_type": get_args(PredictionType),
    "variance_type": get_args(VarianceType),
    "timestep_spacing": get_args(TimestepSpacing),
}
# JSON as Python reads it has infinity, and whole numbers beyond every float.
_LARGEST = 1e15
_NUMBER = cast(type, (int, float))
_RANGES: dict[str, tuple[type, float, float]] = {
    "num_train_timesteps": (int, 1, 1_000_000),
    "steps_offset": (int, 0, 1_000_000),
    "beta_start": (_NUMBER, 0, 1),
    "beta_end": (_NUMBER, 0, 1),
    "clip_sample_range": (_NUMBER, 0, _LARGEST),
    "dynamic_thresholding_ratio": (_NUMBER, 0, 1),
    "sample_max_value": (_NUMBER, 1, _LARGEST),
    "timestep_scale": (_NUMBER, 1e-6, 1e6),
}
