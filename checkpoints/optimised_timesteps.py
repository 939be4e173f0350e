"""The file of the timesteps found for a model, next to its ``scheduler_config.json``.

diffusers ignores it; you can pass each of its lists to a diffusers scheduler as ``timesteps``.
"""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from ..networks.errors import ConfigError
from ..schedulers.config import SchedulerConfig
from .files import read_json


def optimised_text(config: SchedulerConfig) -> str:
    """Return the contents of the file: a line for each list, by its number of steps."""
    lines = (f'    "{len(times)}": {list(times)}' for times in config.optimised)
    return '{\n  "timesteps": {\n' + ",\n".join(lines) + "\n  }\n}\n"


def with_optimised(config: SchedulerConfig, path: Path) -> SchedulerConfig:
    """Return the options with the lists of a file.

    Raises:
        ConfigError: it cannot be read, or a list does not descend through timesteps of the model.
    """
    lists = read_json(path).get("timesteps")
    if not isinstance(lists, dict) or not lists:
        raise ConfigError(f"{path} has no 'timesteps'. {_WAY_OUT}")
    for steps, times in lists.items():
        if not _is_list(times, config.num_train_timesteps) or steps != str(len(times)):
            raise ConfigError(
                f"{path}: the timesteps of {steps!r:.20} steps must be as many whole numbers, "
                f"descending, from 0 to {config.num_train_timesteps - 1}. {_WAY_OUT}"
            )
    return replace(config, optimised=tuple(map(tuple, lists.values())))


_WAY_OUT = "Delete the file, and find them again with 'Optimise Timesteps'."


def _is_list(times: Any, T: int) -> bool:
    return (
        isinstance(times, list)
        and len(times) > 0
        and all(type(t) is int and 0 <= t < T for t in times)
        and all(t > after for t, after in pairwise(times))
    )
