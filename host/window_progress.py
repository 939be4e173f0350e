"""Shows the progress of a step that takes many windows."""

from typing import Any

import comfy.model_management
import comfy.utils
from torch import Tensor


class WindowProgress:
    """Moves a node's progress bar between two steps, and ends the run on Cancel.

    Args:
        transformer_options: of the call; the host lists there the noise levels of the run.
        sigma: of the call, shape (B,).
        windows: their number in the step.
    """

    def __init__(self, transformer_options: dict[str, Any], sigma: Tensor, windows: int):
        sigmas = transformer_options.get("sample_sigmas")
        steps, self._before = 1, 0
        if sigmas is not None and len(sigmas) > 1:
            steps = len(sigmas) - 1
            begun = int((sigmas > 1.0001 * sigma.max().to(sigmas)).sum())
            self._before = min(begun, steps - 1) * windows
        self._bar = comfy.utils.ProgressBar(steps * windows)

    def __call__(self, done: int) -> None:
        """Show how many windows are done.

        Raises:
            InterruptProcessingException: the user has cancelled.
        """
        comfy.model_management.throw_exception_if_processing_interrupted()
        self._bar.update_absolute(self._before + done)
