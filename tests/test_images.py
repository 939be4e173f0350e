"""Between the model's pixels and the host's images."""

import numpy as np
import torch
from comfyui_unconditional.host.images import image_to_latent, latent_to_image, to_bytes, to_rgb
from diffusers.image_processor import VaeImageProcessor


def test_the_array_is_what_diffusers_calls_np() -> None:
    samples = torch.randn(2, 3, 8, 6)
    expected = (samples / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy()
    result = latent_to_image(samples)
    assert result.dtype == torch.float32
    assert np.array_equal(result.numpy(), expected)


def test_eight_bits_are_rounded_as_in_diffusers() -> None:
    images = torch.linspace(0, 1, 3 * 64 * 64).view(1, 64, 64, 3)
    theirs = np.asarray(VaeImageProcessor.numpy_to_pil(images.numpy())[0])
    assert np.array_equal(to_bytes(images[0]), theirs)


def test_image_to_latent_undoes_latent_to_image_to_eight_bits() -> None:
    levels = torch.arange(256).view(1, 16, 16, 1) / 255
    again = latent_to_image(image_to_latent(levels))
    assert np.array_equal(to_bytes(again[0]), to_bytes(levels[0]))


def test_an_image_has_three_channels_whatever_the_model_has() -> None:
    for channels in range(1, 6):
        image = torch.rand(2, 4, 4, channels)
        rgb = to_rgb(image)
        assert rgb.shape == (2, 4, 4, 3)
        assert torch.equal(rgb[..., : min(channels, 3)], image[..., :3])
    grey = torch.rand(1, 4, 4, 1)
    assert torch.equal(to_rgb(grey)[..., 2:], grey)
