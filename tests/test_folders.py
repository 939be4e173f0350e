"""Which models are listed and found below the host's folders, with a substitute for the host."""

import errno
import json
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PureWindowsPath
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import toys
from comfyui_unconditional.checkpoints.files import warn_unreadable
from comfyui_unconditional.networks.errors import CheckpointError

from devtools.environment import ROOT

_NOBODY = 65534


@pytest.fixture
def root() -> Iterator[Path]:
    """One of the host's folders, where another user can reach it."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    (folder / "diffusers").mkdir()
    yield folder / "diffusers"
    shutil.rmtree(folder)


@pytest.fixture
def folders(root: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module under test, in a host that has two folders and has saved no model yet."""
    paths = [str(root), str(root.parent / "saved")]
    host = SimpleNamespace(get_folder_paths=lambda kind: paths)
    monkeypatch.setitem(sys.modules, "folder_paths", host)
    monkeypatch.delitem(sys.modules, "comfyui_unconditional.host.folders", raising=False)
    import comfyui_unconditional.host.folders as module

    monkeypatch.delitem(sys.modules, "comfyui_unconditional.host.folders")
    return module


@contextmanager
def as_another_user() -> Iterator[None]:
    """Root may enter every folder, so the tests' own user is not root in this block."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(_NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def listed(folders: ModuleType) -> list[str]:
    return [name for name in folders.model_names() if name not in ("deep-field", "digits-16")]


def write_config(folder: Path, **fields: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(fields))


# What cannot be read


@pytest.mark.parametrize("mode", [0o000, 0o400, 0o100], ids=["nothing", "list", "enter"])
@pytest.mark.parametrize("place", ["lost+found", "deep/lost+found", "b/unet_ema", "a.safetensors"])
def test_a_folder_that_may_not_be_read_is_left_out_with_a_warning_and_all_others_are_listed(
    place, mode, root, folders, caplog
):
    for name in ("a", "b", "c"):
        toys.write_checkpoint(root / name, toys.TINY)
    locked = root / place
    toys.write_checkpoint(locked, toys.TINY)
    if os.geteuid() == 0:
        os.chown(locked, _NOBODY, _NOBODY)
    locked.chmod(mode)
    with as_another_user(), caplog.at_level(logging.WARNING):
        assert listed(folders) == ["a", "b", "c"]
        assert folders.model_files("b").weights.parent == root / "b"
    assert [message for message in caplog.messages if str(locked) in message]
    locked.chmod(0o755)


def test_a_model_in_a_folder_that_may_not_be_read_is_an_error_that_says_so(root, folders):
    toys.write_checkpoint(root / "locked" / "model", toys.TINY)
    (root / "locked").chmod(0o000)
    for name in ("locked", "locked/model", "locked/model@fp16"):
        with as_another_user(), pytest.raises(CheckpointError, match="Permission denied"):
            folders.model_files(name)
    (root / "locked").chmod(0o755)


@pytest.mark.parametrize("reason", [errno.ENOTCONN, errno.ESTALE, errno.EIO])
@pytest.mark.parametrize("place", ["", "share", "b/share"])
def test_a_dead_network_mount_is_left_out_with_a_warning(
    place, reason, root, folders, monkeypatch, caplog
):
    toys.write_checkpoint(root / "a", toys.TINY)
    toys.write_checkpoint(root.parent / "saved" / "s", toys.TINY)
    mount = root / place
    mount.mkdir(parents=True, exist_ok=True)

    def dead(call: Any) -> Any:
        def answer(path: Any = ".", *arguments: Any, **options: Any) -> Any:
            if isinstance(path, str | os.PathLike) and Path(path).is_relative_to(mount):
                raise OSError(reason, os.strerror(reason), str(path))
            return call(path, *arguments, **options)

        return answer

    for name in ("stat", "lstat", "scandir", "listdir"):
        monkeypatch.setattr(os, name, dead(getattr(os, name)))
    with caplog.at_level(logging.WARNING):
        assert listed(folders) == (["a", "s"] if place else ["s"])
    assert any(str(mount) in message for message in caplog.messages)
    assert folders.model_files("s").weights.parent.name == "s"


def test_a_root_that_is_a_file_or_a_link_to_nothing_hides_no_other(root, folders, caplog):
    toys.write_checkpoint(root / "a", toys.TINY)
    caplog.clear()
    saved = root.parent / "saved"
    assert listed(folders) == ["a"]
    assert not caplog.messages  # nothing has been saved yet
    saved.write_text("a file")
    assert listed(folders) == ["a"]
    saved.unlink()
    saved.symlink_to(root.parent / "gone")
    warn_unreadable.cache_clear()
    assert listed(folders) == ["a"]
    assert [str(saved) in message for message in caplog.messages] == [True, True]


def test_an_unreadable_folder_gives_one_warning(root, folders, caplog):
    (root / "locked").mkdir(mode=0o700)
    (root / "locked").chmod(0o000)
    with as_another_user():
        for _ in range(3):
            assert listed(folders) == []
    assert len(caplog.messages) == 1


# What can be a model


BESIDE = [
    *("optimizer.bin", "optimizer_1.bin", "optimizer.pt", "optimizer-00005000.pt", "optim.pth"),
    *("opt500000.pt", "optimizer_state.pt", "zero_pp_rank_0_optim_states.pt", "scheduler.bin"),
    *("lr_scheduler.pt", "scheduler_1.bin", "scaler.pt", "grad_scaler.pth", "sampler.bin"),
    *("random_states_0.pt", "rng_state_3.pth", "training_args.bin", "dl_state_dict.bin"),
    *("pytorch_lora_weights.safetensors", "adapter_model.safetensors", "learned_embeds.bin"),
]


def test_other_files_of_a_training_run_are_not_listed(root, folders):
    models = ["ema_0.9999_500000.pt", "model500000.pt", "net-and-optimizer.pt", "adopted.pt"]
    models += ["resampler.pth", "schedule.pt", "b.CKPT"]
    others = ["model.onnx", "edm.pkl", "notes.txt", "a-00001-of-00002.safetensors", ".hidden.pt"]
    others += ["other/model_index.json", "other/vae/config.json", "other/vae/model.safetensors"]
    (root / "other" / "vae").mkdir(parents=True)
    for name in (*BESIDE, *models, *others):
        (root / name).touch()
    assert listed(folders) == sorted(models)
    # If you name such a file as a model, you get it.
    assert folders.model_files("scaler.pt").weights == root / "scaler.pt"


@pytest.mark.parametrize(
    "fields",
    [
        {"_class_name": "UNet2DConditionModel"},
        {"_class_name": "AutoencoderKL"},
        {"architectures": ["CLIPTextModel"], "model_type": "clip_text_model"},
    ],
    ids=lambda fields: str(next(iter(fields.values()))),
)
@pytest.mark.parametrize("place", ["sd/unet", "sd", "run/checkpoint-500/unet"])
def test_a_network_of_another_class_is_not_listed_and_is_rejected_by_its_class_when_named(
    place, fields, root, folders
):
    write_config(root / place, **fields)
    (root / place / "diffusion_pytorch_model.safetensors").touch()
    if place == "run/checkpoint-500/unet":
        write_config(root / "run" / "unet", **fields)
    toys.write_checkpoint(root / "z", toys.TINY)
    assert listed(folders) == ["z"]
    assert folders.model_files(place).config == root / place / "config.json"


def test_a_network_of_another_class_does_not_hide_a_model_of_the_same_name(root, folders):
    write_config(root / "m" / "unet", _class_name="UNet2DConditionModel")
    toys.write_checkpoint(root.parent / "saved" / "m", toys.TINY)
    assert listed(folders) == ["m"]
    assert folders.model_files("m").weights.parent == root.parent / "saved" / "m"


@pytest.mark.parametrize("class_name", [None, "UNet2DModel", "UNetModel", "UNetUnconditionalModel"])
def test_a_network_of_ours_is_listed_next_to_parts_of_other_kinds(class_name, root, folders):
    write_config(root / "m" / "unet", **({} if class_name is None else {"_class_name": class_name}))
    write_config(root / "m" / "vqvae", _class_name="VQModel")
    (root / "m" / "vqvae" / "diffusion_pytorch_model.safetensors").touch()
    assert listed(folders) == ["m"]


def test_a_model_with_a_damaged_configuration_is_listed_since_loading_says_what_is_wrong(
    root, folders
):
    toys.write_checkpoint(root / "m", toys.TINY)
    (root / "m" / "config.json").write_text("{")
    assert listed(folders) == ["m"]


# Links


def test_loops_of_links_list_each_model_once(root, folders):
    for name in ("a/m", "b/n", "run"):
        toys.write_checkpoint(root / name, toys.TINY)
    toys.write_checkpoint(root / "run" / "checkpoint-1" / "unet", toys.TINY)
    (root / "a" / "up").symlink_to("..")
    (root / "a" / "self").symlink_to(".")
    (root / "a" / "itself").symlink_to("itself")
    (root / "a" / "to_b").symlink_to("../b")
    (root / "b" / "to_a").symlink_to("../a")
    (root / "run" / "checkpoint-1" / "checkpoint-2").symlink_to("..")
    assert [name for name in listed(folders) if "checkpoint-2" not in name] == [
        *("a/m", "b/n", "run", "run/checkpoint-1/unet")
    ]


def test_a_linked_model_is_listed_under_both_names_and_its_folder_from_elsewhere_too(root, folders):
    toys.write_checkpoint(root / "m", toys.TINY)
    (root / "best").symlink_to("m")
    toys.write_checkpoint(root.parent / "elsewhere" / "x", toys.TINY)
    (root / "others").symlink_to("../elsewhere")
    (root / "again").symlink_to("others")
    assert listed(folders) == ["again/x", "best", "m"]
    for name in ("others/x", "again/x"):  # a workflow may have either
        assert folders.model_files(name).weights.exists()


def test_a_folder_of_the_hubs_cache_is_listed(root, folders):
    cache = root / "models--google--ddpm"
    blobs, snapshot = cache / "blobs", cache / "snapshots" / ("0123456789" * 4)
    toys.write_checkpoint(blobs, toys.TINY)
    snapshot.mkdir(parents=True)
    for path in list(blobs.iterdir()):
        blob = path.rename(blobs / path.name.replace(".", "").encode().hex())
        (snapshot / path.name).symlink_to(f"../../blobs/{blob.name}")
    assert listed(folders) == [snapshot.relative_to(root).as_posix()]


# Names


@pytest.mark.parametrize("suffix", [".pkl", ".PKL", ".pickle", ".safetensors"])
@pytest.mark.parametrize(
    "name",
    [
        *("{outside}/x", "../outside/x", "a/../../outside/x", "//server/share/x", "a//../x"),
        *("\\\\server\\share\\x", "C:\\x", "C:x", "~/x", "./x", ".hidden/x", "x"),
    ],
)
def test_a_name_is_never_looked_up_outside_of_the_models_folders(
    name, suffix, root, folders, monkeypatch
):
    outside = root.parent / "outside"
    outside.mkdir()
    (outside / f"x{suffix}").touch()
    name = name.format(outside=outside) + suffix
    seen: list[Path] = []

    def watched(call: Any) -> Any:
        def answer(path: Any = ".", *arguments: Any, **options: Any) -> Any:
            seen.append(Path(os.path.normpath(path)))
            return call(path, *arguments, **options)

        return answer

    with monkeypatch.context() as patch:
        for call in ("stat", "lstat", "scandir", "listdir", "open"):
            patch.setattr(os, call, watched(getattr(os, call)))
        with pytest.raises(CheckpointError) as caught:
            folders.check_name(name)
    roots = (root, root.parent / "saved", ROOT / "models")
    assert [path for path in seen if not any(path.is_relative_to(root) for root in roots)] == []
    if suffix != ".safetensors":
        assert not seen
        assert "was not opened" in str(caught.value)


@pytest.mark.parametrize("separator", ["\\", ":"])
def test_on_windows_a_name_with_a_drive_or_share_is_not_valid(separator, folders, monkeypatch):
    assert folders._is_part(f"a{separator}b")
    monkeypatch.setattr(folders, "Path", PureWindowsPath)
    assert not folders._is_part(f"a{separator}b")
    assert not folders._is_part("\\\\server\\share\\x.pt")
    assert folders._is_part("a.pt")


def test_each_listed_name_is_found_and_no_other_place_than_the_first(root, folders):
    toys.write_checkpoint(root / "x", toys.TINY, layout="pipeline", scheduler={})
    weights = root / "x" / "unet" / "diffusion_pytorch_model.safetensors"
    shutil.copy(weights, weights.with_name("diffusion_pytorch_model.fp16.safetensors"))
    toys.write_checkpoint(root / "x" / "unet_ema", toys.TINY)
    toys.write_checkpoint(root / "x" / "checkpoint-5" / "unet", toys.TINY)
    toys.write_checkpoint(root / "owner--name@v1", toys.TINY)
    (root / "f.pt").touch()
    toys.write_checkpoint(root.parent / "saved" / "x", toys.TINY)
    names = listed(folders)
    assert names == [
        *("f.pt", "owner--name@v1", "x", "x@fp16", "x/unet_ema", "x/checkpoint-5/unet")
    ]
    for name in names:
        assert folders.model_files(name).weights.is_relative_to(root)
    assert folders.model_files("x@fp16").weights.name == "diffusion_pytorch_model.fp16.safetensors"
    (root / "owner--name").mkdir()  # which is no model
    assert folders.model_files("owner--name@v1").weights.parent.name == "owner--name@v1"
    for name in ("x@fp8", "f", "x/none", ""):
        with pytest.raises(CheckpointError, match="was not found"):
            folders.check_name(name)
