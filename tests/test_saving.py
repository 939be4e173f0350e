"""Saving, with ComfyUI's own modules but without its server: what happens when a write fails."""

import errno
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from devtools.comfyui import comfyui_path


@pytest.fixture
def saving(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    monkeypatch.syspath_prepend(str(comfyui_path()))
    import folder_paths
    from comfyui_unconditional.host import saving

    monkeypatch.setattr(folder_paths, "output_directory", str(tmp_path / "output"))
    monkeypatch.setattr(folder_paths, "temp_directory", str(tmp_path / "temp"))
    return saving


def save(saving: ModuleType, **more: Any) -> list[dict[str, str]]:
    options = {"scale": 1, "graph": saving.GraphMetadata(), "records": [None] * 3} | more
    images = torch.rand(3, 8, 8, 3)
    return saving.save_pictures(images, "a/b", "png", **options)


def test_a_disk_that_fills_up_leaves_whole_pictures_and_no_half_ones(
    saving: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "output" / "a"
    written: list[Path] = []
    whole = saving._saver

    def filling(*arguments: Any) -> Any:
        save_one = whole(*arguments)

        def write(file: Any) -> None:
            written.append(Path(file.name))
            if len(written) == 2:
                file.write(b"half a picture")
                raise OSError(errno.ENOSPC, "No space left on device")
            save_one(file)

        return write

    monkeypatch.setattr(saving, "_saver", filling)
    with pytest.raises(ValueError, match=r"cannot be saved in .*: No space left on device\. Free"):
        save(saving)
    assert [path.name for path in folder.iterdir()] == ["b_00001_.png"]
    assert all(path.suffix == ".unfinished" for path in written)


def test_pictures_are_numbered_on_and_never_overwritten(saving: ModuleType, tmp_path: Path) -> None:
    names = [shown["filename"] for shown in save(saving) + save(saving)]
    assert names == [f"b_{k:05}_.png" for k in range(1, 7)]
    assert len(list((tmp_path / "output" / "a").iterdir())) == 6


def test_disabled_metadata_is_left_out(
    saving: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from comfyui_unconditional.host import metadata
    from PIL import Image

    graph = saving.GraphMetadata({"1": {}}, {"workflow": {}})
    for disabled in (False, True):
        monkeypatch.setattr(metadata.args, "disable_metadata", disabled)
        shown = save(saving, graph=graph, records=[{"seed": 1}] * 3)
        path = tmp_path / "output" / "a" / shown[0]["filename"]
        names = set(Image.open(path).text)  # type: ignore[attr-defined]
        assert names == (set() if disabled else {"prompt", "workflow", "unconditional"})


@pytest.mark.parametrize("file_format", ["webp", "png"])
def test_a_picture_that_is_too_large_is_refused_before_it_is_made(
    saving: ModuleType, tmp_path: Path, file_format: str
) -> None:
    images = torch.zeros(1, 2, 1024, 1) if file_format == "webp" else torch.zeros(1, 1024, 1024, 1)
    options = {"graph": saving.GraphMetadata(), "records": [None]}
    words = "16384 x 32 pixels, and WebP" if file_format == "webp" else "can open again"
    with pytest.raises(ValueError, match=words):
        saving.save_pictures(images, "large", file_format, scale=16, **options)
    assert not (tmp_path / "output" / "large_00001_.png").exists()


def test_an_animation_that_memory_does_not_hold_is_refused_before_it_is_made(
    saving: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        saving.psutil, "virtual_memory", lambda: SimpleNamespace(available=5 * 16 * 16 * 3 - 1)
    )
    options = {"scale": 2, "graph": saving.GraphMetadata(), "records": [None]}
    films = torch.zeros(1, 5, 8, 8, 3)
    with pytest.raises(ValueError, match="5 frames with 16 x 16 pixels needs"):
        saving.save_animations(films, "long", durations=[40] * 5, **options)
    assert not list(tmp_path.rglob("long*"))
    assert saving.save_animations(films[:, :4], "long", durations=[40] * 4, **options)


@pytest.mark.parametrize("file_format", ["png", "webp"])
def test_a_picture_keeps_the_colours_below_its_transparency(
    saving: ModuleType, tmp_path: Path, file_format: str
) -> None:
    import numpy as np
    from PIL import Image

    images = torch.rand(1, 8, 6, 4)
    images[..., 3] = torch.randint(0, 2, (8, 6))
    options = {"scale": 1, "graph": saving.GraphMetadata(), "records": [None]}
    (shown,) = saving.save_pictures(images, "clear", file_format, **options)
    pixels = np.asarray(Image.open(tmp_path / "output" / shown["filename"]))
    assert np.array_equal(pixels, (images[0].numpy() * 255).round())


def test_an_animation_has_its_frames_without_loss_and_their_durations(
    saving: ModuleType, tmp_path: Path
) -> None:
    import numpy as np
    from PIL import Image, ImageSequence

    films = torch.rand(2, 4, 8, 6, 3)
    shown = saving.save_animations(
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
    saving: ModuleType, tmp_path: Path, channels: int, changed: list[int]
) -> None:
    import numpy as np
    from PIL import Image, ImageSequence

    film = torch.rand(1, 5, 7, channels)
    film[..., -1] = 0.4  # of RGBA: half transparent
    frames = film.expand(4, -1, -1, -1).clone()
    for k in changed:
        frames[k] = 1
    options = {"graph": saving.GraphMetadata({"1": {}}), "records": [{"seed": 1}]}
    durations = [40, 50, 60, 1500]
    (shown,) = saving.save_animations(frames[None], "f", durations=durations, scale=3, **options)
    moving = Image.open(tmp_path / "output" / shown["filename"])
    assert moving.is_animated  # type: ignore[attr-defined]
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
