"""Records what a sampler sees on the way from noise to image."""

import math
from typing import Any, Literal

import comfy.model_management
import torch
from torch import Tensor

from ..pictures.provenance import KEY, Record, find_records, make_frame_records, mark_frames
from ..schedulers.sampler import Evaluation

Show = Literal["x0", "x_t"]
"""What a frame is: the image that the network predicts at that time, or its input."""


class TrajectoryRecorder:
    """Keeps every k-th evaluation of a run, which the driver passes to it.

    Args:
        show: which image of an evaluation to keep.
        every: k; evaluation 0 is kept, then k, 2k, …
        evaluations: their number in the run.
    """

    def __init__(self, show: Show, every: int, evaluations: int):
        self._show, self._every = show, every
        self._seen = 0
        self._records: list[Record] = []
        self._samples: Tensor | None = None
        self.frames: int = math.ceil(evaluations / every) + 1
        """The number of frames per image, including the final image."""

    def __call__(self, evaluation: Evaluation) -> None:
        """Keep every k-th evaluation."""
        index = self._seen
        self._seen += 1
        if index % self._every:
            return
        x = evaluation.x0 if self._show == "x0" else evaluation.x_t
        if self._samples is None:
            device = comfy.model_management.intermediate_device()
            shape = (len(x), self.frames, *x.shape[1:])
            self._samples = torch.empty(shape, dtype=torch.float32, device=device)
        self._samples[:, len(self._records)] = x.to(self._samples)
        t = int(evaluation.t) if evaluation.t == int(evaluation.t) else evaluation.t
        self._records.append({"show": self._show, "evaluation": index, "t": t})

    def finish(self, final: dict[str, Any]) -> dict[str, Any]:
        """Return the trajectory as a LATENT.

        Args:
            final: the LATENT of the finished images, shape (B, C, H, W); if some of the run's
                images are left out, its ``batch_index`` says which remain.

        Returns:
            Its ``samples`` have the shape (B * frames, C, H, W), model range about -1..1, not
            clipped: all frames of the first image, the last of which is that image, then those of
            the second, …
        """
        images: Tensor = final["samples"]
        assert self._samples is not None
        # Images that were not finite are left out.
        stacks = self._samples[final.get("batch_index", slice(None))]
        stacks[:, -1] = images.to(stacks)
        samples = stacks.flatten(0, 1)
        # The last frame needs no further details: it is the image itself.
        records = make_frame_records(samples, find_records(final), [*self._records, {}])
        return {"samples": samples, KEY: records, **mark_frames(samples, self.frames)}


def check_memory(frames: int, images: int, channels: int, height: int, width: int) -> None:
    """Raise ValueError if this many frames of this many images do not fit into memory.

    This is checked before a run, since running out of memory would kill the host. It counts the
    frames (float32), the IMAGE made from them (RGB) and the memory for the conversion.
    """
    needed = frames * images * height * width * 4 * (2 * channels + 3)
    free: Any = comfy.model_management.get_free_memory(comfy.model_management.intermediate_device())
    if needed > free:
        raise ValueError(
            f"{frames} frames of each of {images} images need {needed / 1e9:.1f} GB of memory, "
            f"but only {free / 1e9:.1f} GB are free. Record fewer frames (a larger 'every'), or "
            "generate fewer images at once."
        )
