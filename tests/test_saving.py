"""Saving, with ComfyUI's own modules but without its server: what happens when a write fails."""

import errno
from pathlib import Path
from types import ModuleType
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
    from PIL import Image

    graph = saving.GraphMetadata({"1": {}}, {"workflow": {}})
    for disabled in (False, True):
        monkeypatch.setattr(saving.args, "disable_metadata", disabled)
        shown = save(saving, graph=graph, records=[{"seed": 1}] * 3)
        path = tmp_path / "output" / "a" / shown[0]["filename"]
        names = set(Image.open(path).text)  # type: ignore[attr-defined]
        assert names == (set() if disabled else {"prompt", "workflow", "unconditional"})
