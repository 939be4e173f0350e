"""Between the model's pixels and the host's images."""

import numpy as np
import pytest
import torch
from comfyui_unconditional.pictures.images import (
    image_to_latent,
    latent_to_image,
    to_bytes,
    to_channels,
    to_rgb,
)
from comfyui_unconditional.pictures.resizing import resize
from diffusers.image_processor import VaeImageProcessor
from PIL import Image


def test_the_array_is_what_diffusers_calls_np():
    samples = torch.randn(2, 3, 8, 6)
    expected = (samples / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy()
    result = latent_to_image(samples)
    assert result.dtype == torch.float32
    assert np.array_equal(result.numpy(), expected)


def test_eight_bits_are_rounded_as_in_diffusers():
    images = torch.linspace(0, 1, 3 * 64 * 64).view(1, 64, 64, 3)
    theirs = np.asarray(VaeImageProcessor.numpy_to_pil(images.numpy())[0])
    assert np.array_equal(to_bytes(images[0]), theirs)


def test_an_image_has_three_channels_whatever_the_model_has():
    for channels in range(1, 6):
        image = torch.rand(2, 4, 4, channels)
        rgb = to_rgb(image)
        assert rgb.shape == (2, 4, 4, 3)
        assert torch.equal(rgb[..., : min(channels, 3)], image[..., :3])
    grey = torch.rand(1, 4, 4, 1)
    assert torch.equal(to_rgb(grey)[..., 2:], grey)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_picture_of_the_right_size_goes_to_a_latent_and_back_to_the_same_8_bits(channels):
    pixels = torch.arange(256, dtype=torch.float32).reshape(1, 16, 16, 1) / 255
    images = pixels.expand(1, 16, 16, channels).contiguous()
    for fit in ("crop", "stretch", "keep size"):
        latent = image_to_latent(to_channels(resize(images, 16, 16, fit), channels))
        back = to_bytes(latent_to_image(latent)[0])
        assert np.array_equal(back, (images[0].numpy() * 255).round().astype(np.uint8))


def test_grey_as_rgb_is_the_same_grey_again():
    grey = torch.arange(256, dtype=torch.float32).reshape(1, 16, 16, 1) / 255
    assert np.array_equal(to_bytes(to_channels(to_rgb(grey), 1)[0]), to_bytes(grey[0]))


def test_colour_becomes_the_luminance_that_pillow_gives():
    colour = torch.rand(1, 8, 8, 3, generator=torch.Generator().manual_seed(0))
    eight = to_bytes(colour[0])
    theirs = np.asarray(Image.fromarray(eight).convert("L")).astype(int)
    ours = to_bytes(to_channels(torch.from_numpy(eight)[None] / 255, 1)[0])[..., 0]
    assert np.abs(ours.astype(int) - theirs).max() <= 1


def test_a_picture_without_alpha_becomes_opaque_and_alpha_is_left_out_for_rgb():
    colour = torch.rand(1, 4, 4, 3)
    opaque = to_channels(colour, 4)
    assert torch.equal(opaque[..., :3], colour)
    assert (opaque[..., 3] == 1).all()
    assert torch.equal(to_channels(opaque, 3), colour)


@pytest.mark.parametrize(("image", "model"), [(2, 3), (5, 1), (3, 2), (3, 6)])
def test_an_unknown_number_of_channels_is_rejected(image, model):
    with pytest.raises(ValueError, match=r"has (2|5|6) channels"):
        to_channels(torch.zeros(1, 4, 4, image), model)


def test_crop_cuts_the_centre_out_in_the_right_proportions():
    wide = torch.zeros(1, 8, 24, 1)
    wide[:, :, 8:16] = 1
    assert (resize(wide, 16, 16, "crop") > 0.999).all()
    stretched = resize(wide, 16, 16, "stretch")
    assert stretched.min() < 0.1
    assert stretched.max() > 0.9
    assert resize(wide, 16, 16, "keep size").shape == (1, 8, 24, 1)


def test_resizing_a_smooth_picture_agrees_with_pillow():
    y, x = torch.meshgrid(torch.linspace(0, 3, 48), torch.linspace(0, 3, 48), indexing="ij")
    smooth = (0.5 + 0.4 * torch.sin(x) * torch.cos(y))[None, ..., None]
    picture = Image.fromarray(smooth[0, ..., 0].numpy(), mode="F")
    for size in (16, 96):
        theirs = np.asarray(picture.resize((size, size), Image.Resampling.BICUBIC))
        ours = resize(smooth, size, size, "stretch")[0, ..., 0].numpy()
        assert np.abs(ours - theirs).max() < 0.01
