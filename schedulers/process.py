"""Which process a model was trained with, and its options: from a ``scheduler_config.json``."""

from typing import Any

from .config import SchedulerConfig
from .consistency_model import ConsistencyConfig
from .errors import ScheduleError
from .score_model import ScoreConfig

SigmaProcess = ConsistencyConfig | ScoreConfig
"""The processes of continuous noise levels (sigmas), without timesteps."""

Process = SchedulerConfig | SigmaProcess

_SIGMAS: dict[str, type[ConsistencyConfig] | type[ScoreConfig]] = {
    kind.CLASS_NAME: kind for kind in (ConsistencyConfig, ScoreConfig)
}


def read_process(given: dict[str, Any], *, takes_sigmas: bool = False) -> Process:
    """Parse the contents of a ``scheduler_config.json``; its ``_class_name`` decides.

    Without a class, the process is the network's usual one: NCSN++'s if it takes sigmas, or DDPM's.

    Args:
        given: the fields; empty if there is no such file.
        takes_sigmas: whether the network takes a sigma as its time (NCSN++'s Fourier embedding).

    Raises:
        ScheduleError: this process is not supported, the class is unknown or does not fit the
            network, or a field has a wrong type or an invalid value. The message names it.
    """
    name = given.get("_class_name")
    kind = ScoreConfig if name is None and takes_sigmas else _sigma_process(given)
    config = SchedulerConfig.from_dict(given) if kind is None else kind.from_dict(given)
    if takes_sigmas and not isinstance(config, ScoreConfig):
        raise ScheduleError(
            "The network takes noise levels (time_embedding_type 'fourier', NCSN++), but the "
            f"scheduler's class is '{name:.80}', whose times are not noise levels. Write "
            '"_class_name": "ScoreSdeVeScheduler" and the sigma_min and sigma_max of its training '
            "into scheduler_config.json."
        )
    return config


def merge_options(usual: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Return a format's usual scheduler options with the given ones, which take precedence.

    If the given class is of another process, only the given ones are left.
    """
    has_class = given.get("_class_name") is not None
    if has_class and _sigma_process(given) is not _sigma_process(usual):
        return given
    return {**usual, **given}


def _sigma_process(options: dict[str, Any]) -> type[ConsistencyConfig] | type[ScoreConfig] | None:
    name = options.get("_class_name")
    # Flax's classes write the same fields.
    return _SIGMAS.get(name.removeprefix("Flax")) if isinstance(name, str) else None
