import logging
import struct
import sys
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from comfyui_unconditional.schedulers.config import SchedulerConfig
from comfyui_unconditional.training import digits
from comfyui_unconditional.training.__main__ import main
from comfyui_unconditional.training.judge import as_saved, compare
from comfyui_unconditional.training.pictures import Colour, default_unet, load_pictures
from comfyui_unconditional.training.trainer import TrainingOptions, TrainingRun
from comfyui_unconditional.unet.checkpoint import read_checkpoint
from comfyui_unconditional.unet.config import UNetConfig
from comfyui_unconditional.unet.files import find_files, read_json
from comfyui_unconditional.unet.save import save_model
from comfyui_unconditional.unet.unet2d import UNet2D
from float64 import compare_networks
from live_tensors import peak_bytes
from PIL import Image, ImageOps
from torch import Tensor

UNET = UNetConfig(
    sample_size=8,
    in_channels=1,
    out_channels=1,
    down_block_types=("DownBlock2D", "AttnDownBlock2D"),
    up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    block_out_channels=(8, 16),
    layers_per_block=1,
    norm_num_groups=4,
)
SCHEDULER = SchedulerConfig()
OPTIONS = TrainingOptions(steps=6, batch_size=4, warmup_steps=2, flip=True, save_every=2)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """For networks this small, waiting for a second core takes longer than the work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def noise_pictures(n: int = 5, seed: int = 0) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, 1, 8, 8), generator=g, dtype=torch.uint8)


def make_run(
    folder: Path, options: TrainingOptions = OPTIONS, pictures: Tensor | None = None
) -> TrainingRun:
    images = noise_pictures() if pictures is None else pictures
    return TrainingRun(images, folder, unet=UNET, scheduler=SCHEDULER, options=options)


def finish(run: TrainingRun, stop_after: int | None = None) -> list[float]:
    return list(run.run(stop_after))


@pytest.fixture
def picture_folder(tmp_path: Path) -> Path:
    """Three pictures, of other sizes than the model's."""
    folder = tmp_path / "pictures"
    (folder / "more").mkdir(parents=True)
    g = torch.Generator().manual_seed(0)
    for name, size in (("b.png", (12, 10)), ("more/c.png", (9, 20)), ("a.PNG", (8, 8))):
        pixels = torch.randint(0, 256, (size[1], size[0], 3), generator=g, dtype=torch.uint8)
        Image.fromarray(pixels.numpy()).save(folder / name)
    return folder


def assert_same_state(a: TrainingRun, b: TrainingRun) -> None:
    weights_a, weights_b = a.model.state_dict(), b.model.state_dict()
    assert weights_a.keys() == weights_b.keys() == a.ema.keys() == b.ema.keys()
    for name in weights_a:
        assert torch.equal(weights_a[name], weights_b[name]), name
        assert torch.equal(a.ema[name], b.ema[name]), f"average of {name}"


# Trainer


@pytest.mark.parametrize("stop_after", [1, 3, 4])
def test_stopping_and_resuming_gives_the_uninterrupted_weights(tmp_path: Path, stop_after: int):
    whole = make_run(tmp_path / "whole")
    losses = finish(whole)

    first = make_run(tmp_path / "parts")
    losses_of_parts = finish(first, stop_after)
    assert first.saved_step == stop_after
    resumed = make_run(tmp_path / "parts")
    assert resumed.step == resumed.saved_step == stop_after
    losses_of_parts += finish(resumed)

    assert losses_of_parts == losses
    assert_same_state(resumed, whole)


def test_an_abandoned_run_goes_on_from_its_last_saved_state(tmp_path: Path):
    whole = make_run(tmp_path / "whole")
    finish(whole)

    steps = make_run(tmp_path / "parts").run()
    for _ in range(3):  # the state is saved after step 2
        next(steps)
    steps.close()
    resumed = make_run(tmp_path / "parts")
    assert resumed.step == 2
    finish(resumed)

    assert_same_state(resumed, whole)


def test_training_leaves_the_callers_random_numbers_alone(tmp_path: Path):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    finish(make_run(tmp_path), stop_after=1)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"learning_rate": 0.5}, "learning_rate was 0.001 there and is 0.5 here"),
        ({"steps": 60}, "steps was 6 there and is 60 here"),
        ({"batch_size": 3}, "batch_size was 4 there and is 3 here"),
        ({"flip": False}, "flip was True there and is False here"),
        ({"seed": 1}, "seed was 0 there and is 1 here"),
    ],
)
def test_resuming_with_another_setting_is_refused_and_names_it(
    tmp_path: Path, change: dict[str, float], words: str
):
    finish(make_run(tmp_path), stop_after=1)
    with pytest.raises(ValueError, match=words):
        make_run(tmp_path, replace(OPTIONS, **change))


def test_resuming_with_as_many_other_pictures_is_refused(tmp_path: Path):
    finish(make_run(tmp_path), stop_after=1)
    with pytest.raises(ValueError, match="the pictures are not the same"):
        make_run(tmp_path, pictures=noise_pictures(seed=1))


def test_resuming_may_change_how_often_the_state_is_saved(tmp_path: Path):
    finish(make_run(tmp_path), stop_after=1)
    assert make_run(tmp_path, replace(OPTIONS, save_every=1)).step == 1


def test_a_damaged_state_is_an_error_in_words(tmp_path: Path):
    (tmp_path / "training.pt").write_bytes(b"not an archive")
    with pytest.raises(ValueError, match="is not the state of a training, or is damaged"):
        make_run(tmp_path)


def test_a_diverged_training_keeps_the_state_saved_before(tmp_path: Path):
    run = make_run(tmp_path)
    finish(run, stop_after=2)
    with torch.no_grad():
        next(run.model.parameters()).fill_(torch.nan)
    with pytest.raises(ValueError, match="with a lower learning rate"):
        finish(run)
    assert all(value.isfinite().all() for value in make_run(tmp_path).ema.values())


@pytest.mark.parametrize(
    "wrong", [{"steps": 0}, {"batch_size": -1}, {"save_every": 0}, {"learning_rate": 0}]
)
def test_options_out_of_range_are_refused(wrong: dict[str, int]):
    with pytest.raises(ValueError, match="must be"):
        replace(OPTIONS, **wrong)


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((0, 1, 8, 8), "no pictures"),
        ((2, 3, 8, 8), "have 3 channels, but the network takes 1"),
        ((2, 1, 7, 8), "divisible by 2"),
    ],
)
def test_pictures_that_do_not_fit_the_network_are_refused(
    tmp_path: Path, shape: tuple[int, ...], words: str
):
    with pytest.raises(ValueError, match=words):
        make_run(tmp_path, pictures=torch.zeros(shape, dtype=torch.uint8))


def test_training_lowers_the_loss(tmp_path: Path):
    options = replace(OPTIONS, steps=60, batch_size=16, learning_rate=5e-3, save_every=60)
    pictures = torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
    losses = finish(make_run(tmp_path, options, pictures))
    assert sum(losses[-10:]) < sum(losses[:10]) / 2


def test_saving_a_model_that_fails_keeps_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    weights = UNet2D(UNET).state_dict()
    save_model(tmp_path, weights, UNET, SCHEDULER)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert len(before) == 4

    def write_a_part(path: Path, content: bytes) -> int:
        path.open("wb").write(content[:3])
        raise OSError("No space left on device")

    monkeypatch.setattr(Path, "write_bytes", write_a_part)
    with pytest.raises(OSError, match="No space left"):
        save_model(tmp_path, weights, UNET, SCHEDULER)
    assert {path: path.read_bytes() for path in before} == before


# Models from the user's own pictures


def test_a_model_trained_on_a_folder_of_pngs_loads_here_and_in_diffusers(
    picture_folder: Path, tmp_path: Path
):
    images = load_pictures(picture_folder, 8, 3)
    unet = default_unet(8, 3, width=32)
    scheduler = SchedulerConfig(beta_schedule="squaredcos_cap_v2")
    options = TrainingOptions(steps=20, batch_size=2, save_every=20)
    run = TrainingRun(images, tmp_path / "model", unet=unet, scheduler=scheduler, options=options)
    finish(run)
    save_model(tmp_path / "model", run.ema, unet, scheduler)

    files = find_files(tmp_path / "model")
    assert files.scheduler_config is not None
    assert SchedulerConfig.from_dict(read_json(files.scheduler_config)) == scheduler
    checkpoint = read_checkpoint(files)
    assert checkpoint.config == unet
    assert all(torch.equal(checkpoint.weights[name], run.ema[name]) for name in run.ema)

    from diffusers.pipelines.ddpm.pipeline_ddpm import DDPMPipeline

    pipeline = DDPMPipeline.from_pretrained(tmp_path / "model", local_files_only=True)
    assert pipeline.scheduler.config["beta_schedule"] == "squaredcos_cap_v2"
    g = torch.Generator().manual_seed(0)
    x, t = torch.randn(2, 3, 8, 8, generator=g), torch.tensor([3, 900])
    comparison, apart = compare_networks(checkpoint.build(UNet2D), pipeline.unet, x, t)
    assert comparison.holds
    assert apart < 1e-12


@pytest.mark.parametrize(
    ("size", "widths"),
    [
        (8, (64, 128, 192)),
        (28, (64, 128, 192)),
        (32, (128, 256, 256, 256)),
        (64, (128, 128, 256, 256, 512, 512)),
        ((64, 96), (128, 128, 256, 256, 512, 512)),
    ],
)
def test_the_default_network_suits_the_size(size: int | tuple[int, int], widths: tuple[int, ...]):
    config = default_unet(size, 3)
    assert config.block_out_channels == widths
    assert UNetConfig.from_dict(config.to_dict()) == config


def test_the_default_network_for_large_pictures_has_the_blocks_of_diffusers():
    config = default_unet(128, 3)
    down = ["DownBlock2D"] * 6
    down[4] = "AttnDownBlock2D"
    up = ["UpBlock2D"] * 6
    up[1] = "AttnUpBlock2D"
    assert config.down_block_types == tuple(down)
    assert config.up_block_types == tuple(up)


@pytest.mark.parametrize("width", range(32, 257, 32))
def test_every_allowed_width_gives_a_usable_network(width: int):
    for size in (16, 32, 64):
        config = default_unet(size, 1, width)
        assert UNetConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize("size", [4, 30, 36, 80, (64, 70), 0])
def test_a_size_that_cannot_be_halved_is_refused_and_the_others_are_named(
    size: int | tuple[int, int],
):
    with pytest.raises(ValueError, match=r"multiples of 32 from 64 on|at least 1 pixel"):
        default_unet(size, 3)


def test_an_impossible_width_is_refused():
    with pytest.raises(ValueError, match="must be 32 or a multiple of it, not 40"):
        default_unet(64, 3, width=40)


# Pictures


def test_pictures_are_read_from_all_subfolders_in_the_order_of_their_paths(tmp_path: Path):
    (tmp_path / "b").mkdir()
    brightness = {"c.bmp": 3, "a.png": 1, "b/z.webp": 2, "d.jpeg": 4, "e.JPG": 5}
    for name, value in brightness.items():
        options = {"lossless": True} if name.endswith("webp") else {}
        Image.new("L", (10, 8), value * 40).convert("RGB").save(tmp_path / name, **options)
    (tmp_path / "notes.txt").write_text("not a picture")
    images = load_pictures(tmp_path, 8, 1)
    assert images.shape == (5, 1, 8, 8)
    assert images.dtype == torch.uint8
    assert (images.flatten(1).float().mean(1) / 40).round().tolist() == [1, 2, 3, 4, 5]


def test_a_picture_is_cropped_to_its_centre(tmp_path: Path):
    picture = Image.new("RGB", (24, 8), "red")
    picture.paste("blue", (8, 0, 16, 8))
    picture.save(tmp_path / "a.png")
    images = load_pictures(tmp_path, 8, 3)
    assert images.flatten(2).unique(dim=2)[0].tolist() == [[0], [0], [255]]


def test_height_comes_before_width(tmp_path: Path):
    Image.new("RGB", (30, 30)).save(tmp_path / "a.png")
    assert load_pictures(tmp_path, (8, 12), 3).shape == (1, 3, 8, 12)


def test_a_picture_is_turned_as_its_exif_data_says(tmp_path: Path):
    picture = Image.new("L", (8, 8), 0)
    picture.paste(255, (0, 0, 8, 4))  # white above
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by 90°
    picture.save(tmp_path / "a.png", exif=exif)
    row = load_pictures(tmp_path, 8, 1)[0, 0, 0].tolist()
    assert row == [0, 0, 0, 0, 255, 255, 255, 255]


def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path: Path):
    pixels = torch.tensor([0, 257, 32896, 65535]).repeat_interleave(16).reshape(8, 8)
    Image.fromarray(pixels.numpy().astype("uint16")).save(tmp_path / "a.png")
    images = load_pictures(tmp_path, 8, 3)
    assert images[0, 1].unique().tolist() == [0, 1, 128, 255]


SPRITE = Image.new("RGBA", (24, 24), (255, 0, 255, 0))  # magenta below what is transparent
SPRITE.paste((40, 160, 40, 255), (6, 6, 18, 18))


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
    tmp_path: Path, name: str, size: int, background: Colour
):
    picture, options = TRANSPARENT[name]
    picture.save(tmp_path / name, **options)
    (rgb,) = load_pictures(tmp_path, size, 3, background)
    (grey,) = load_pictures(tmp_path, size, 1, background)
    clean = Image.new("RGB", picture.size, background)
    colour = picture.convert("RGBA").convert("RGB").getpixel((12, 12))
    clean.paste(colour, (6, 6, 18, 18))
    for image, mode in ((rgb.permute(1, 2, 0), "RGB"), (grey[0], "L")):
        expected = ImageOps.fit(clean.convert(mode), (size, size), Image.Resampling.LANCZOS)
        assert np.array_equal(image.numpy(), np.asarray(expected))


@pytest.mark.parametrize("name", TRANSPARENT)
@pytest.mark.parametrize("size", [8, 24, 40])
def test_with_four_channels_the_transparency_is_kept_and_hidden_colour_is_zero(
    tmp_path: Path, name: str, size: int
):
    picture, options = TRANSPARENT[name]
    picture.save(tmp_path / name, **options)
    (rgba,) = load_pictures(tmp_path, size, 4)
    assert rgba[:, 0, 0].tolist() == [0, 0, 0, 0]
    assert rgba[3, size // 2, size // 2] == 255
    assert (rgba[:3, rgba[3] == 0] == 0).all()
    # No magenta where enough is seen of a pixel: none is redder than it is green.
    if "grey" not in name:
        seen = rgba[:, rgba[3] > 32].int()
        assert (seen[0] < seen[1]).all()


def test_opaque_pictures_are_what_they_were_with_and_without_an_alpha_channel(tmp_path: Path):
    g = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (12, 14, 3), generator=g, dtype=torch.uint8).numpy()
    Image.fromarray(pixels).save(tmp_path / "a.png")
    Image.fromarray(pixels).convert("RGBA").save(tmp_path / "b.png")
    a, b = load_pictures(tmp_path, 8, 3, (1, 2, 3))
    expected = ImageOps.fit(Image.fromarray(pixels), (8, 8), Image.Resampling.LANCZOS)
    assert torch.equal(a, b)
    assert np.array_equal(a.permute(1, 2, 0).numpy(), np.asarray(expected))
    four = load_pictures(tmp_path, 8, 4)
    assert torch.equal(four[0, :3], a)
    assert (four[:, 3] == 255).all()


def test_the_log_says_what_became_of_transparency_and_how_often(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    SPRITE.save(tmp_path / "a.png")
    SPRITE.convert("RGB").save(tmp_path / "b.png")
    SPRITE.convert("RGB").convert("RGBA").save(tmp_path / "opaque.png")
    with caplog.at_level(logging.INFO):
        load_pictures(tmp_path, 8, 3, (0, 0, 0))
        load_pictures(tmp_path, 8, 4)
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
def test_every_usual_format_is_read(tmp_path: Path, suffix: str):
    picture = Image.new("RGB", (16, 16), (200, 200, 200))
    suffixes = {"pgm": "L", "qoi": "RGBA"}
    picture.convert(suffixes.get(suffix, "RGB")).save(tmp_path / f"a.{suffix}")
    (image,) = load_pictures(tmp_path, 8, 3)
    assert (image.int() - 200).abs().max() <= 3


@pytest.mark.parametrize("suffix", ["eps", "pdf", "svg", "mp4", "heic", "txt"])
def test_a_file_of_another_kind_is_not_opened_and_the_log_names_its_kind(
    tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture
):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    # By its content this would go to Ghostscript.
    for name in (f"b.{suffix}", "c.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / name, "EPS")
    with caplog.at_level(logging.INFO):
        assert len(load_pictures(tmp_path, 8, 3)) == 1
    assert f".{suffix} (1)" in caplog.messages[0]
    assert "c.png" in caplog.messages[1]


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "tiff", "avif"])
def test_of_an_animation_or_of_pages_the_first_is_taken_and_the_log_says_so(
    tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture
):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue", "lime")]
    frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:])
    with caplog.at_level(logging.INFO):
        (image,) = load_pictures(tmp_path, 8, 3)
    assert image[:, 4, 4].tolist() == pytest.approx([255, 0, 0], abs=4)
    assert "1 of 1 are animated or have pages; the first was taken" in caplog.text


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
def test_a_tiff_of_any_kind_of_pixels_is_read(
    tmp_path: Path, mode: str, colour: Any, expected: list[int] | None
):
    picture = Image.new(mode, (8, 8), colour)
    if mode == "P":
        picture.putpalette([9, 8, 7] * 256)
        expected = [9, 8, 7]
    picture.save(tmp_path / "a.tiff")
    assert load_pictures(tmp_path, 8, 3)[0, :, 4, 4].tolist() == expected


def test_sixteen_bits_of_colour_are_read(tmp_path: Path):
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
    assert load_pictures(tmp_path, 8, 3)[0, :, 0, 0].tolist() == [255, 40, 0]


@pytest.mark.parametrize(("mode", "value"), [("F", 200.0), ("F", -1.0), ("I", 70000), ("I", -5)])
def test_values_of_an_unknown_range_are_skipped_with_a_warning_and_not_clipped(
    tmp_path: Path, mode: str, value: float, caplog: pytest.LogCaptureFixture
):
    Image.new(mode, (8, 8), value).save(tmp_path / "a.tiff")
    Image.new("RGB", (8, 8)).save(tmp_path / "b.tiff")
    assert len(load_pictures(tmp_path, 8, 3)) == 1
    assert "its values go from" in caplog.text


def test_reading_and_training_have_the_pictures_in_memory_once(tmp_path: Path):
    g = torch.Generator().manual_seed(0)
    n, size = 600, 64
    for k in range(n):
        pixels = torch.randint(0, 256, (size, size, 3), generator=g, dtype=torch.uint8)
        Image.fromarray(pixels.numpy()).save(tmp_path / f"{k}.bmp")
    (tmp_path / "broken.bmp").write_bytes(b"BM")
    data_set = n * 3 * size * size
    one = data_set / n
    assert peak_bytes(lambda: load_pictures(tmp_path, size, 3)) <= data_set + 2 * one

    # The arrays of numpy and Python's bytes, which the above does not see.
    tracemalloc.start()
    try:
        images = load_pictures(tmp_path, size, 3)
        assert tracemalloc.get_traced_memory()[1] < data_set / 2
        unet = replace(UNET, sample_size=size, in_channels=3, out_channels=3)
        options = replace(OPTIONS, steps=1)
        tracemalloc.reset_peak()
        run = TrainingRun(images, tmp_path / "out", unet=unet, scheduler=SCHEDULER, options=options)
        finish(run)
        assert tracemalloc.get_traced_memory()[1] < data_set / 2
        assert run.images.data_ptr() == images.data_ptr()
    finally:
        tracemalloc.stop()


def test_a_broken_picture_is_skipped_with_a_warning_that_names_it(
    picture_folder: Path, caplog: pytest.LogCaptureFixture
):
    (picture_folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n nothing more")
    whole = (picture_folder / "b.png").read_bytes()
    (picture_folder / "cut short.png").write_bytes(whole[: len(whole) // 2])
    with caplog.at_level(logging.WARNING):
        images = load_pictures(picture_folder, 8, 3)
    assert len(images) == 3
    assert len(caplog.messages) == 2
    assert "broken.png" in caplog.messages[0]
    assert "cut short.png" in caplog.messages[1]


def test_no_picture_at_all_is_an_error_in_words(tmp_path: Path):
    with pytest.raises(ValueError, match="it has no pictures"):
        load_pictures(tmp_path, 8, 3)
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(ValueError, match="none of its 1 pictures can be read"):
        load_pictures(tmp_path, 8, 3)
    with pytest.raises(ValueError, match="There is no folder"):
        load_pictures(tmp_path / "missing", 8, 3)


# Command line


def train_on(pictures: Path, out: Path, *more: str) -> list[str]:
    size = ["--size", "8", "--width", "32", "--batch-size", "2", "--steps", "2"]
    return ["folder", str(pictures), "--out", str(out), *size, *more]


def test_the_command_makes_a_model_and_says_how_to_use_it(
    picture_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "model"
    assert main(train_on(picture_folder, out, "--grey", "--flip")) == 0
    said = capsys.readouterr().out
    assert str(out) in said
    assert "ComfyUI/models/diffusers" in said
    checkpoint = read_checkpoint(find_files(out))
    assert checkpoint.config.in_channels == 1
    assert not list(out.rglob("*.unfinished"))


def test_the_command_goes_on_after_ctrl_c(
    picture_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    command = train_on(picture_folder, tmp_path / "model", "--save-every", "1")
    train_step = TrainingRun._train_step

    def interrupted(self: TrainingRun, step: int) -> float:
        if step == 1:
            raise KeyboardInterrupt
        return train_step(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingRun, "_train_step", interrupted)
        assert main(command) == 130
    assert "The same command goes on after step 1" in capsys.readouterr().out
    assert not (tmp_path / "model" / "model_index.json").exists()

    assert main(command) == 0
    assert main(train_on(picture_folder, tmp_path / "whole")) == 0
    a, b = (read_checkpoint(find_files(tmp_path / name)).sha256 for name in ("model", "whole"))
    assert a == b


@pytest.mark.parametrize(
    ("more", "corner"),
    [
        ([], [255, 255, 255]),
        (["--background", "#0a14c8"], [10, 20, 200]),
        (["--background", "black", "--grey"], [0]),
        (["--alpha"], [0, 0, 0, 0]),
    ],
)
def test_the_command_trains_sprites_on_a_background_or_with_their_transparency(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: list[str], corner: list[int]
):
    (tmp_path / "sprites").mkdir()
    SPRITE.save(tmp_path / "sprites" / "a.png")
    corners = []
    train_step = TrainingRun._train_step

    def seen(self: TrainingRun, step: int) -> float:
        corners.append(self.images[0, :, 0, 0].tolist())
        return train_step(self, step)

    monkeypatch.setattr(TrainingRun, "_train_step", seen)
    assert main(train_on(tmp_path / "sprites", tmp_path / "model", *more)) == 0
    assert corners == [corner, corner]
    config = read_checkpoint(find_files(tmp_path / "model")).config
    assert config.in_channels == config.out_channels == len(corner)


@pytest.mark.parametrize("colour", ["nothing", "#12", "#11223344", "12"])
def test_a_background_that_is_no_colour_is_an_error_that_says_how_to_write_one(
    picture_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], colour: str
):
    with pytest.raises(SystemExit):
        main(train_on(picture_folder, tmp_path / "model", "--background", colour))
    assert f"'{colour}' is not a colour; write a name such as black" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--size", "70"], "multiples of 32 from 64 on"),
        (["--steps", "0"], "steps must be at least 1"),
        (["--learning-rate", "-1"], "learning rate must be above 0"),
    ],
)
def test_the_users_errors_are_one_sentence(
    picture_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    more: list[str],
    words: str,
):
    assert main(train_on(picture_folder, tmp_path / "model", *more)) == 1
    said = capsys.readouterr().err
    assert words in said
    assert "Traceback" not in said
    assert not (tmp_path / "model").exists()


COSINE = replace(digits.SCHEDULER, beta_schedule="squaredcos_cap_v2")


@pytest.mark.parametrize(
    ("more", "options", "scheduler"),
    [
        ([], digits.OPTIONS, digits.SCHEDULER),
        (["--seed", "3"], replace(digits.OPTIONS, seed=3), digits.SCHEDULER),
        (
            ["--steps", "50"],
            replace(digits.OPTIONS, steps=50, warmup_steps=5),
            digits.SCHEDULER,
        ),
        (["--beta-schedule", "squaredcos_cap_v2"], digits.OPTIONS, COSINE),
    ],
)
def test_the_digits_command_has_the_settings_of_the_bundled_model_unless_told_otherwise(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    more: list[str],
    options: TrainingOptions,
    scheduler: SchedulerConfig,
):
    seen = []

    def seen_only(images: Tensor, folder: Path, **settings: object) -> TrainingRun:
        seen.append((tuple(images.shape), settings))
        raise ValueError

    monkeypatch.setattr("comfyui_unconditional.training.__main__.TrainingRun", seen_only)
    main(["digits", "--out", str(tmp_path), *more])
    settings = {"unet": digits.UNET, "scheduler": scheduler, "options": options}
    assert seen == [((1797, 1, 16, 16), settings)]


def test_without_scikit_learn_the_command_says_what_to_install(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    monkeypatch.delitem(sys.modules, "comfyui_unconditional.training.digits")
    assert main(["digits", "--out", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert "Training needs scikit-learn" in said
    assert "`train` extra" in said


def test_more_steps_for_a_finished_training_are_refused_in_words(
    picture_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(train_on(picture_folder, tmp_path / "model")) == 0
    assert main(train_on(picture_folder, tmp_path / "model", "--steps", "3")) == 1
    assert "steps was 2 there and is 3 here" in capsys.readouterr().err


def test_judging_another_model_than_one_of_digits_is_an_error_in_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    save_model(tmp_path, UNet2D(UNET).state_dict(), UNET, SCHEDULER)
    assert main(["judge", str(tmp_path)]) == 1
    assert "8 x 8 pixels and 1 channel; only models of digits" in capsys.readouterr().err


# Judgement


def test_copies_of_real_digits_are_seen_as_copies():
    g = torch.Generator().manual_seed(0)
    labels = torch.arange(10).repeat(6)
    centres = torch.rand(10, 1, 16, 16, generator=g) * 2 - 1
    images = (centres[labels] + 0.01 * torch.randn(60, 1, 16, 16, generator=g)).clamp(-1, 1)
    samples = images[labels < 9]  # none is a nine
    judgement = compare(samples, images, labels)
    assert judgement.distances.median == 0
    assert judgement.distances_real.smallest > 0
    assert judgement.undivided == judgement.undivided_real == 1
    assert judgement.shares == pytest.approx([1 / 9] * 9 + [0])
    assert judgement.rarest == 9


def test_between_two_digits_the_vote_is_divided_and_the_nearer_one_wins():
    images = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.9, 0.95]).reshape(-1, 1, 1, 1)
    labels = torch.tensor([7, 4, 4, 7, 2, 2])
    judgement = compare(torch.zeros(1, 1, 16, 16), images.expand(-1, 1, 16, 16), labels)
    assert judgement.undivided == 0
    assert judgement.shares[7] == 1


def test_samples_are_judged_as_saved_pictures():
    x = torch.tensor([-3.0, -1.0, 0.001, 1.0, 2.0])
    expected = torch.tensor([-1, -1, 1 / 255, 1, 1])
    torch.testing.assert_close(as_saved(x), expected, rtol=0, atol=1e-6)
