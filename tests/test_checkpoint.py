"""From files to a network: every layout, and everything that can be wrong with files."""

import json
import os
import time
import traceback
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
import torch
import toys
from comfyui_unconditional.checkpoints.files import find_files
from comfyui_unconditional.checkpoints.reading import Checkpoint, read_checkpoint
from comfyui_unconditional.networks.errors import CheckpointError, ConfigError
from comfyui_unconditional.unet.unet2d import UNet2D
from float64 import compare_networks
from safetensors.torch import load_file, save_file

SAFETENSORS = "diffusion_pytorch_model.safetensors"


def load(folder: Path, dtype: torch.dtype | None = None) -> Checkpoint:
    return read_checkpoint(find_files(folder), dtype)


@pytest.mark.parametrize("layout", ["root", "pipeline"])
@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
@pytest.mark.parametrize("legacy", [False, True])
def test_every_layout_format_and_naming_gives_the_same_model(tmp_path, layout, suffix, legacy):
    theirs = toys.write_checkpoint(
        tmp_path, toys.TINY, layout=layout, suffix=suffix, legacy=legacy, scheduler={}
    )
    network = load(tmp_path).build(UNet2D)
    comparison, apart = compare_networks(network, theirs, torch.randn(1, 3, 8, 8), 7)
    assert comparison.holds
    assert apart < 1e-12
    assert (find_files(tmp_path).scheduler_config is not None) is True


def test_safetensors_come_before_bin(tmp_path):
    toys.write_checkpoint(tmp_path, toys.TINY, suffix="bin", seed=1)
    toys.write_checkpoint(tmp_path, toys.TINY, suffix="safetensors", seed=2)
    assert find_files(tmp_path).weights.name == SAFETENSORS


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_auto_keeps_the_dtype_of_the_file_up_to_float32_and_a_chosen_one_wins(tmp_path, dtype):
    toys.write_checkpoint(tmp_path, toys.TINY, dtype=dtype)
    assert load(tmp_path).dtype == (torch.float32 if dtype == torch.float64 else dtype)
    network = load(tmp_path, torch.float32).build(UNet2D)
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}


def test_the_checkpoint_knows_the_sha256_of_its_weights(tmp_path):
    import hashlib

    toys.write_checkpoint(tmp_path, toys.TINY)
    expected = hashlib.sha256((tmp_path / SAFETENSORS).read_bytes()).hexdigest()
    assert load(tmp_path).sha256 == expected


def test_a_replaced_file_has_another_fingerprint(tmp_path):
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


@pytest.mark.parametrize("how", ["replaced", "overwritten"])
def test_other_weights_of_equal_size_and_time_have_another_fingerprint(tmp_path, how):
    toys.write_checkpoint(tmp_path, toys.TINY)
    files = find_files(tmp_path)
    before, stat = files.fingerprint, files.weights.stat()
    other = files.weights.read_bytes()[:-1] + b"x"
    time.sleep(0.05)  # some file systems have times of 10 ms
    target = files.weights if how == "overwritten" else tmp_path / "new"
    target.write_bytes(other)
    os.utime(target, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    os.replace(target, files.weights)
    after = files.weights.stat()
    assert (after.st_size, after.st_mtime_ns) == (stat.st_size, stat.st_mtime_ns)
    assert files.fingerprint != before


def test_a_folder_without_a_file_says_which(tmp_path):
    with pytest.raises(CheckpointError, match=r"folder .* does not exist"):
        load(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match=r"no config\.json"):
        load(tmp_path)
    toys.write_checkpoint(tmp_path, toys.TINY)
    (tmp_path / SAFETENSORS).write_text("version https://git-lfs.github.com/spec/v1\noid 0\n")
    with pytest.raises(CheckpointError, match="Git LFS pointer"):
        load(tmp_path)
    (tmp_path / SAFETENSORS).unlink()
    with pytest.raises(CheckpointError, match=f"Put {SAFETENSORS} or"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{ not json", "not valid JSON"),
        (b"", "not valid JSON"),
        (b"\xff\xfe\x00", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b"[1, 2]", "contains a list"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_a_broken_configuration_is_named(tmp_path, content, words):
    toys.write_checkpoint(tmp_path, toys.TINY)
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(ConfigError, match=rf"config\.json.*{words}"):
        load(tmp_path)


@pytest.mark.parametrize("keep", [0, 5, 100, 0.5, 0.999])
@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_a_truncated_file_is_a_checkpoint_error(tmp_path, keep, suffix):
    toys.write_checkpoint(tmp_path, toys.TINY, suffix=suffix)
    path = tmp_path / f"diffusion_pytorch_model.{suffix}"
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole) if keep < 1 else keep)])
    with pytest.raises(CheckpointError, match="diffusion_pytorch_model"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("name", "tensor", "words"),
    [
        ("conv_out.bias", None, r"missing: conv_out\.bias"),
        ("surprise", torch.zeros(2), "not part of this configuration: surprise"),
        ("conv_in.bias", torch.zeros(9), r"conv_in\.bias is \(9,\) .* and \(8,\)"),
        ("conv_in.bias", torch.zeros(8, dtype=torch.int8), r"torch\.int8"),
        ("conv_in.bias", torch.full((8,), torch.nan), r"conv_in\.bias contains NaN or infinite"),
        ("conv_in.bias", torch.full((8,), torch.inf), r"conv_in\.bias contains NaN or infinite"),
    ],
    ids=["missing", "extra", "misshapen", "integers", "NaN", "infinite"],
)
def test_a_tensor_that_does_not_fit_is_named(name, tensor, words, tmp_path):
    toys.write_checkpoint(tmp_path, toys.TINY)
    weights = load_file(tmp_path / SAFETENSORS) | {name: tensor}
    kept = {name: tensor.clone() for name, tensor in weights.items() if tensor is not None}
    save_file(kept, tmp_path / SAFETENSORS)
    with pytest.raises(CheckpointError, match=words):
        load(tmp_path)


@pytest.mark.parametrize(
    ("stored", "dtype", "value", "remedy"),
    [
        (torch.float32, torch.float16, 1e5, "Choose dtype float32 or bfloat16"),
        (torch.bfloat16, torch.float16, -7e4, "Choose dtype float32 or bfloat16"),
        (torch.float64, torch.float32, 1e39, "use another checkpoint"),
        (torch.float64, None, 1e39, "use another checkpoint"),
    ],
    ids=str,
)
def test_a_weight_that_becomes_infinite_in_the_chosen_dtype_is_named(
    stored, dtype, value, remedy, tmp_path
):
    toys.write_checkpoint(tmp_path, toys.TINY, dtype=stored)
    weights = load_file(tmp_path / SAFETENSORS)
    weights["conv_out.weight"].view(-1)[3] = value
    save_file(weights, tmp_path / SAFETENSORS)
    with pytest.raises(CheckpointError, match=rf"conv_out\.weight has values up to .*{remedy}"):
        load(tmp_path, dtype)
    if stored != torch.float64:
        for wide in (torch.float32, torch.bfloat16):
            assert all(t.isfinite().all() for t in load(tmp_path, wide).weights.values())


def test_a_configuration_of_a_billion_channels_allocates_nothing(tmp_path):
    toys.write_checkpoint(tmp_path, toys.TINY)
    for channels, words in ((8 * 10**8, "1 to 65536"), (65_536, "another shape")):
        huge = {**toys.TINY, "block_out_channels": [8, channels]}
        (tmp_path / "config.json").write_text(json.dumps(huge))
        with pytest.raises(CheckpointError, match=words):
            load(tmp_path)


def write_pipeline(folder: Path, class_name: str = "DDPMPipeline", **parts: Any) -> None:
    toys.write_checkpoint(folder, toys.TINY, layout="pipeline", scheduler={})
    path = folder / "model_index.json"
    index = json.loads(path.read_text())
    path.write_text(json.dumps(index | {"_class_name": class_name, **parts}))


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"vqvae": ["diffusers", "VQModel"]}, "latents"),
        ({"vae": ["diffusers", "AutoencoderKL"]}, "latents"),
        ({"movq": ["diffusers", "VQModel"]}, "latents"),
        ({"first": ["my_package", "AutoencoderTiny"]}, "latents"),
        ({"mel": ["audio", "Mel"], "vqvae": ["diffusers", "AutoencoderKL"]}, "latents"),
        ({"text_encoder": ["transformers", "CLIPTextModel"]}, "from text"),
        ({"tokenizer": ["transformers", "CLIPTokenizer"]}, "from text"),
        ({"bert": ["latent_diffusion", "LDMBertModel"]}, "from text"),
        ({"prior": ["diffusers", "PriorTransformer"]}, "from text"),
        ({"image_encoder": ["transformers", "CLIPVisionModel"]}, "edits or upscales"),
    ],
    ids=str,
)
@pytest.mark.parametrize("chosen", ["", "unet", "unet_ema", "checkpoint-500/unet"])
def test_a_network_of_another_pipeline_is_rejected_with_its_purpose(chosen, parts, words, tmp_path):
    write_pipeline(tmp_path, "LDMPipeline", **parts)
    toys.write_checkpoint(tmp_path / "unet_ema", toys.TINY)
    toys.write_checkpoint(tmp_path / "checkpoint-500" / "unet", toys.TINY)
    with pytest.raises(CheckpointError, match=rf"LDMPipeline.*{words}"):
        load(tmp_path / chosen)


@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"mel": ["audio_diffusion", "Mel"]},
        {"mel": ["audio_diffusion", "Mel"], "vqvae": [None, None]},
        {"vae": None, "text_encoder": [None, None]},
        {"requires_safety_checker": False, "note": "vae", "safety_checker": ["a", "Checker"]},
    ],
    ids=str,
)
def test_a_pipeline_of_pixels_loads(parts, tmp_path):
    write_pipeline(tmp_path, "AudioDiffusionPipeline", **parts)
    assert load(tmp_path).config.size == (8, 8)
    assert load(tmp_path / "unet").config.size == (8, 8)


def test_a_missing_scheduler_config_or_class_is_taken_from_the_pipeline(tmp_path):
    scheduler = ["diffusers", "FlowMatchEulerDiscreteScheduler"]
    write_pipeline(tmp_path, scheduler=scheduler)
    path = tmp_path / "scheduler" / "scheduler_config.json"
    assert load(tmp_path).scheduler == {"_class_name": "DDPMScheduler"}
    path.write_text('{"beta_end": 0.01}')
    assert load(tmp_path).scheduler == {"_class_name": scheduler[1], "beta_end": 0.01}
    path.unlink()
    for chosen in (tmp_path, tmp_path / "unet"):
        assert load(chosen).scheduler == {"_class_name": scheduler[1]}


def test_a_scheduler_folder_next_to_a_network_at_the_root_is_found(tmp_path):
    toys.write_checkpoint(tmp_path, toys.TINY)
    place = tmp_path / "scheduler" / "scheduler_config.json"
    place.parent.mkdir()
    place.write_text('{"_class_name": "EDMEulerScheduler"}')
    assert find_files(tmp_path).scheduler_config == place


def test_a_broken_model_index_is_named(tmp_path):
    write_pipeline(tmp_path)
    (tmp_path / "model_index.json").write_text("{")
    with pytest.raises(ConfigError, match=r"model_index\.json is not valid JSON"):
        load(tmp_path)


def test_a_pickle_with_text_of_no_encoding_is_rejected_with_a_printable_message(tmp_path):
    # The host logs the error and its causes, and its queue stops if it cannot.
    text = "a\ud800b".encode("utf-8", "surrogatepass")
    called = (
        b"X" + len(text).to_bytes(4, "little") + text + b")R"
    )  # torch quotes the name of the function
    path = tmp_path / "strange.pt"
    torch.save({"x": torch.zeros(1)}, tmp_path / "usual.pt")
    with ZipFile(tmp_path / "usual.pt") as usual, ZipFile(path, "w") as strange:
        for name in usual.namelist():
            is_pickle = name.endswith("data.pkl")
            content = b"\x80\x02" + called + b"." if is_pickle else usual.read(name)
            strange.writestr(name.replace("usual", "strange"), content)
    with pytest.raises(CheckpointError) as error:
        read_checkpoint(find_files(path))
    "".join(traceback.format_exception(error.value)).encode()
