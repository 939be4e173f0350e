"""What a loader node shows about its model: what is known, and what had to be assumed."""

from typing import Any

from comfy.model_patcher import ModelPatcher

from ..checkpoints.origin import Origin
from ..schedulers.config import SchedulerConfig
from ..schedulers.consistency_model import ConsistencyConfig
from ..schedulers.process import Process
from .our_model import unconditional_model
from .page import Ui, for_page

# The options of a default schedule that are worth showing.
_SHOWN = (
    *("num_train_timesteps", "beta_schedule", "beta_start", "beta_end"),
    *("prediction_type", "variance_type", "clip_sample"),
    *("sigma_min", "sigma_max"),
)


def model_report(model: ModelPatcher, *, write_json: bool = False) -> Ui:
    """Return the report of a MODEL of this pack; ``write_json`` saves what was assumed as JSON."""
    ours = unconditional_model(model)
    config, scheduler, origin = ours.unet_config, ours.scheduler_config, ours.source.origin
    report = {
        "format": origin.format,
        "place": origin.place,
        "averaged": origin.averaged,
        "size": None if config.sample_size is None else config.size,
        "channels": config.in_channels,
        "parameters": sum(tensor.numel() for tensor in ours.diffusion_model.parameters()),
        **_process(scheduler),
        "assumed": origin.assumed,
        "schedule": {n: v for n, v in origin.assumed_schedule.items() if n in _SHOWN},
        "is_single": origin.files is not None and origin.files.is_single,
        "json": "" if origin.json is None else origin.json.name,
        "written": _write(origin) if write_json else None,
        "warnings": [*config.warnings, *scheduler.warnings],
    }
    return for_page("unconditional_model", report)


def _process(process: Process) -> dict[str, Any]:
    """Return what is known about a process; None for fields that only other processes have."""
    if isinstance(process, SchedulerConfig):
        prediction, timesteps = process.prediction_type, process.num_train_timesteps
        return {"process": "DDPM", "prediction": prediction, "timesteps": timesteps, "sigmas": None}
    name = "consistency" if isinstance(process, ConsistencyConfig) else "VE SDE (NCSN++)"
    return {
        **{"process": name, "prediction": None, "timesteps": None},
        "sigmas": process.sigma_range,
    }


def _write(origin: Origin) -> dict[str, Any]:
    """Write the JSON file; an error is reported and does not stop the loading."""
    try:
        path = origin.write_json()
    except FileExistsError:
        return {"how": "exists"}
    except OSError as error:
        return {"how": "failed", "reason": str(error.strerror or error)}
    return {"how": "nothing" if path is None else "written"}
