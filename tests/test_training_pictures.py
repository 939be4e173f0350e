"""The pictures that a training reads: formats, sizes, transparency, memory."""

import struct
import tracemalloc
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from comfyui_unconditional.training.network import Size
from comfyui_unconditional.training.picture_set import PictureSet
from comfyui_unconditional.training.pictures import Colour, entered_folder, from_images, read_folder
from live_tensors import peak_bytes
from PIL import Image, ImageOps
from torch import Tensor
from training_toys import SPRITE

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
        options: dict[str, Any] = {"lossless": True} if name.endswith("webp") else {}
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


def save_turned(path: Path, **options: Any) -> None:
    """Save a picture whose upper half is white, with the EXIF tag to turn it clockwise by 90°."""
    picture = Image.new("L", (48, 32), 0)
    picture.paste(255, (0, 0, 48, 16))
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(path, exif=exif, **options)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tiff", "avif"])
def test_a_picture_is_turned_as_its_exif_data_says(tmp_path, suffix):
    save_turned(tmp_path / f"a.{suffix}", lossless=True)
    pictures = read_folder(tmp_path, size=None, channels=1)
    assert pictures.size == (48, 32)
    assert whole(pictures)[0, 0, 0, ::4].tolist() == pytest.approx([0] * 4 + [255] * 4, abs=4)


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
    # No magenta in pixels that are visible enough: none is redder than it is green.
    if "grey" not in name:
        seen = rgba[:, rgba[3] > 32].int()
        assert (seen[0] < seen[1]).all()


def test_opaque_pictures_are_unchanged_with_and_without_an_alpha_channel(tmp_path):
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


def test_the_notes_say_what_became_of_transparency_and_how_often(tmp_path):
    SPRITE.save(tmp_path / "a.png")
    SPRITE.convert("RGB").save(tmp_path / "b.png")
    SPRITE.convert("RGB").convert("RGBA").save(tmp_path / "opaque.png")
    (note,) = read(tmp_path, 8, 3, (0, 0, 0)).notes
    assert "1 of 3 pictures have transparency" in note
    assert "RGB (0, 0, 0)" in note
    (note,) = read(tmp_path, 8, 4).notes
    assert "1 of 3 pictures have transparency, which is kept" in note


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
def test_a_file_of_another_kind_is_not_opened_and_a_note_names_its_kind(tmp_path, suffix):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    # By its content this would go to Ghostscript.
    for name in (f"b.{suffix}", "c.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / name, "EPS")
    pictures = read(tmp_path, 8, 3)
    assert len(pictures) == 1
    assert f".{suffix} (1)" in pictures.notes[0]
    assert "c.png" in pictures.notes[1]


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "tiff", "avif"])
def test_the_first_frame_or_page_is_used_and_a_note_says_so(tmp_path, suffix):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue", "lime")]
    frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:])
    pictures = read(tmp_path, 8, 3)
    (image,) = whole(pictures)
    assert image[:, 4, 4].tolist() == pytest.approx([255, 0, 0], abs=4)
    (note,) = pictures.notes
    assert "1 of 1 pictures have several frames or pages; the first is used" in note


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
def test_values_of_an_unknown_range_are_skipped_with_a_note_and_not_clipped(tmp_path, mode, value):
    Image.new(mode, (8, 8), value).save(tmp_path / "a.tiff")
    Image.new("RGB", (8, 8)).save(tmp_path / "b.tiff")
    pictures = read(tmp_path, 8, 3)
    assert len(pictures) == 1
    assert "its values range from" in pictures.notes[0]


@pytest.mark.parametrize("crop", ["centre", "random"])
@pytest.mark.parametrize("channels", [3, None])
def test_reading_has_the_pictures_in_memory_once(tmp_path, crop, channels):
    g = torch.Generator().manual_seed(0)
    n, size = 600, 64
    for k in range(n):
        pixels = torch.randint(0, 256, (size, size, 3), generator=g, dtype=torch.uint8)
        Image.fromarray(pixels.numpy()).save(tmp_path / f"{k}.bmp")
    (tmp_path / "broken.bmp").write_bytes(b"BM")
    data_set = n * 3 * size * size
    one = data_set / n

    def load() -> PictureSet:
        return read_folder(tmp_path, size=size, channels=channels, crop=crop)

    assert peak_bytes(load) <= data_set + 2 * one

    # numpy's arrays and Python's bytes, which the above does not count.
    tracemalloc.start()
    try:
        pictures = load()
        assert tracemalloc.get_traced_memory()[1] < data_set / 2
        tracemalloc.reset_peak()
        assert peak_bytes(lambda: pictures.sha256) <= one
        assert tracemalloc.get_traced_memory()[1] < data_set / 2
    finally:
        tracemalloc.stop()


def test_a_tensor_of_pictures_is_not_copied():
    images = torch.zeros(5, 3, 8, 8)
    assert PictureSet.of_tensor(images).pixels[0].data_ptr() == images.data_ptr()


def test_broken_pictures_are_skipped_and_one_note_names_them(picture_folder):
    (picture_folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n nothing more")
    file = (picture_folder / "b.png").read_bytes()
    (picture_folder / "cut short.png").write_bytes(file[: len(file) // 2])
    for size in (8, None):
        pictures = read_folder(picture_folder, size=size, channels=3)
        assert len(pictures) == 3
        (note,) = (note for note in pictures.notes if "cannot be read" in note)
        assert "Skipped 2 pictures" in note
        assert "broken.png (" in note
        assert "cut short.png (" in note
        assert str(picture_folder) not in note


def test_a_note_names_five_broken_pictures_and_counts_the_others(picture_folder):
    for k in range(8):
        (picture_folder / f"broken {k}.png").write_bytes(b"")
    (note,) = read(picture_folder, 12, 3).notes[:1]
    assert "Skipped 8 pictures" in note
    assert "broken 4.png" in note
    assert "broken 5.png" not in note
    assert note.endswith(", and 3 more.")


def test_a_huge_picture_is_skipped_with_its_reason_and_a_large_one_is_read_quietly(
    tmp_path, monkeypatch
):
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    Image.new("L", (50, 30)).save(tmp_path / "large.png")
    Image.new("L", (50, 50)).save(tmp_path / "huge.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pictures = read(tmp_path, 8, 1)
    assert len(pictures) == 2
    assert "huge.png (it has more than 0 million pixels)" in pictures.notes[0]


def test_hidden_files_and_folders_are_ignored(tmp_path):
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    Image.new("L", (8, 8)).save(tmp_path / ".a.png")
    (tmp_path / ".thumbnails").mkdir()
    Image.new("L", (8, 8)).save(tmp_path / ".thumbnails" / "a.png")
    pictures = read(tmp_path, 8, 1)
    assert len(pictures) == 1
    assert pictures.notes == ()


def test_a_folder_without_pictures_is_rejected(tmp_path):
    with pytest.raises(ValueError, match="it has no pictures"):
        load(tmp_path, 8, 3)
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(ValueError, match="none of its 1 pictures can be read"):
        load(tmp_path, 8, 3)
    with pytest.raises(ValueError, match="does not exist"):
        load(tmp_path / "missing", 8, 3)
    with pytest.raises(ValueError, match="is a file"):
        load(tmp_path / "a.png", 8, 3)


def test_a_folder_is_entered_with_or_without_quotes():
    assert entered_folder(' "/home/me/my pictures"\n') == Path("/home/me/my pictures")
    for empty in ("", "  ", '""'):
        with pytest.raises(ValueError, match="Enter the folder with your pictures"):
            entered_folder(empty)


# Size and channels that are not given


def save_all(folder: Path, *shapes: tuple[int, int], mode: str = "L") -> None:
    """Save a picture of each (height, width)."""
    for k, (height, width) in enumerate(shapes):
        Image.new(mode, (width, height)).save(folder / f"{k:03}.png")


@pytest.mark.parametrize(
    ("shapes", "crop", "size"),
    [
        ([(24, 40)] * 3, "centre", (24, 40)),
        ([(25, 43)] * 3, "centre", (24, 40)),
        ([(512, 512)], "centre", (64, 64)),
        ([(256, 512)], "centre", (32, 64)),
        ([(24, 40), (40, 24)], "centre", (24, 24)),
        ([(100, 30), (200, 300)], "centre", (28, 28)),
        ([(5, 5)], "centre", (8, 8)),
        # One tiny picture among many should not decide.
        ([(3, 3), *[(48, 50)] * 20], "centre", (48, 48)),
        ([(100, 80)], "random", (64, 64)),
        ([(40, 80)], "random", (40, 40)),
        ([(40, 80), (200, 100)], "random", (40, 40)),
    ],
)
def test_without_a_size_the_pictures_size_is_used(tmp_path, shapes, crop, size):
    save_all(tmp_path, *shapes)
    pictures = read_folder(tmp_path, size=None, channels=1, crop=crop, multiple=4)
    assert pictures.size == size
    assert len(pictures) == len(shapes)
    assert whole(pictures).shape == (len(shapes), 1, *size)
    said = any("Enter a size to choose another" in note for note in pictures.notes)
    assert said == ({*shapes} != {size})


def test_a_note_says_how_many_pictures_are_enlarged(tmp_path):
    save_all(tmp_path, (8, 30), (30, 30))
    (note,) = read(tmp_path, 16, 1).notes
    assert "1 of 2 pictures are smaller than 16 x 16 pixels" in note


@pytest.mark.parametrize("background", [WHITE, None])
@pytest.mark.parametrize(
    ("modes", "channels"),
    [
        (("L",), {WHITE: 1, None: 1}),
        (("L", "RGB of grey"), {WHITE: 1, None: 1}),
        (("L", "RGB"), {WHITE: 3, None: 3}),
        (("L", "RGB", "opaque"), {WHITE: 3, None: 3}),
        (("L", "RGB", "RGBA"), {WHITE: 3, None: 4}),
        (("L", "LA"), {WHITE: 1, None: 4}),
    ],
    ids=str,
)
@pytest.mark.parametrize("crop", ["centre", "random"])
def test_without_channels_there_are_as_many_as_the_pictures_need(
    tmp_path, modes, channels, background, crop
):
    pictures = {
        "L": SPRITE.convert("L"),
        "LA": SPRITE.convert("LA"),
        "RGB": SPRITE.convert("RGB"),
        "RGB of grey": SPRITE.convert("L").convert("RGB"),
        "RGBA": SPRITE,
        "opaque": SPRITE.convert("RGB").convert("RGBA"),
    }
    for mode in modes:
        pictures[mode].save(tmp_path / f"{mode}.png")
    chosen = channels[background]

    def read(channels: int | None) -> PictureSet:
        return read_folder(tmp_path, size=16, channels=channels, crop=crop, background=background)

    assert read(None).channels == chosen
    assert torch.equal(whole(read(None)), whole(read(chosen)))


def test_a_note_says_how_many_pictures_lose_their_colours(tmp_path):
    SPRITE.convert("RGB").save(tmp_path / "a.png")
    SPRITE.convert("L").save(tmp_path / "b.png")
    (note,) = read(tmp_path, 8, 1).notes
    assert note == "1 of 2 pictures have colours and were made grey."


# Random crops


def test_random_crops_are_unchanged_parts_of_the_picture(tmp_path):
    save_all(tmp_path, (20, 26))
    pixels = torch.arange(20 * 26).reshape(20, 26) % 251
    Image.fromarray(pixels.to(torch.uint8).numpy()).save(tmp_path / "000.png")
    pictures = read_folder(tmp_path, size=16, channels=1, crop="random")
    crops = pictures.take([0] * 400, torch.Generator().manual_seed(0))
    assert crops.shape == (400, 1, 16, 16)
    seen = set()
    for crop in crops[:, 0]:
        start = [
            (y, x)
            for y in range(5)
            for x in range(11)
            if torch.equal(crop, pixels[y : y + 16, x : x + 16])
        ]
        assert len(start) == 1
        seen.update(start)
    assert len(seen) == 5 * 11
    again = pictures.take([0] * 400, torch.Generator().manual_seed(0))
    assert torch.equal(crops, again)


def test_only_a_picture_smaller_than_the_crop_is_enlarged(tmp_path):
    save_all(tmp_path, (10, 30), (16, 16), (40, 100))
    pictures = read_folder(tmp_path, size=16, channels=1, crop="random")
    assert [tuple(picture.shape[1:]) for picture in pictures.pixels] == [
        (16, 48),
        (16, 16),
        (40, 100),
    ]


# Images from other nodes


def test_images_are_read_like_files_with_the_same_pixels(tmp_path):
    g = torch.Generator().manual_seed(0)
    shapes = [(20, 30, 3), (16, 16, 4), (40, 17, 1), (40, 17, 1)]
    images = [torch.randint(0, 256, shape, generator=g, dtype=torch.uint8) for shape in shapes]
    for k, image in enumerate(images):
        Image.fromarray(image.squeeze(-1).numpy()).save(tmp_path / f"{k}.png")
    batches = [images[0][None], images[1][None], torch.stack(images[2:])]
    batches = [batch / 255 for batch in batches]
    for crop in ("centre", "random"):
        for background in (WHITE, None):
            options = {"size": None, "channels": None, "crop": crop, "background": background}
            ours, files = from_images(batches, **options), read_folder(tmp_path, **options)
            assert ours.sha256 == files.sha256
            assert ours.size == files.size == (16, 16)


def test_an_image_with_values_that_are_not_numbers_is_skipped(tmp_path):
    images = torch.rand(2, 8, 8, 3)
    images[1, 0, 0, 0] = torch.nan
    pictures = from_images([images], size=8, channels=3)
    assert len(pictures) == 1
    assert "image 2 (it has NaN or infinite values" in pictures.notes[0]


def test_images_of_another_shape_and_no_images_are_rejected():
    with pytest.raises(ValueError, match=r"not \(8, 8, 3\)"):
        from_images([torch.zeros(8, 8, 3)], size=8, channels=3)
    with pytest.raises(ValueError, match="no images to train on"):
        from_images([], size=8, channels=3)
    with pytest.raises(ValueError, match="no pictures to train on"):
        PictureSet.of_tensor(torch.zeros(0, 3, 8, 8))


# Common to all sets of pictures


@pytest.mark.parametrize("size", [8, None])
def test_reading_shows_its_progress_and_can_be_cancelled(picture_folder, size):
    done = []
    read_folder(picture_folder, size=size, channels=3, on_progress=lambda *at: done.append(at))
    assert done == sorted(done)
    assert done[-1] == (3, 3)

    def cancel(*_):
        raise KeyError("cancelled")

    with pytest.raises(KeyError):
        read_folder(picture_folder, size=size, channels=3, on_progress=cancel)


def test_the_checksum_depends_on_pixels_and_on_shapes():
    images = torch.arange(3 * 8 * 12, dtype=torch.uint8).reshape(1, 3, 8, 12)
    changed = images.clone()
    changed[0, 0, 0, 0] = 7
    others = (changed, images.reshape(1, 3, 12, 8), images.reshape(3, 1, 8, 12), images.float())
    checksums = {PictureSet.of_tensor(other).sha256 for other in (images, *others)}
    assert len(checksums) == 5
    assert PictureSet.of_tensor(images.clone()).sha256 in checksums


def test_float_pictures_stay_unchanged():
    images = torch.rand(3, 1, 8, 8)
    pictures = PictureSet.of_tensor(images)
    assert torch.equal(pictures.take([2, 0, 2], torch.Generator()), images[[2, 0, 2]])


@pytest.mark.parametrize("crop", ["centre", "random"])
def test_pictures_that_a_node_read_in_inference_mode_can_be_trained_on(crop):
    with torch.inference_mode():
        pictures = from_images([torch.rand(2, 16, 16, 3)], size=8, channels=None, crop=crop)
    with torch.inference_mode(False):
        batch = pictures.take([0, 1], torch.Generator().manual_seed(0)).float()
        weight = torch.ones(3, 1, 1, requires_grad=True)
        (batch * weight).sum().backward()
    assert weight.grad is not None
