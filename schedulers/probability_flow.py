"""The differential equation that deterministic samplers solve."""

from torch import Tensor


def derivative(x: Tensor, eps: Tensor, a: Tensor, log_slope: Tensor) -> Tensor:
    """Return dx/dt of the probability flow (Song et al. 2021, "Score-Based Generative Modeling").

    It is the limit of PNDM's transfer for equal times:
    dx/dt = (ln a)' / 2 * (x - eps / sqrt(1 - a)).

    Args:
        x: shape (B, C, H, W).
        eps: the noise in it, shape (B, C, H, W).
        a: alphas_cumprod at its time, 0-d, above 0 and below 1.
        log_slope: the derivative of ln alphas_cumprod there, per training step, 0-d.
    """
    return log_slope / 2 * (x - eps / (1 - a).sqrt())
