"""Saving, with ComfyUI's own modules but without its server: what happens when a write fails."""

import errno
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import graphs
import numpy as np
import psutil
import pytest
import torch
from PIL import Image, ImageSequence
from torch import Tensor
from toys import contents

from devtools.comfyui import comfyui_path
from devtools.environment import ROOT


@pytest.fixture
def saving(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    monkeypatch.syspath_prepend(str(comfyui_path()))
    import folder_paths
    from comfyui_unconditional.host import saving

    monkeypatch.setattr(folder_paths, "output_directory", str(tmp_path / "output"))
    monkeypatch.setattr(folder_paths, "temp_directory", str(tmp_path / "temp"))
    return saving


@pytest.fixture
def output_files(saving: ModuleType) -> ModuleType:
    from comfyui_unconditional.host import output_files

    return output_files


def save(
    saving: ModuleType,
    images: Tensor | None = None,
    prefix: str = "a/b",
    file_format: str = "png",
    **more: Any,
) -> list[dict[str, str]]:
    """Save pictures, or films (N, frames, H, W, C) with their durations."""
    images = torch.rand(3, 8, 8, 3) if images is None else images
    options = {"scale": 1, "graph": saving.GraphMetadata(), "records": [None] * len(images)} | more
    if images.ndim == 5:
        return saving.save_animations(images, prefix, **options)
    return saving.save_pictures(images, prefix, file_format, **options)


def test_a_disk_that_fills_up_leaves_whole_pictures_and_no_half_ones(saving, tmp_path, monkeypatch):
    folder = tmp_path / "output" / "a"
    written: list[Path] = []
    whole = saving.picture_writer

    def filling(*arguments: Any) -> Any:
        save_one = whole(*arguments)

        def write(file: Any) -> None:
            written.append(Path(file.name))
            if len(written) == 2:
                file.write(b"half a picture")
                raise OSError(errno.ENOSPC, "No space left on device")
            save_one(file)

        return write

    monkeypatch.setattr(saving, "picture_writer", filling)
    with pytest.raises(ValueError, match=r"cannot be saved in .*: No space left on device\. Free"):
        save(saving)
    assert [path.name for path in folder.iterdir()] == ["b_00001_.png"]
    assert all(path.suffix == ".unfinished" for path in written)


def test_a_file_that_cannot_be_cleaned_up_does_not_hide_why_saving_failed(
    saving, monkeypatch, caplog
):
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(errno.EIO, "Input/output error")

    def fill(_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(saving, "picture_writer", lambda *_: fill)
    monkeypatch.setattr(Path, "unlink", fail)
    with pytest.raises(ValueError, match=r"cannot be saved in .*: No space left on device\. Free"):
        save(saving)
    assert "cannot be removed: Input/output error" in caplog.text


def test_pictures_are_numbered_on_and_never_overwritten(saving, tmp_path):
    names = [shown["filename"] for shown in save(saving) + save(saving)]
    assert names == [f"b_{k:05}_.png" for k in range(1, 7)]
    assert len(list((tmp_path / "output" / "a").iterdir())) == 6


def test_disabled_metadata_is_left_out(saving, tmp_path, monkeypatch):
    graph = saving.GraphMetadata({"1": {}}, {"workflow": {}})
    for disabled in (False, True):
        monkeypatch.setattr(saving.args, "disable_metadata", disabled)
        shown = save(saving, graph=graph, records=[{"seed": 1}] * 3)
        path = tmp_path / "output" / "a" / shown[0]["filename"]
        names = set(Image.open(path).text)
        assert names == (set() if disabled else {"prompt", "workflow", "unconditional"})


@pytest.mark.parametrize(
    ("name", "value"),
    [("set", {1, 2}), ("\N{SNOWMAN}", 1), ("x" * 80, 1), ("a\0b", 1), ("", 1), ("a\ud800", 1)],
)
@pytest.mark.parametrize("file_format", ["png", "webp", "film"])
def test_metadata_that_a_file_cannot_hold_is_left_out_with_a_warning(
    saving, tmp_path, caplog, file_format, name, value
):
    graph = saving.GraphMetadata({"1": {}}, {name: value, "workflow": {}})
    images, more = torch.rand(1, 8, 8, 3), {"graph": graph, "records": [{"seed": 1}]}
    if file_format == "film":
        images, more["durations"] = images.expand(1, 2, 8, 8, 3), [9, 9]
    (shown,) = save(saving, images, "m", file_format, **more)
    found = graphs.read_metadata(tmp_path / "output" / shown["filename"])
    assert found == {"prompt": {"1": {}}, "workflow": {}, "unconditional": {"seed": 1}}
    assert f"metadata {name!r} is not saved" in caplog.text


def test_extra_metadata_of_another_form_does_not_stop_the_saving(saving, tmp_path):
    graph = saving.GraphMetadata({"1": {}}, ["workflow"])
    (shown,) = save(saving, torch.rand(1, 8, 8, 3), "m", graph=graph)
    found = graphs.read_metadata(tmp_path / "output" / shown["filename"])
    assert found == {"prompt": {"1": {}}}


@pytest.mark.parametrize("file_format", ["webp", "png"])
def test_a_picture_that_is_too_large_is_rejected_before_it_is_made(saving, tmp_path, file_format):
    images = torch.zeros(1, 2, 1024, 1) if file_format == "webp" else torch.zeros(1, 1024, 1024, 1)
    words = "16384 x 32 pixels, but the maximum" if file_format == "webp" else "can open again"
    with pytest.raises(ValueError, match=words):
        save(saving, images, "large", file_format, scale=16)
    assert not (tmp_path / "output" / "large_00001_.png").exists()


def test_an_animation_that_memory_does_not_hold_is_rejected_before_it_is_made(
    saving, tmp_path, monkeypatch
):
    memory = SimpleNamespace(available=5 * 16 * 16 * 3 - 1)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    films = torch.zeros(1, 5, 8, 8, 3)
    with pytest.raises(ValueError, match="5 frames with 16 x 16 pixels needs"):
        save(saving, films, "long", durations=[40] * 5, scale=2)
    assert not list(tmp_path.rglob("long*"))
    assert save(saving, films[:, :4], "long", durations=[40] * 4, scale=2)


@pytest.mark.parametrize("file_format", ["png", "webp"])
def test_a_picture_keeps_the_colours_below_its_transparency(saving, tmp_path, file_format):
    images = torch.rand(1, 8, 6, 4)
    images[..., 3] = torch.randint(0, 2, (8, 6))
    (shown,) = save(saving, images, "clear", file_format)
    pixels = np.asarray(Image.open(tmp_path / "output" / shown["filename"]))
    assert np.array_equal(pixels, (images[0].numpy() * 255).round())


def test_an_animation_has_its_frames_without_loss_and_their_durations(saving, tmp_path):
    films = torch.rand(2, 4, 8, 6, 3)
    shown = save(
        saving,
        films,
        "film",
        durations=[40, 50, 60, 1500],
        scale=2,
        graph=saving.GraphMetadata({"1": {}}, {"workflow": {"nodes": []}, "other": [1]}),
        records=[{"seed": 1}, {"seed": 2}],
    )
    assert [entry["filename"] for entry in shown] == ["film_00001_.webp", "film_00002_.webp"]
    for film, entry, seed in zip(films, shown, (1, 2), strict=True):
        moving = Image.open(tmp_path / "output" / entry["filename"])
        assert moving.info["loop"] == 0
        durations = []
        for frame, picture in zip(film, ImageSequence.Iterator(moving), strict=True):
            pixels = np.asarray(picture.convert("RGB"))
            expected = (frame.numpy() * 255).round().repeat(2, 0).repeat(2, 1)
            assert np.array_equal(pixels, expected)
            durations.append(picture.info["duration"])
        assert durations == [40, 50, 60, 1500]
        texts = [text for text in moving.getexif().values() if isinstance(text, str)]
        assert set(texts) == {
            'prompt:{"1": {}}',
            'workflow:{"nodes": []}',
            "other:[1]",
            f'unconditional:{{"seed": {seed}}}',
        }


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("changed", [[], [1], [3]], ids=["none", "second", "last"])
def test_an_animation_of_equal_frames_lasts_as_long_as_its_frames(
    saving, tmp_path, channels, changed
):
    film = torch.rand(1, 5, 7, channels)
    film[..., -1] = 0.4  # of RGBA: half transparent
    frames = film.expand(4, -1, -1, -1).clone()
    for k in changed:
        frames[k] = 1
    options = {"graph": saving.GraphMetadata({"1": {}}), "records": [{"seed": 1}]}
    durations = [40, 50, 60, 1500]
    (shown,) = save(saving, frames[None], "f", durations=durations, scale=3, **options)
    moving = Image.open(tmp_path / "output" / shown["filename"])
    assert moving.is_animated
    assert moving.info["loop"] == 0
    texts = [text for text in moving.getexif().values() if isinstance(text, str)]
    assert set(texts) == {'prompt:{"1": {}}', 'unconditional:{"seed": 1}'}
    ends, pixels = [], []
    for picture in ImageSequence.Iterator(moving):
        mode = {1: "L", 3: "RGB", 4: "RGBA"}[channels]
        pixels.append(np.asarray(picture.convert(mode)).reshape(15, 21, channels))
        ends.append(sum(ends[-1:]) + picture.info["duration"])
    assert ends[-1] == sum(durations)
    for k, frame in enumerate(frames):
        middle = sum(durations[:k]) + durations[k] / 2
        seen = next(p for p, end in zip(pixels, ends, strict=True) if middle < end)
        assert np.array_equal(seen, (frame.numpy() * 255).round().repeat(3, 0).repeat(3, 1))


@pytest.mark.parametrize("links", ["links", "no links"])
def test_two_hosts_that_save_200_files_into_one_folder_lose_none(tmp_path, links):
    output = tmp_path / "output"
    program = str(ROOT / "tests" / "save_many.py")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])}
    hosts = [
        subprocess.Popen(
            [sys.executable, program, str(output), str(first), str(tmp_path), links],
            env=environment,
        )
        for first in (0, 100)
    ]
    assert [host.wait() for host in hosts] == [0, 0]
    files = [path for path in output.rglob("*") if path.is_file()]
    arrays = [np.load(path) * 255 for path in files if path.suffix == ".npy"]
    pictures = [np.asarray(Image.open(path)) for path in files if path.suffix != ".npy"]
    colours = [round(float(content.flat[0])) for content in arrays + pictures]
    assert sorted(colours) == list(range(200))


@pytest.mark.parametrize("prefix", ["", "folder/", "run_%batch_num%", "a/%batch_num%", "%year%"])
def test_a_second_run_replaces_nothing_whatever_the_prefix(saving, tmp_path, prefix):
    def run() -> None:
        images = torch.rand(2, 8, 8, 3)
        save(saving, images, prefix, "png")
        save(saving, images, prefix, "webp")
        save(saving, images.unsqueeze(1), prefix, durations=[9])
        saving.save_array(images, prefix, scale=1)

    run()
    first = contents(tmp_path / "output")
    run()
    both = contents(tmp_path / "output")
    assert len(first) == 7
    assert len(both) == 14
    assert both.items() >= first.items()
    assert not any(Path(name).name.startswith(".") for name in both)


def test_files_with_a_batch_number_are_numbered_on(saving, tmp_path):
    for _ in range(2):
        save(saving, torch.rand(2, 8, 8, 3), "run_%batch_num%")
    names = ["run_0_00001_.png", "run_0_00003_.png", "run_1_00002_.png", "run_1_00004_.png"]
    assert sorted(path.name for path in (tmp_path / "output").iterdir()) == names


TOO_LONG = r"is too long .*Shorten filename_prefix\."
IS_NO_NAME = "is not a valid file name"


@pytest.mark.parametrize(
    ("words", "prefixes"),
    [
        (TOO_LONG, ["x" * 300, "\N{SNOWMAN}" * 90, "y" * 300 + "/x"]),
        ("outside the output folder", ["../x", "a/../../x", "/x", ".."]),
        (IS_NO_NAME, ["a\ud800b", "a\udcffb/x", "a\0b", "a\nb"]),
    ],
)
def test_an_invalid_prefix_is_rejected_before_the_run_with_a_printable_message(
    output_files, words, prefixes
):
    for prefix in prefixes:
        with pytest.raises(ValueError, match=words) as error:
            output_files.check_prefix(prefix)
        assert str(error.value).isprintable()


# The last two are only too long after the host has filled in the variables.
@pytest.mark.parametrize(
    "prefix",
    ["x" * 300, "y" * 300 + "/x", "x" * 230 + "%year%" * 5, "/".join(["d" * 200] * 30)],
)
def test_saving_under_a_name_that_is_too_long_leaves_nothing(saving, tmp_path, prefix):
    with pytest.raises(ValueError, match=TOO_LONG):
        save(saving, prefix=prefix)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    "prefix", ["link/x", "link/../x", "a/../x", "a/../../x", "../x", "./x", "{root}/x", "{root}x/x"]
)
def test_a_prefix_is_rejected_before_the_run_where_the_host_would_reject_it_after(
    output_files, tmp_path, prefix
):
    import folder_paths

    root = tmp_path / "output"
    root.mkdir()
    (root / "link").symlink_to(tmp_path, target_is_directory=True)
    prefix = prefix.format(root=root)
    outcomes = []
    for check in (
        output_files.check_prefix,
        lambda prefix: folder_paths.get_save_image_path(prefix, str(root), 8, 8),
    ):
        try:
            check(prefix)
            outcomes.append("accepted")
        except Exception as error:
            outcomes.append("outside" if "outside" in str(error) else repr(error))
    assert outcomes in (["accepted"] * 2, ["outside"] * 2)


@pytest.mark.parametrize("prefix", ["con/x", "nul.txt", "a?", "a:b", "LPT1/x"])
def test_on_windows_a_prefix_that_windows_has_no_file_for_is_rejected(
    output_files, monkeypatch, prefix
):
    output_files.check_prefix(prefix)
    monkeypatch.setattr(output_files, "_ON_WINDOWS", True)
    output_files.check_prefix("con")  # con_00001_.png is a file
    with pytest.raises(ValueError, match="is not a valid file name"):
        output_files.check_prefix(prefix)
