"""From files to a network: every layout, and every way in which files can be wrong."""

import json
import os
import pickle
from pathlib import Path

import pytest
import torch
import toys
from comfyui_unconditional.unet.checkpoint import Checkpoint, read_checkpoint
from comfyui_unconditional.unet.errors import CheckpointError, ConfigError
from comfyui_unconditional.unet.files import find_files
from comfyui_unconditional.unet.unet2d import UNet2D
from float64 import compare_networks
from safetensors.torch import load_file, save_file

SAFETENSORS = "diffusion_pytorch_model.safetensors"


def load(folder: Path, dtype: torch.dtype | None = None) -> Checkpoint:
    return read_checkpoint(find_files(folder), dtype)


@pytest.mark.parametrize("layout", ["root", "pipeline"])
@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
@pytest.mark.parametrize("legacy", [False, True])
def test_every_layout_format_and_naming_gives_the_same_model(
    tmp_path: Path, layout: str, suffix: str, legacy: bool
) -> None:
    theirs = toys.write_checkpoint(
        tmp_path, toys.TINY, layout=layout, suffix=suffix, legacy=legacy, scheduler={}
    )
    network = load(tmp_path).build(UNet2D)
    comparison, apart = compare_networks(network, theirs, torch.randn(1, 3, 8, 8), 7)
    assert comparison.holds
    assert apart < 1e-12
    assert (find_files(tmp_path).scheduler_config is not None) is True


def test_safetensors_come_before_bin(tmp_path: Path) -> None:
    toys.write_checkpoint(tmp_path, toys.TINY, suffix="bin", seed=1)
    toys.write_checkpoint(tmp_path, toys.TINY, suffix="safetensors", seed=2)
    assert find_files(tmp_path).weights.name == SAFETENSORS


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_auto_keeps_the_dtype_of_the_file_and_a_chosen_one_wins(
    tmp_path: Path, dtype: torch.dtype
) -> None:
    toys.write_checkpoint(tmp_path, toys.TINY, dtype=dtype)
    assert load(tmp_path).dtype == dtype
    network = load(tmp_path, torch.float32).build(UNet2D)
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}


def test_float64_weights_become_float32(tmp_path: Path) -> None:
    toys.write_checkpoint(tmp_path, toys.TINY, dtype=torch.float64)
    assert load(tmp_path).dtype == torch.float32


def test_the_checkpoint_knows_the_sha256_of_its_weights(tmp_path: Path) -> None:
    import hashlib

    toys.write_checkpoint(tmp_path, toys.TINY)
    expected = hashlib.sha256((tmp_path / SAFETENSORS).read_bytes()).hexdigest()
    assert load(tmp_path).sha256 == expected


def test_a_replaced_file_has_another_fingerprint(tmp_path: Path) -> None:
    toys.write_checkpoint(tmp_path, toys.TINY, scheduler={})
    files = find_files(tmp_path)
    before = files.fingerprint
    assert files.fingerprint == before
    for path in (files.weights, files.config, files.scheduler_config):
        assert path is not None
        stat = path.stat()
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1_000_000))
        assert files.fingerprint != before
        before = files.fingerprint


def test_a_missing_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no folder"):
        load(tmp_path / "nowhere")


def test_an_empty_folder_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no config\.json"):
        load(tmp_path)


def test_a_folder_without_weights_says_what_to_put_there(tmp_path: Path) -> None:
    toys.write_checkpoint(tmp_path, toys.TINY)
    (tmp_path / SAFETENSORS).unlink()
    with pytest.raises(CheckpointError, match=f"put {SAFETENSORS} or"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{ not json", "not valid JSON"),
        (b"", "not valid JSON"),
        (b"\xff\xfe\x00", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b"[1, 2]", "a list"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_a_broken_configuration_is_named(tmp_path: Path, content: bytes, words: str) -> None:
    toys.write_checkpoint(tmp_path, toys.TINY)
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(ConfigError, match=rf"config\.json.*{words}"):
        load(tmp_path)


@pytest.mark.parametrize("keep", [0, 5, 100, 0.5, 0.999])
@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_a_truncated_file_is_a_checkpoint_error(tmp_path: Path, keep: float, suffix: str) -> None:
    toys.write_checkpoint(tmp_path, toys.TINY, suffix=suffix)
    path = tmp_path / f"diffusion_pytorch_model.{suffix}"
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole) if keep < 1 else keep)])
    with pytest.raises(CheckpointError, match="diffusion_pytorch_model"):
        load(tmp_path)


def test_a_git_lfs_pointer_is_recognised_as_no_safetensors_file(tmp_path: Path) -> None:
    toys.write_checkpoint(tmp_path, toys.TINY)
    (tmp_path / SAFETENSORS).write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\n"
    )
    with pytest.raises(CheckpointError, match="Git LFS pointer"):
        load(tmp_path)


def test_a_pickle_with_code_in_it_is_refused_and_not_run(tmp_path: Path) -> None:
    toys.write_checkpoint(tmp_path, toys.TINY, suffix="bin")
    evidence = tmp_path / "evidence"

    class Payload:
        def __reduce__(self) -> tuple:
            return os.mkdir, (str(evidence),)

    path = tmp_path / "diffusion_pytorch_model.bin"
    for write in (torch.save, lambda o, p: Path(p).write_bytes(pickle.dumps(o))):
        write({"conv_in.weight": Payload()}, path)
        with pytest.raises(CheckpointError, match="holds code"):
            load(tmp_path)
    assert not evidence.exists()


def change_weights(folder: Path, change) -> None:
    weights = load_file(folder / SAFETENSORS)
    weights = {name: tensor.clone() for name, tensor in weights.items()}
    change(weights)
    save_file(weights, folder / SAFETENSORS)


def test_a_missing_tensor_is_named(tmp_path: Path) -> None:
    toys.write_checkpoint(tmp_path, toys.TINY)
    change_weights(tmp_path, lambda weights: weights.pop("mid_block.resnets.0.conv1.weight"))
    with pytest.raises(CheckpointError, match=r"missing: mid_block\.resnets\.0\.conv1\.weight"):
        load(tmp_path)


def test_an_extra_tensor_is_named(tmp_path: Path) -> None:
    toys.write_checkpoint(tmp_path, toys.TINY)
    change_weights(tmp_path, lambda weights: weights.update(surprise=torch.zeros(2)))
    with pytest.raises(CheckpointError, match="not part of this configuration: surprise"):
        load(tmp_path)


def test_a_misshapen_tensor_is_named_with_both_shapes(tmp_path: Path) -> None:
    toys.write_checkpoint(tmp_path, toys.TINY)
    change_weights(tmp_path, lambda weights: weights.update({"conv_in.bias": torch.zeros(9)}))
    with pytest.raises(CheckpointError, match=r"conv_in\.bias is \(9,\) .* and \(8,\)"):
        load(tmp_path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_named(tmp_path: Path, value: float) -> None:
    toys.write_checkpoint(tmp_path, toys.TINY)
    change_weights(tmp_path, lambda weights: weights["conv_out.weight"].view(-1)[3:4].fill_(value))
    with pytest.raises(CheckpointError, match=r"conv_out\.weight contains NaN or infinite"):
        load(tmp_path)


def test_integer_weights_are_refused(tmp_path: Path) -> None:
    toys.write_checkpoint(tmp_path, toys.TINY)
    change_weights(
        tmp_path, lambda weights: weights.update({"conv_in.bias": torch.zeros(8, dtype=torch.int8)})
    )
    with pytest.raises(CheckpointError, match=r"torch\.int8"):
        load(tmp_path)


def test_a_bin_that_holds_something_else_than_tensors_is_refused(tmp_path: Path) -> None:
    toys.write_checkpoint(tmp_path, toys.TINY, suffix="bin")
    torch.save([1, 2, 3], tmp_path / "diffusion_pytorch_model.bin")
    with pytest.raises(CheckpointError, match="named tensors"):
        load(tmp_path)


def test_a_configuration_of_a_billion_channels_allocates_nothing(tmp_path: Path) -> None:
    toys.write_checkpoint(tmp_path, toys.TINY)
    for channels, words in ((8 * 10**8, "1 to 65536"), (65_536, "another shape")):
        huge = {**toys.TINY, "block_out_channels": [8, channels]}
        (tmp_path / "config.json").write_text(json.dumps(huge))
        with pytest.raises(CheckpointError, match=words):
            load(tmp_path)
