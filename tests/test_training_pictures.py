"""The pictures that a training reads: formats, sizes, transparency, memory."""

import logging
import struct
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from comfyui_unconditional.schedulers.config import SchedulerConfig
from comfyui_unconditional.training.pictures import (
    Colour,
    PictureSet,
    Size,
    from_images,
    read_folder,
)
from comfyui_unconditional.training.trainer import TrainingOptions, TrainingRun
from live_tensors import peak_bytes
from PIL import Image, ImageOps
from torch import Tensor
from training_toys import SPRITE, UNET

WHITE = (255, 255, 255)


def read(folder: Path, size: Size, channels: int, background: Colour = WHITE) -> PictureSet:
    return read_folder(folder, size=size, channels=channels, background=background)


def whole(pictures: PictureSet) -> Tensor:
    """All pictures, or a crop of each."""
    return pictures.take(range(len(pictures)), torch.Generator().manual_seed(0))


def load(folder: Path, size: Size, channels: int, background: Colour = WHITE) -> Tensor:
    return whole(read(folder, size, channels, background))


def test_pictures_are_read_from_all_subfolders_in_the_order_of_their_paths(tmp_path):
    (tmp_path / "b").mkdir()
    brightness = {"c.bmp": 3, "a.png": 1, "b/z.webp": 2, "d.jpeg": 4, "e.JPG": 5}
    for name, value in brightness.items():
        options = {"lossless": True} if name.endswith("webp") else {}
        Image.new("L", (10, 8), value * 40).convert("RGB").save(tmp_path / name, **options)
    (tmp_path / "notes.txt").write_text("not a picture")
    images = load(tmp_path, 8, 1)
    assert images.shape == (5, 1, 8, 8)
    assert images.dtype == torch.uint8
    assert (images.flatten(1).float().mean(1) / 40).round().tolist() == [1, 2, 3, 4, 5]


def test_a_picture_is_cropped_to_its_centre(tmp_path):
    picture = Image.new("RGB", (24, 8), "red")
    picture.paste("blue", (8, 0, 16, 8))
    picture.save(tmp_path / "a.png")
    images = load(tmp_path, 8, 3)
    assert images.flatten(2).unique(dim=2)[0].tolist() == [[0], [0], [255]]


def test_height_comes_before_width(tmp_path):
    Image.new("RGB", (30, 30)).save(tmp_path / "a.png")
    assert load(tmp_path, (8, 12), 3).shape == (1, 3, 8, 12)


def test_a_picture_is_turned_as_its_exif_data_says(tmp_path):
    picture = Image.new("L", (8, 8), 0)
    picture.paste(255, (0, 0, 8, 4))  # white above
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by 90°
    picture.save(tmp_path / "a.png", exif=exif)
    row = load(tmp_path, 8, 1)[0, 0, 0].tolist()
    assert row == [0, 0, 0, 0, 255, 255, 255, 255]


def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path):
    pixels = torch.tensor([0, 257, 32896, 65535]).repeat_interleave(16).reshape(8, 8)
    Image.fromarray(pixels.numpy().astype("uint16")).save(tmp_path / "a.png")
    images = load(tmp_path, 8, 3)
    assert images[0, 1].unique().tolist() == [0, 1, 128, 255]


def as_indexed(sprite: Image.Image) -> Image.Image:
    """256 colours, the first of them transparent."""
    indexed = Image.new("P", sprite.size, 0)
    indexed.putpalette([255, 0, 255, 40, 160, 40])
    indexed.paste(1, (6, 6, 18, 18))
    return indexed


TRANSPARENT = {
    "rgba.png": (SPRITE, {}),
    "rgba.webp": (SPRITE, {"lossless": True, "exact": True}),
    "rgba.tiff": (SPRITE, {}),
    "grey.png": (SPRITE.convert("LA"), {}),
    "indexed.png": (as_indexed(SPRITE), {"transparency": 0}),
    "indexed-bytes.png": (as_indexed(SPRITE), {"transparency": bytes([0, 255])}),
    "indexed.gif": (as_indexed(SPRITE), {"transparency": 0}),
    "key.png": (as_indexed(SPRITE).convert("RGB"), {"transparency": (255, 0, 255)}),
    "grey-key.png": (as_indexed(SPRITE).point([90, 130] + [0] * 254, "L"), {"transparency": 90}),
}


@pytest.mark.parametrize("name", TRANSPARENT)
@pytest.mark.parametrize("size", [8, 24, 40])
@pytest.mark.parametrize("background", [(255, 255, 255), (10, 20, 200)], ids=str)
def test_transparent_pixels_show_the_background_and_never_their_hidden_colour(
    tmp_path, name, size, background
):
    picture, options = TRANSPARENT[name]
    picture.save(tmp_path / name, **options)
    (rgb,) = load(tmp_path, size, 3, background)
    (grey,) = load(tmp_path, size, 1, background)
    clean = Image.new("RGB", picture.size, background)
    colour = picture.convert("RGBA").convert("RGB").getpixel((12, 12))
    clean.paste(colour, (6, 6, 18, 18))
    for image, mode in ((rgb.permute(1, 2, 0), "RGB"), (grey[0], "L")):
        expected = ImageOps.fit(clean.convert(mode), (size, size), Image.Resampling.LANCZOS)
        assert np.array_equal(image.numpy(), np.asarray(expected))


@pytest.mark.parametrize("name", TRANSPARENT)
@pytest.mark.parametrize("size", [8, 24, 40])
def test_with_four_channels_the_transparency_is_kept_and_hidden_colour_is_zero(
    tmp_path, name, size
):
    picture, options = TRANSPARENT[name]
    picture.save(tmp_path / name, **options)
    (rgba,) = load(tmp_path, size, 4)
    assert rgba[:, 0, 0].tolist() == [0, 0, 0, 0]
    assert rgba[3, size // 2, size // 2] == 255
    assert (rgba[:3, rgba[3] == 0] == 0).all()
    # No magenta where enough is seen of a pixel: none is redder than it is green.
    if "grey" not in name:
        seen = rgba[:, rgba[3] > 32].int()
        assert (seen[0] < seen[1]).all()


def test_opaque_pictures_are_what_they_were_with_and_without_an_alpha_channel(tmp_path):
    g = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (12, 14, 3), generator=g, dtype=torch.uint8).numpy()
    Image.fromarray(pixels).save(tmp_path / "a.png")
    Image.fromarray(pixels).convert("RGBA").save(tmp_path / "b.png")
    a, b = load(tmp_path, 8, 3, (1, 2, 3))
    expected = ImageOps.fit(Image.fromarray(pixels), (8, 8), Image.Resampling.LANCZOS)
    assert torch.equal(a, b)
    assert np.array_equal(a.permute(1, 2, 0).numpy(), np.asarray(expected))
    four = load(tmp_path, 8, 4)
    assert torch.equal(four[0, :3], a)
    assert (four[:, 3] == 255).all()


def test_the_log_says_what_became_of_transparency_and_how_often(tmp_path, caplog):
    SPRITE.save(tmp_path / "a.png")
    SPRITE.convert("RGB").save(tmp_path / "b.png")
    SPRITE.convert("RGB").convert("RGBA").save(tmp_path / "opaque.png")
    with caplog.at_level(logging.INFO):
        load(tmp_path, 8, 3, (0, 0, 0))
        load(tmp_path, 8, 4)
    assert "1 of 3 pictures have transparency" in caplog.messages[0]
    assert "RGB (0, 0, 0)" in caplog.messages[0]
    assert "1 of 3 pictures have transparency, which is kept" in caplog.messages[1]


@pytest.mark.parametrize(
    "suffix",
    [
        *("tif", "tiff", "TIFF", "gif", "avif", "jfif", "jpe", "webp", "bmp", "apng", "png", "jpg"),
        *("ppm", "pgm", "tga", "jp2", "qoi", "dib", "pcx"),
    ],
)
def test_every_usual_format_is_read(tmp_path, suffix):
    picture = Image.new("RGB", (16, 16), (200, 200, 200))
    suffixes = {"pgm": "L", "qoi": "RGBA"}
    picture.convert(suffixes.get(suffix, "RGB")).save(tmp_path / f"a.{suffix}")
    (image,) = load(tmp_path, 8, 3)
    assert (image.int() - 200).abs().max() <= 3


@pytest.mark.parametrize("suffix", ["eps", "pdf", "svg", "mp4", "heic", "txt"])
def test_a_file_of_another_kind_is_not_opened_and_the_log_names_its_kind(tmp_path, suffix, caplog):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    # By its content this would go to Ghostscript.
    for name in (f"b.{suffix}", "c.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / name, "EPS")
    with caplog.at_level(logging.INFO):
        assert len(load(tmp_path, 8, 3)) == 1
    assert f".{suffix} (1)" in caplog.messages[0]
    assert "c.png" in caplog.messages[1]


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "tiff", "avif"])
def test_of_an_animation_or_of_pages_the_first_is_taken_and_the_log_says_so(
    tmp_path, suffix, caplog
):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue", "lime")]
    frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:])
    with caplog.at_level(logging.INFO):
        (image,) = load(tmp_path, 8, 3)
    assert image[:, 4, 4].tolist() == pytest.approx([255, 0, 0], abs=4)
    assert "1 of 1 pictures have several frames or pages; the first is used" in caplog.text


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("CMYK", (0, 255, 255, 0), [255, 0, 0]),
        ("P", 7, None),
        ("1", 1, [255, 255, 255]),
        ("LA", (90, 255), [90, 90, 90]),
        ("YCbCr", (128, 128, 128), [128, 128, 128]),
        ("F", 0.5, [128, 128, 128]),
        ("I", 32896, [128, 128, 128]),
        ("I;16", 32896, [128, 128, 128]),
    ],
)
def test_a_tiff_of_any_kind_of_pixels_is_read(tmp_path, mode, colour, expected):
    picture = Image.new(mode, (8, 8), colour)
    if mode == "P":
        picture.putpalette([9, 8, 7] * 256)
        expected = [9, 8, 7]
    picture.save(tmp_path / "a.tiff")
    assert load(tmp_path, 8, 3)[0, :, 4, 4].tolist() == expected


def test_sixteen_bits_of_colour_are_read(tmp_path):
    """Pillow reads such a file, but does not write one."""
    pixels = np.full((8, 8, 3), (65535, 257 * 40, 0), "<u2").tobytes()
    entries = [(256, 3, 8), (257, 3, 8), (258, 3, 16), (259, 3, 1), (262, 3, 2), (273, 4, 0)]
    entries += [(277, 3, 3), (278, 3, 8), (279, 4, len(pixels))]
    bits = 8 + 2 + 12 * len(entries) + 4
    values = {258: (3, bits), 273: (1, bits + 6)}
    table = b"".join(
        struct.pack("<HHII", tag, kind, *values.get(tag, (1, value)))
        for tag, kind, value in entries
    )
    head = b"II*\0" + struct.pack("<IH", 8, len(entries)) + table + bytes(4)
    (tmp_path / "a.tif").write_bytes(head + struct.pack("<HHH", 16, 16, 16) + pixels)
    assert load(tmp_path, 8, 3)[0, :, 0, 0].tolist() == [255, 40, 0]


@pytest.mark.parametrize(("mode", "value"), [("F", 200.0), ("F", -1.0), ("I", 70000), ("I", -5)])
def test_values_of_an_unknown_range_are_skipped_with_a_warning_and_not_clipped(
    tmp_path, mode, value, caplog
):
    Image.new(mode, (8, 8), value).save(tmp_path / "a.tiff")
    Image.new("RGB", (8, 8)).save(tmp_path / "b.tiff")
    assert len(load(tmp_path, 8, 3)) == 1
    assert "its values range from" in caplog.text


def test_reading_and_training_have_the_pictures_in_memory_once(tmp_path):
    g = torch.Generator().manual_seed(0)
    n, size = 600, 64
    for k in range(n):
        pixels = torch.randint(0, 256, (size, size, 3), generator=g, dtype=torch.uint8)
        Image.fromarray(pixels.numpy()).save(tmp_path / f"{k}.bmp")
    (tmp_path / "broken.bmp").write_bytes(b"BM")
    data_set = n * 3 * size * size
    one = data_set / n
    assert peak_bytes(lambda: load(tmp_path, size, 3)) <= data_set + 2 * one

    # The arrays of numpy and Python's bytes, which the above does not see.
    tracemalloc.start()
    try:
        images = load(tmp_path, size, 3)
        assert tracemalloc.get_traced_memory()[1] < data_set / 2
        unet = replace(UNET, sample_size=size, in_channels=3, out_channels=3)
        options = TrainingOptions(steps=1, batch_size=4)
        tracemalloc.reset_peak()
        run = TrainingRun(
            images, tmp_path / "out", unet=unet, scheduler=SchedulerConfig(), options=options
        )
        list(run.run())
        assert tracemalloc.get_traced_memory()[1] < data_set / 2
        assert run.images.data_ptr() == images.data_ptr()
    finally:
        tracemalloc.stop()


def test_a_broken_picture_is_skipped_with_a_warning_that_names_it(picture_folder, caplog):
    (picture_folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n nothing more")
    whole = (picture_folder / "b.png").read_bytes()
    (picture_folder / "cut short.png").write_bytes(whole[: len(whole) // 2])
    with caplog.at_level(logging.WARNING):
        images = load(picture_folder, 8, 3)
    assert len(images) == 3
    assert len(caplog.messages) == 2
    assert "broken.png" in caplog.messages[0]
    assert "cut short.png" in caplog.messages[1]


def test_a_folder_without_pictures_is_rejected(tmp_path):
    with pytest.raises(ValueError, match="it has no pictures"):
        load(tmp_path, 8, 3)
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(ValueError, match="none of its 1 pictures can be read"):
        load(tmp_path, 8, 3)
    with pytest.raises(ValueError, match="does not exist"):
        load(tmp_path / "missing", 8, 3)
