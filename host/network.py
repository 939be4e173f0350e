"""Our network with the host's signature, and what our samplers pass to it beyond that."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import comfy.patcher_extension
import torch
from torch import Tensor

from ..unet.errors import ConfigError
from ..unet.unet2d import UNet2D


@dataclass
class Request:
    """What our samplers pass to our network beyond the host's interface, and get back.

    It travels in ``transformer_options`` under ``Request.KEY``.
    """

    KEY: ClassVar[str] = "unconditional"

    t: Tensor | float
    """The exact time, in training steps; the host can name only those of its table."""
    class_label: int | None = None
    sigma: Tensor | None = None
    """The host's noise level at ``t``, 0-d; None: ``t`` is right whatever the host's is."""
    learned_variance: Tensor | None = None
    """The answer's second half, where the network has one; shape (B, C, H, W)."""

    def time_at(self, sigma: Tensor, nearest: Tensor) -> Tensor:
        """Return the time for the network, shape (B,).

        It is ``t``, except where another node has changed the noise level on its way here.

        Args:
            sigma: the noise level that has arrived, shape (B,).
            nearest: the timesteps of the host's table for it, shape (B,).
        """
        exact = torch.as_tensor(self.t, dtype=torch.float32, device=sigma.device).expand(len(sigma))
        if self.sigma is None:
            return exact
        return torch.where(sigma.isclose(self.sigma.to(sigma), rtol=1e-6), exact, nearest.float())

    def keep_variance(self, learned: Tensor, parts: Sequence[int]) -> None:
        """Keep the learned variance of the positive conditioning.

        The host evaluates the conditionings (0 is the positive) side by side or one by one, as its
        memory allows.

        Args:
            learned: shape (len(parts) * B, C, H, W).
            parts: which conditioning each part of the batch has.
        """
        if len(learned) % len(parts):  # a wrapper asks for less than the host's whole batch
            parts = [0]
        for part, conditioning in zip(learned.chunk(len(parts)), parts, strict=True):
            if conditioning == 0 or self.learned_variance is None:
                self.learned_variance = part


class HostUNet(UNet2D):
    """The network under the signature with which the host calls its own."""

    def forward(  # type: ignore[override]
        self,
        x: Tensor,
        timesteps: Tensor,
        context: Tensor | None = None,
        control: Any = None,
        transformer_options: dict[str, Any] | None = None,
        class_labels: int | None = None,
    ) -> Tensor:
        """Predict, within the wrappers that other nodes have put around the network.

        Raises:
            ConfigError: something acts on the network that it has no place for, or the caller
                gives no class to a model that needs one.
        """
        options = transformer_options or {}
        _check_additions(control, options)
        if self.config.has_classes and class_labels is None:
            raise ConfigError(
                "This model was trained with classes, and this sampler cannot name one. Use PNDM "
                "Sampler, DDIM Sampler or DDPM Sampler, or Consistency Sampler for a consistency "
                "model, and set class_label there."
            )
        extension = comfy.patcher_extension
        wrappers = extension.get_all_wrappers(extension.WrappersMP.DIFFUSION_MODEL, options)

        def predict(x: Tensor, timesteps: Tensor, *_: Any, **__: Any) -> Tensor:
            return UNet2D.forward(self, x, timesteps, class_labels)

        if not wrappers:
            return predict(x, timesteps)
        return extension.WrapperExecutor.new_class_executor(predict, self, wrappers).execute(
            x, timesteps, context, control, options
        )


def _check_additions(control: Any, transformer_options: dict[str, Any]) -> None:
    """Raise ``ConfigError`` where another node's addition would otherwise silently do nothing."""
    if control is not None:
        raise ConfigError(
            "A ControlNet cannot act on an unconditional model: it was trained beside another "
            "network. Remove it from the conditioning."
        )
    names = [
        name
        for key in ("patches", "patches_replace")
        for name, patches in transformer_options.get(key, {}).items()
        if patches
    ]
    names += [name for name in _IGNORED if transformer_options.get(name)]
    if names:
        raise ConfigError(
            f"Another node has put patches ({', '.join(sorted(names))}) on this MODEL, for the "
            "blocks and attention of text-to-image networks (as FreeU does); this network has "
            "none of those places. Remove that node."
        )


# What the host's own networks read from transformer_options, and this one has no use for: another
# function for attention (as SageAttention's nodes put there), and scaled positions.
_IGNORED = ("optimized_attention_override", "rope_options")
