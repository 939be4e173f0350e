"""The driver that drains a sampler on the host's device, with its progress, preview and cancel."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import comfy.model_management
import comfy.utils
import latent_preview
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ..schedulers.evaluation import Evaluation, Model, Noise, Sampling, drain
from ..schedulers.randomness import SeededNoise
from .model import unconditional_model

StartSampler = Callable[[Model, Tensor, Noise], Sampling]
"""(model, initial noise of shape (B, C, H, W), noise) -> a running sampler."""


def run_sampler(
    patcher: ModelPatcher,
    seeds: Sequence[int],
    evaluations: int,
    start: StartSampler,
    class_label: int | None = None,
) -> Tensor:
    """Sample one image for each seed and return them unclipped.

    Args:
        patcher: a MODEL of ours.
        seeds: one for each of B images, 0 .. 2**64 - 1.
        evaluations: how many the sampler will run, for the progress bar.
        start: begins the sampler.
        class_label: of all images; None where the model has no classes.

    Returns:
        float32, shape (B, C, H, W), model range about -1..1, on the host's intermediate device.

    Raises:
        ValueError: the result is not finite, the MODEL is of another kind or was trained on
            sigmas, or the label is missing, one too many or out of range.
    """
    model = unconditional_model(patcher)
    config = model.unet_config
    if config.is_variance_exploding:
        raise ValueError(
            "This model cannot be sampled by PNDM, DDPM or DDIM: it is variance-exploding "
            "(NCSN++, time_embedding_type 'fourier'), trained on noise levels (sigmas) that are "
            "added to the image, where these samplers pass timesteps 0 .. T-1 of a process that "
            "fades the image out. Use a model with positional time embedding."
        )
    config.check_class_label(class_label)
    shape = (config.in_channels, *config.size)
    comfy.model_management.load_models_gpu(
        [patcher], memory_required=patcher.memory_required([len(seeds), *shape])
    )
    device, dtype = patcher.load_device, model.get_dtype_inference()

    def call(x: Tensor, t: float) -> Tensor:
        # The network may compute in half precision; all else is float32 or better.
        output = model.diffusion_model(
            x.to(dtype), t, class_labels=class_label, learned_variance=True
        )
        return output.to(x.dtype)

    noise = SeededNoise(seeds, shape)
    with _exact_float32():
        sampling = start(call, noise().to(device), noise)
        samples = drain(sampling, _Progress(patcher, evaluations))
    if not torch.isfinite(samples).all():
        raise ValueError(
            "The result contains NaN or infinite values, so there is no picture. With float16 "
            "choose dtype float32 or bfloat16 in the loader; else the noise schedule does not fit "
            "the model, or the model is broken."
        )
    return samples.to(comfy.model_management.intermediate_device())


class _Progress:
    """Shows each evaluation in the editor, with the predicted image where previews are on."""

    def __init__(self, patcher: ModelPatcher, evaluations: int):
        self._bar = comfy.utils.ProgressBar(evaluations)
        self._previewer = latent_preview.get_previewer(
            patcher.load_device, patcher.model.latent_format
        )
        self._done = 0

    def __call__(self, evaluation: Evaluation) -> None:
        # Raises when the user cancels; the bar asks too, but not at each update.
        comfy.model_management.throw_exception_if_processing_interrupted()
        self._done += 1
        preview = None
        if self._previewer is not None:
            preview = self._previewer.decode_latent_to_preview_image("JPEG", evaluation.x0)
        self._bar.update_absolute(self._done, preview=preview)


@contextmanager
def _exact_float32() -> Iterator[None]:
    """Keep CUDA from computing float32 with TF32's ten bits, so that images repeat elsewhere."""
    matmul: Any = torch.backends.cuda.matmul
    cudnn: Any = torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = False
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before
