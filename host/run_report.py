"""What a sampler node shows after a run. It is kept out of the LATENT, which must be repeatable."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from comfy_api.latest import io

from ..schedulers.drift import Cause
from ..schedulers.sampler import Sampler
from ..schedulers.timesteps import END
from .page import Ui, for_page

_FLAG = "has_intermediate_output"
REPORTS: dict[str, Any] = {_FLAG: True} if _FLAG in {f.name for f in fields(io.Schema)} else {}
"""For the schema of a node that reports: newer hosts then send the report even if it is cached."""


def run_report(
    sampler: Sampler,
    seconds_per_image: float,
    *,
    asked: int | None = None,
    lost: Sequence[int] = (),
    drift: Cause | None = None,
) -> Ui:
    """Return what a run did; ``end`` is None if it ran all the way to the image.

    Args:
        sampler: what ran.
        seconds_per_image: how long it took.
        asked: the requested steps, if fewer timesteps than that lie below the start.
        lost: the seeds of the images that are left out because they are not finite.
        drift: what may have changed the brightness of the images.
    """
    span = sampler.span
    return _ui(
        steps=len(span.timesteps),
        evaluations=sampler.evaluations,
        seconds_per_image=seconds_per_image,
        timesteps=list(span.timesteps),
        end=None if span.end == END else span.end,
        asked=asked,
        lost=[str(seed) for seed in lost],  # a page's numbers end at 2^53
        drift=drift,
    )


def no_run_report() -> Ui:
    """Return the report of a node that passed its latent on unchanged, as with denoise 0."""
    return _ui(
        steps=0,
        evaluations=0,
        seconds_per_image=0.0,
        timesteps=[],
        end=None,
        asked=None,
        lost=[],
        drift=None,
    )


def _ui(**report: Any) -> Ui:
    return for_page("unconditional_run", report)
