"""The transfer of PNDM: how a pseudo numerical method moves x from one time to another."""

from torch import Tensor


def transfer(x: Tensor, eps: Tensor, a: Tensor, a_prev: Tensor) -> Tensor:
    """Move x along a given noise, exactly on the manifold of noised images.

    Liu et al. 2022, eq. (9): with the true noise the result is exactly
    sqrt(a_prev) x0 + sqrt(1 - a_prev) eps.

    Args:
        x: shape (B, C, H, W), at the time with alphas_cumprod ``a``.
        eps: the noise to follow, shape (B, C, H, W).
        a, a_prev: alphas_cumprod at both times, 0-d, in 0..1 and above 0.
    """
    # With this order of operations, a schedule that starts at a = 2e-9 (cosine, trailing), where
    # the two terms nearly cancel, rounds as in diffusers.
    divisor = a * (1 - a_prev).sqrt() + (a * (1 - a) * a_prev).sqrt()
    return (a_prev / a).sqrt() * x - (a_prev - a) * eps / divisor
