"""The settings that determine the pictures of a run, apart from the model and the machine."""

from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args

from ..schedulers.config import SchedulerConfig, VarianceType
from ..schedulers.consistency import Consistency
from ..schedulers.consistency_model import ConsistencyConfig
from ..schedulers.ddim import DDIM
from ..schedulers.ddpm import DDPM
from ..schedulers.errors import ScheduleError, UserError
from ..schedulers.pndm import PNDM, Method
from ..schedulers.pndm_grid import Convention
from ..schedulers.process import Process
from ..schedulers.sampler import Sampler, ScheduleSampler
from ..schedulers.span import Stretch
from ..schedulers.timesteps import Spacing

SamplerName = Literal["pndm", "ddim", "ddpm", "consistency"]
DType = Literal["float32", "bfloat16", "float16"]

_KINDS: dict[str, tuple[type[ScheduleSampler], tuple[str, ...]]] = {
    "pndm": (PNDM, ("method", "convention")),
    "ddim": (DDIM, ("eta",)),
    "ddpm": (DDPM, ("variance_type",)),
}
_OPTIONS: dict[str, tuple[str, ...]] = {
    **{name: ("spacing", *options) for name, (_, options) in _KINDS.items()},
    "consistency": ("timesteps",),
}
_STEPS = {"pndm": 50, "ddim": 50, "consistency": 1}


@dataclass(frozen=True)
class Settings:
    """The inputs of a sampler node, as the user chose them; None means the node's default.

    Attributes:
        sampler: the node.
        steps: through the schedule; None: 50, DDPM: all of the model's, Consistency: 1.
        method, convention: for PNDM.
        eta: for DDIM.
        variance_type: for DDPM.
        spacing: for PNDM, DDIM and DDPM; None: the model's own.
        timesteps: for Consistency, as text, instead of steps.
        class_label: for models with classes.
        size: (height, width) in pixels; None: the model's own.
        dtype: of the network.
        schedule: scheduler options to change, as Noise Schedule does.

    Raises:
        UserError: an option belongs to another sampler.
    """

    sampler: SamplerName = "pndm"
    steps: int | None = None
    method: Method | None = None
    convention: Convention | None = None
    eta: float | None = None
    variance_type: VarianceType | None = None
    spacing: Spacing | None = None
    timesteps: str | None = None
    class_label: int | None = None
    size: tuple[int, int] | None = None
    dtype: DType = "float32"
    schedule: tuple[tuple[str, Any], ...] = ()

    def __post_init__(self) -> None:
        if self.sampler not in _OPTIONS:
            raise UserError(
                f"sampler must be one of {', '.join(get_args(SamplerName))}, not {self.sampler!r}."
            )
        for name in {option for options in _OPTIONS.values() for option in options}:
            if getattr(self, name) is not None and name not in _OPTIONS[self.sampler]:
                owners = [owner for owner, options in _OPTIONS.items() if name in options]
                raise UserError(
                    f"{name} is an option of {' and '.join(owners)}, not of {self.sampler}. Leave "
                    "it out, or choose another sampler."
                )

    def changed(self, **changes: Any) -> "Settings":
        """Return these settings, updated with those in ``changes`` that are not None."""
        return replace(self, **{name: v for name, v in changes.items() if v is not None})

    def make_sampler(self, process: Process) -> Sampler:
        """Return the sampler for a model.

        Raises:
            ScheduleError: an option has an invalid value.
            UserError: the sampler does not support this process.
        """
        if self.sampler == "consistency":
            return self._consistency(process)
        if not isinstance(process, SchedulerConfig):
            raise UserError(
                f"The sampler {self.sampler} cannot draw with this model "
                f"({type(process).CLASS_NAME})."
                + (
                    " Choose consistency."
                    if isinstance(process, ConsistencyConfig)
                    else " Use ComfyUI's KSampler."
                )
            )
        kind, names = _KINDS[self.sampler]
        chosen = {name: getattr(self, name) for name in names}
        options = {name: value for name, value in chosen.items() if value is not None}
        process = self.changed_process(process)
        steps = self.steps or _STEPS.get(self.sampler) or process.num_train_timesteps
        return kind.over(process, Stretch(steps), self.spacing, **options)

    def changed_process(self, process: SchedulerConfig) -> SchedulerConfig:
        """Return a model's scheduler options, updated with ``schedule``."""
        known = {field.name for field in fields(SchedulerConfig)} - {"optimised", "warnings"}
        for name, _ in self.schedule:
            if name not in known:
                raise ScheduleError(
                    f"There is no scheduler option {name!r}. Known options: "
                    f"{', '.join(sorted(known))}."
                )
        return process.changed(**dict(self.schedule)) if self.schedule else process

    def _consistency(self, process: Process) -> Consistency:
        if not isinstance(process, ConsistencyConfig):
            raise UserError(
                "The sampler consistency is for consistency models only, and this is not one. "
                "Choose pndm, ddim or ddpm."
            )
        if self.schedule:
            raise UserError("A consistency model has no scheduler options to change.")
        if self.timesteps is not None:
            return Consistency.at(process, self.timesteps)
        return Consistency.over(process, Stretch(self.steps or _STEPS["consistency"]))
