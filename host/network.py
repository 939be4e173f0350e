"""Our network with the host's signature, and what our samplers pass to it in addition."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import comfy.patcher_extension
import torch
from torch import Tensor

from ..networks.base import Network, NetworkConfig
from ..networks.errors import ConfigError


@dataclass
class Request:
    """What our samplers pass to our network in addition to the host's interface, and get back.

    It travels in ``transformer_options`` under ``Request.KEY``.
    """

    KEY: ClassVar[str] = "unconditional"

    t: Tensor | float
    """The exact time, in training steps; the host has only the times of its table."""
    class_label: int | None = None
    sigma: Tensor | None = None
    """The host's noise level at ``t``, 0-d; None: use ``t`` whatever the host's noise level."""
    last_x0: Tensor | None = None
    """The image predicted last, for a self-conditioned network; None at first."""
    learned_variance: Tensor | None = None
    """The answer's second half, where the network has one; shape (B, C, H, W)."""

    def time_at(self, sigma: Tensor, nearest: Tensor) -> Tensor:
        """Return the time for the network, shape (B,).

        This is ``t``, unless another node has changed the noise level on the way.

        Args:
            sigma: the noise level that has arrived, shape (B,).
            nearest: the timesteps of the host's table for it, shape (B,).
        """
        exact = torch.as_tensor(self.t, dtype=torch.float32, device=sigma.device).expand(len(sigma))
        if self.sigma is None:
            return exact
        return torch.where(sigma.isclose(self.sigma.to(sigma), rtol=1e-6), exact, nearest.float())

    def inputs(
        self, x: Tensor, config: NetworkConfig, parts: Sequence[slice]
    ) -> list[dict[str, Any]]:
        """Return the network's inputs other than x and the time, for each part of a batch.

        Args:
            x: shape (conditionings * B, C, H, W), in the precision of the network.
            config: of the network.
            parts: of the batch.
        """
        inputs = {} if self.class_label is None else {"class_labels": self.class_label}
        if not config.is_self_conditioned:
            return [inputs for _ in parts]
        last = self._last_of(x)
        return [{**inputs, "last_x0": last[part]} for part in parts]

    def _last_of(self, x: Tensor) -> Tensor:
        """Return the images predicted last, in the order of ``x``; zeros where that is unknown."""
        last = self.last_x0
        # Another node may evaluate areas, or only some of the images.
        if last is None or last.shape[1:] != x.shape[1:] or len(x) % len(last):
            return torch.zeros_like(x)
        return last.to(x).repeat(len(x) // len(last), 1, 1, 1)

    def keep_variance(self, learned: Tensor, parts: Sequence[int]) -> None:
        """Keep the learned variance of the positive conditioning.

        The host evaluates the conditionings (0 is the positive) together or one by one, depending
        on its memory.

        Args:
            learned: shape (len(parts) * B, C, H, W).
            parts: which conditioning each part of the batch has.
        """
        if len(learned) % len(parts):  # a wrapper asks for less than the host's whole batch
            parts = [0]
        for part, conditioning in zip(learned.chunk(len(parts)), parts, strict=True):
            if conditioning == 0 or self.learned_variance is None:
                self.learned_variance = part


@functools.cache
def host_class(network: type[Network]) -> type[Network]:
    """Return a network's class with the signature with which the host calls its own."""
    made = type(f"Host{network.__name__}", (_HostCall, network), {})
    return cast(type[Network], made)


class _HostCall:
    """Comes before a network's class and passes the host's call on to it."""

    config: NetworkConfig

    def forward(
        self,
        x: Tensor,
        timesteps: Tensor,
        context: Tensor | None = None,
        control: Any = None,
        transformer_options: dict[str, Any] | None = None,
        **inputs: Any,
    ) -> Tensor:
        """Predict, within the wrappers that other nodes have put around the network.

        Args:
            x, timesteps: as the network takes them.
            context, control: of other networks.
            transformer_options: patches and wrappers by other nodes.
            inputs: what else this network takes.

        Raises:
            ConfigError: a node's patch does not apply to this network, or the caller gives no class
                to a model that needs one.
        """
        options = transformer_options or {}
        _check_additions(control, options)
        if self.config.has_classes and inputs.get("class_labels") is None:
            raise ConfigError(
                "This model was trained with classes, and this sampler cannot name one. Use PNDM "
                "Sampler, DDIM Sampler or DDPM Sampler, or Consistency Sampler for a consistency "
                "model, and set class_label there."
            )
        extension = comfy.patcher_extension
        wrappers = extension.get_all_wrappers(extension.WrappersMP.DIFFUSION_MODEL, options)

        call: Any = super().forward  # type: ignore[misc]

        def predict(x: Tensor, timesteps: Tensor, *_: Any, **__: Any) -> Tensor:
            last = inputs.get("last_x0")
            if last is not None and last.shape != x.shape:  # a wrapper evaluates other images
                return call(x, timesteps, **{**inputs, "last_x0": None})
            return call(x, timesteps, **inputs)

        if not wrappers:
            return predict(x, timesteps)
        return extension.WrapperExecutor.new_class_executor(predict, self, wrappers).execute(
            x, timesteps, context, control, options
        )


def is_patched(layer: Any) -> bool:
    """Whether the host or another node computes a layer in another way than from its weights.

    Args:
        layer: of the host's operations, such as ``comfy.ops.disable_weight_init.GroupNorm``.
    """
    return bool(
        layer.comfy_cast_weights
        or layer.weight_function
        or layer.bias_function
        or layer._forward_hooks
        or layer._forward_pre_hooks
        or "forward" in layer.__dict__
    )


def _check_additions(control: Any, transformer_options: dict[str, Any]) -> None:
    """Raise ``ConfigError`` where another node's addition would otherwise silently do nothing."""
    if control is not None:
        raise ConfigError(
            "A ControlNet cannot act on an unconditional model: it was trained for another "
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
            f"Another node has put patches ({', '.join(sorted(names))}) on this MODEL for the "
            "blocks and attention of text-to-image networks (like FreeU), which this network "
            "does not have. Remove that node."
        )


# Options that only the host's own networks read from transformer_options: another attention
# function (set by SageAttention's nodes), and scaled positions.
_IGNORED = ("optimized_attention_override", "rope_options")
