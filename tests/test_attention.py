"""Attention by oneDNN gives what torch's kernel gives."""

import pytest
import torch
from comfyui_unconditional.networks.attention import attention
from torch.nn import functional as F


@pytest.mark.parametrize("shape", [(1, 1, 256, 256), (3, 2, 300, 130), (2, 1, 512, 128)], ids=str)
def test_wide_heads_attend_exactly(shape, monkeypatch):
    torch.manual_seed(0)
    # As in the block: heads side by side for each pixel.
    batch, heads, pixels, channels = shape
    given = [
        torch.randn(batch, pixels, heads * channels).unflatten(2, (heads, -1)).transpose(1, 2)
        for _ in range(3)
    ]
    expected = F.scaled_dot_product_attention(*(each.double() for each in given))
    # Without gradients torch's kernel is not called.
    monkeypatch.setattr(F, "scaled_dot_product_attention", None)
    with torch.inference_mode():
        found = attention(*given)
    assert (found - expected).abs().max() < 2e-6 * expected.abs().max()


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((2, 1, 64, 256), torch.float32),
        ((1, 1, 1024, 128), torch.float32),
        ((1, 8, 256, 32), torch.float32),
        ((1, 1, 256, 256), torch.bfloat16),
    ],
    ids=str,
)
def test_other_heads_use_torchs_kernel(shape, dtype):
    torch.manual_seed(0)
    given = [torch.randn(shape, dtype=dtype) for _ in range(3)]
    with torch.inference_mode():
        assert torch.equal(attention(*given), F.scaled_dot_product_attention(*given))


def test_wide_heads_have_gradients():
    given = [torch.randn(1, 1, 256, 128, requires_grad=True) for _ in range(3)]
    attention(*given).sum().backward()
    assert all(each.grad is not None for each in given)
