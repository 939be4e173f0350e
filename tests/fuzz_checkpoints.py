"""Damaged and hostile model folders, thousands of them: `python tests/fuzz_checkpoints.py`.

Each must load correctly or end in one of the pack's own errors. A worker process with limited
memory opens them one by one; one that hangs or dies is a finding, and the next worker goes on
after it. ``--files``, ``--seed`` and ``--first`` say which; repeat a single finding with ``--files
1 --first N``.
"""

import argparse
import io
import json
import os
import pickle
import random
import select
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SECONDS = 20
MEMORY = 2 * 2**30
"""What a worker may take beyond what torch takes by being imported, in bytes of address space."""

CONFIG: dict[str, Any] = {
    "_class_name": "UNet2DModel",
    "sample_size": 8,
    "block_out_channels": [8, 16],
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "attention_head_dim": None,
}
SCHEDULER: dict[str, Any] = {
    "_class_name": "DDPMScheduler",
    "num_train_timesteps": 1000,
    "beta_start": 0.0001,
    "beta_end": 0.02,
    "beta_schedule": "linear",
    "variance_type": "fixed_small",
    "clip_sample": True,
    "prediction_type": "epsilon",
}
INDEX: dict[str, Any] = {
    "_class_name": "DDPMPipeline",
    "unet": ["diffusers", "UNet2DModel"],
    "scheduler": ["diffusers", "DDPMScheduler"],
    "vae": [None, None],
}
_NAME = "diffusion_pytorch_model"
_OUTSIDE = 0.123
"""Each value in the weights that lie outside of the folder: none may ever be loaded."""

Files = dict[str, bytes]
"""Path below the model's folder -> content. `../` leads to the folder beside it."""


# The files before they are damaged


class Originals:
    """Good weights of the small model in each format."""

    def __init__(self) -> None:
        import torch
        from comfyui_unconditional.unet.config import UNetConfig
        from comfyui_unconditional.unet.unet2d import UNet2D
        from safetensors.torch import save

        torch.manual_seed(0)
        weights = UNet2D(UNetConfig.from_dict(CONFIG)).state_dict()
        self.safetensors = save(weights, metadata={"format": "pt"})
        self.zipped, self.pickled = io.BytesIO(), io.BytesIO()
        torch.save(weights, self.zipped)
        torch.save(weights, self.pickled, _use_new_zipfile_serialization=False)
        self.bins = [self.zipped.getvalue(), self.pickled.getvalue()]
        outside = {name: torch.full_like(tensor, _OUTSIDE) for name, tensor in weights.items()}
        self.outside = save(outside, metadata={"format": "pt"})


def _json(content: Any) -> bytes:
    return json.dumps(content).encode()


def _folder(r: random.Random, weights: bytes, suffix: str = "safetensors", **config: Any) -> Files:
    network, scheduler = r.choice([("", ""), ("unet/", "scheduler/")])
    return {
        f"{network}config.json": _json({**CONFIG, **config}),
        f"{network}{_NAME}.{suffix}": weights,
        f"{scheduler}scheduler_config.json": _json(SCHEDULER),
        "model_index.json": _json(INDEX),
    }


# Kinds of damage, one function each


def _cut_and_flip(r: random.Random, content: bytes) -> bytes:
    """Cut off, lengthen, and change bytes; most changes at the start, where the structure is."""
    damaged = bytearray(content)
    if r.random() < 0.4:
        del damaged[r.choice([r.randrange(len(damaged)), r.randrange(64), len(damaged) - 1]) :]
    if r.random() < 0.1:
        damaged += r.randbytes(r.randrange(1, 200))
    if damaged and r.random() < 0.1:
        at = r.randrange(len(damaged))
        damaged[at:at] = r.randbytes(r.randrange(1, 20))
    for _ in range(r.choice([0, 1, 1, 2, 8, 100])):
        if damaged:
            end = r.choice([16, 256, 4096, len(damaged), len(damaged)])
            at = r.randrange(min(end, len(damaged)))
            damaged[at] = r.choice([damaged[at] ^ (1 << r.randrange(8)), 0, 255, r.randrange(256)])
    return bytes(damaged)


def damaged_weights(r: random.Random, originals: Originals) -> Files:
    if r.random() < 0.5:
        return _folder(r, _cut_and_flip(r, originals.safetensors))
    return _folder(r, _cut_and_flip(r, r.choice(originals.bins)), "bin")


def header_length(r: random.Random, originals: Originals) -> Files:
    length = r.choice([0, 1, 2**31, 2**32, 2**63 - 1, 2**63, 2**64 - 1, r.randrange(2**64)])
    return _folder(r, struct.pack("<Q", length) + originals.safetensors[8:])


def header_fields(r: random.Random, originals: Originals) -> Files:
    """Overlapping, backward and distant offsets, absurd shapes, unknown dtypes, odd names."""
    (length,) = struct.unpack("<Q", originals.safetensors[:8])
    header = json.loads(originals.safetensors[8 : 8 + length])
    body = originals.safetensors[8 + length :]
    for _ in range(r.randint(1, 3)):
        name = r.choice([name for name in header if name != "__metadata__"])
        entry = header[name]
        if not isinstance(entry, dict):
            continue
        match r.randrange(8):
            case 0:
                entry["data_offsets"] = [r.choice(_NUMBERS), r.choice(_NUMBERS)]
            case 1:
                other = header[r.choice([n for n in header if n != "__metadata__"])]
                entry["data_offsets"] = other.get("data_offsets") if isinstance(other, dict) else 7
            case 2:
                entry["shape"] = [r.choice(_NUMBERS) for _ in range(r.randrange(6))]
            case 3:
                entry["dtype"] = r.choice(["F64", "F16", "BF16", "I8", "F8_E4M3", "F4", "X", 7, ""])
            case 4:
                header[r.choice(_NAMES)] = header.pop(name)
            case 5:
                header[name] = r.choice([*_VALUES, {}, {"dtype": "F32"}])
            case 6:
                header["__metadata__"] = r.choice([*_VALUES, {"format": r.choice(_VALUES)}])
            case _:
                del header[name]
    encoded = json.dumps(header).encode()
    if r.random() < 0.1:
        encoded = encoded.replace(b'"F32"', b'"F32","dtype":"F32"', 1)
    encoded += b" " * (-len(encoded) % 8)
    return _folder(r, struct.pack("<Q", len(encoded)) + encoded + body)


_NUMBERS: list[Any] = [
    *(0, 1, -1, 3, 7, 17, 2**31, 2**32, 2**53, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 10**40),
    *(10**400, -(10**400), 0.5, -0.0, 1e308, 1e-320, 4, 2, float("inf"), float("nan")),
]
_NAMES = ["../../outside", "/etc/hostname", "", "\0", "a" * 100_000, "__class__", "conv_in.weight."]
_VALUES: list[Any] = [
    *_NUMBERS,
    *(None, True, False, "", "x", "../outside", "a" * 100_000, [], {}, [[]], {"a": {}}),
    *([10**9] * 3, [8] * 10_000, ["DownBlock2D"] * 10_000, {"format": "pt"}, "\ud800", "1e999"),
    *([None], [-8, 16], [8, 16, 32], [0], [True, True], [2**70, 2**70], ["\0"], [8.0, 16.0]),
]
_CONFIG_FIELDS = [
    *("sample_size", "in_channels", "out_channels", "center_input_sample", "time_embedding_type"),
    *("time_embedding_dim", "time_projection_dim", "freq_shift", "flip_sin_to_cos"),
    *("down_block_types", "mid_block_type"),
    *("up_block_types", "block_out_channels", "layers_per_block", "mid_block_scale_factor"),
    *("downsample_padding", "downsample_type", "upsample_type", "dropout", "act_fn", "norm_eps"),
    *("attention_head_dim", "norm_num_groups", "attn_norm_num_groups", "resnet_time_scale_shift"),
    *("add_attention", "class_embed_type", "num_class_embeds", "num_train_timesteps"),
    *("_class_name", "_name_or_path", "__class__", "decay", "block_channels", "num_res_blocks"),
    *("warnings", "quantization_config", "cross_attention_dim", "some_new_field"),
]
_SCHEDULER_FIELDS = [
    *SCHEDULER,
    *("trained_betas", "clip_sample_range", "thresholding", "dynamic_thresholding_ratio"),
    *("sample_max_value", "timestep_spacing", "steps_offset", "set_alpha_to_one", "warnings"),
    *("rescale_betas_zero_snr", "skip_prk_steps", "unknown", "_class_name", "predict_epsilon"),
    *("timesteps", "clip_predicted_image", "use_flow_sigmas", "timestep_type", "sigma_min"),
]
_WORDS = [
    *("scaled_linear", "squaredcos_cap_v2", "sigmoid", "laplace", "learned_range", "sample"),
    *("v_prediction", "trailing", "linspace", "fixed_large_log", "scale_shift", "fourier"),
    *("learned", "timestep", "resnet", "swish", "gelu", "UNetMidBlock2DCrossAttn", "identity"),
]


def _change_fields(r: random.Random, fields: dict[str, Any], names: list[str]) -> dict[str, Any]:
    changed = dict(fields)
    for _ in range(r.randint(1, 3)):
        value = r.choice(r.choice([_NUMBERS, _VALUES, _WORDS]))
        changed[r.choice(names)] = value
    return changed


def config_fields(r: random.Random, originals: Originals) -> Files:
    files = _folder(r, originals.safetensors)
    return _replace(files, "config.json", _json(_change_fields(r, CONFIG, _CONFIG_FIELDS)))


def config_size(r: random.Random, originals: Originals) -> Files:
    """Consistent configurations of models that do not fit on any machine."""
    levels = r.choice([1, 2, 5, 16, 17, 1000, 100_000])
    channels = r.choice([8, 1024, 65_536, 10**9, 2**63, -8])
    blocks = r.choice(["", "Attn", "Resnet", "Skip", "AttnSkip"])
    config = {
        "block_out_channels": [channels] * levels,
        "down_block_types": [f"{blocks}DownBlock2D"] * levels,
        "up_block_types": [f"{blocks}UpBlock2D"] * levels,
        "layers_per_block": r.choice([1, 64, 10**9, -1]),
        "sample_size": r.choice([None, 2**15, 2**62, -8, [8, -8], [2**40, 2**40]]),
        "norm_num_groups": r.choice([1, 8]),
        "attention_head_dim": r.choice([None, 1, 8]),
        "in_channels": r.choice([3, 65_536]),
        "num_class_embeds": r.choice([None, None, 10**9]),
    }
    return _folder(r, originals.safetensors, **config)


def scheduler_fields(r: random.Random, originals: Originals) -> Files:
    content = _json(_change_fields(r, SCHEDULER, _SCHEDULER_FIELDS))
    if r.random() < 0.3:
        T = r.choice([1, 2, 10, 1000])
        betas = [r.choice([0.01, 0.01, *_NUMBERS]) for _ in range(T)]
        content = _json({**SCHEDULER, "num_train_timesteps": T, "trained_betas": betas})
    return _replace(_folder(r, originals.safetensors), "scheduler_config.json", content)


def json_bomb(r: random.Random, originals: Originals) -> Files:
    depth = r.choice([10, 900, 1100, 100_000, 3_000_000])
    content = r.choice(
        [
            b"[" * depth,
            b'{"a":' * depth,
            b"[" * depth + b"]" * depth,
            b'{"layers_per_block":' + b"[" * depth + b"]" * depth + b"}",
            b'{"layers_per_block": ' + b"9" * r.choice([100, 4299, 4301, 1_000_000]) + b"}",
            b'{"norm_eps": 1e' + b"9" * 1000 + b"}",
            b'{"norm_eps": NaN, "dropout": Infinity, "beta_start": -Infinity, "beta_end": NaN}',
            b'{"act_fn": "' + b"a" * 10_000_000 + b'"}',
            b'{"beta_schedule": "' + b"\\u0041" * 1_000_000 + b'"}',
            b"{" + b",".join(b'"k%d":%d' % (i, i) for i in range(100_000)) + b"}",
            b" " * (33 * 2**20) + b"{}",
            b"\xef\xbb\xbf{}",
            b'{"a": "\xff"}',
            b'"' + b"\\" * 100_000,
            r.randbytes(200),
            b"",
        ]
    )
    name = r.choice(["config.json", "scheduler_config.json", "model_index.json"])
    return _replace(_folder(r, originals.safetensors), name, content)


def damaged_json(r: random.Random, originals: Originals) -> Files:
    files = _folder(r, originals.safetensors)
    name = r.choice(["config.json", "scheduler_config.json", "model_index.json"])
    content = next(content for path, content in files.items() if _is_file(path, name))
    return _replace(files, name, _cut_and_flip(r, content))


class _Payload:
    def __init__(self, call: Callable[..., object], *arguments: object):
        self.call, self.arguments = call, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call, self.arguments


def code(r: random.Random, originals: Originals) -> Files:
    """Pickles that would run something, bare, zipped, and in files of another suffix."""
    import torch

    payload = r.choice(
        [
            _Payload(os.mkdir, "canary"),
            _Payload(os.system, "touch canary"),
            _Payload(eval, "open('canary', 'w')"),
            _Payload(exec, "open('canary', 'w').close()"),
            _Payload(subprocess.check_output, ["touch", "canary"]),
            _Payload(getattr, "", "join"),
            _Payload(open, "canary", "w"),
        ]
    )
    content = r.choice([payload, {"conv_in.weight": payload}, {"state_dict": {"a": payload}}])
    stream = io.BytesIO()
    match r.randrange(3):
        case 0:
            pickle.dump(content, stream, protocol=r.randrange(2, 5))
        case 1:
            torch.save(content, stream)
        case _:
            torch.save(content, stream, _use_new_zipfile_serialization=False)
    written = stream.getvalue()
    if r.random() < 0.3:
        written = _cut_and_flip(r, written)
    return _folder(r, written, r.choice(["bin", "bin", "safetensors"]))


def zip_entries(r: random.Random, originals: Originals) -> Files:
    """Archives with entries that lead outside, are huge, or contradict each other."""
    source = zipfile.ZipFile(io.BytesIO(originals.bins[0]))
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", r.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])) as new:
        for name in source.namelist():
            content, own = source.read(name), name
            match r.randrange(12):
                case 0:
                    own = "../" * r.randint(1, 4) + name
                case 1:
                    own = "/etc/" + name
                case 2:
                    content = _cut_and_flip(r, content)
                case 3:
                    continue
                case 4:
                    content = bytes(r.choice([0, 10, 10_000_000]))
                case _:
                    pass
            new.writestr(own, content)
        if r.random() < 0.3:
            new.writestr(r.choice(["../canary", "/tmp/canary", "archive/../../canary"]), b"x")
    return _folder(r, stream.getvalue(), "bin")


def names_that_lead_outside(r: random.Random, originals: Originals) -> Files:
    """Indices of split weights that name files outside, and configurations that name paths."""
    target = r.choice(["../outside.safetensors", "./../outside.safetensors", "/etc/hostname", "."])
    (length,) = struct.unpack("<Q", originals.safetensors[:8])
    names = [n for n in json.loads(originals.safetensors[8 : 8 + length]) if n != "__metadata__"]
    index = {"metadata": {"total_size": 1}, "weight_map": dict.fromkeys(names, target)}
    if r.random() < 0.3:
        index["weight_map"] = r.choice(_VALUES)
    files = _folder(r, originals.safetensors, _name_or_path="../outside.safetensors")
    network = "unet/" if "unet/config.json" in files else ""
    suffix = r.choice(["safetensors", "bin"])
    files[f"{network}{_NAME}.{suffix}.index.json"] = _json(index)
    if r.random() < 0.8:
        del files[f"{network}{_NAME}.safetensors"]
    files["model_index.json"] = _json({"unet": ["..", "outside"], "scheduler": ["/etc", "/etc"]})
    files["../outside.safetensors"] = originals.outside
    return files


def good(r: random.Random, originals: Originals) -> Files:
    """Not damaged at all: since these load, the others could too."""
    if r.random() < 0.5:
        return _folder(r, originals.safetensors)
    return _folder(r, r.choice(originals.bins), "bin")


KINDS: dict[Callable[[random.Random, Originals], Files], int] = {
    damaged_weights: 5,
    header_length: 1,
    header_fields: 4,
    config_fields: 5,
    config_size: 2,
    scheduler_fields: 4,
    json_bomb: 1,
    damaged_json: 2,
    code: 2,
    zip_entries: 2,
    names_that_lead_outside: 1,
    good: 1,
}
"""How many of 30 folders are of each kind."""


def _is_file(path: str, name: str) -> bool:
    return path.rsplit("/", 1)[-1] == name


def _replace(files: Files, name: str, content: bytes) -> Files:
    return {path: content if _is_file(path, name) else old for path, old in files.items()}


def make_case(seed: int, number: int, originals: Originals) -> tuple[str, Files]:
    """Return the name of the kind and the files of case ``number``; the same on every machine."""
    r = random.Random(f"{seed}/{number}")
    kind = r.choices(list(KINDS), list(KINDS.values()))[0]
    return kind.__name__, kind(r, originals)


# The worker


def open_folder(folder: Path) -> str:
    """Load the folder as the nodes do; return "loaded" or the name of our error.

    Raises:
        Exception: whatever else it ended in, which is a finding.
    """
    import torch
    from comfyui_unconditional.checkpoints.files import find_files, read_json
    from comfyui_unconditional.checkpoints.reading import read_checkpoint
    from comfyui_unconditional.networks.errors import CheckpointError
    from comfyui_unconditional.schedulers.config import SchedulerConfig
    from comfyui_unconditional.schedulers.errors import ScheduleError
    from comfyui_unconditional.schedulers.noise_schedule import NoiseSchedule
    from comfyui_unconditional.unet.unet2d import UNet2D

    try:
        files = find_files(folder)
        assert files.fingerprint
        assert files.weights.resolve().is_relative_to(folder.resolve())
        if files.scheduler_config is not None:
            scheduler = SchedulerConfig.from_dict(read_json(files.scheduler_config))
            json.dumps(scheduler.to_dict(), allow_nan=False)
            NoiseSchedule.from_config(scheduler)
        checkpoint = read_checkpoint(files)
        assert checkpoint.sha256
        network = checkpoint.build(UNet2D)
        for name, tensor in network.state_dict().items():
            assert tensor.isfinite().all(), name
            assert not (tensor == _OUTSIDE).all(), f"{name} comes from outside of the folder"
        # The change may be a picture size that no test should draw.
        if checkpoint.config.sample_size == 8:
            with torch.inference_mode():
                network(torch.zeros(1, checkpoint.config.in_channels, 8, 8), 3)
    except (CheckpointError, ScheduleError) as error:
        message = str(error)
        assert len(message) < 2000, f"an error message of {len(message)} characters"
        message.encode()
        return type(error).__name__
    return "loaded"


class _Watch:
    """Python's own reports of opened files and executed code, while ``folder`` is set."""

    _FORBIDDEN = ("os.system", "os.exec", "os.posix_spawn", "os.mkdir", "os.remove", "os.rename")
    _FORBIDDEN = (*_FORBIDDEN, "subprocess.Popen", "socket.connect", "os.fork", "shutil.")

    def __init__(self) -> None:
        self.folder: Path | None = None
        self.seen: list[str] = []
        # Modules that are imported on use, and system calls of numpy and torch.
        roots = {*sys.path, sys.prefix, sys.base_prefix, str(Path(__file__).parent.parent)} - {""}
        self._allowed = tuple({os.path.realpath(root) for root in roots})
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.folder is None:
            return
        if event.startswith(self._FORBIDDEN):
            self.seen.append(f"{event} {arguments!r:.200}")
        elif event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
            path = os.path.realpath(os.fsdecode(arguments[0]))
            mode = arguments[1] or "r"
            inside = path.startswith(f"{self.folder}{os.sep}")
            module = path.startswith(self._allowed) and path.endswith((".py", ".pyc", ".so"))
            if not inside and not (module and "r" in mode) and not path.startswith("/proc/self"):
                self.seen.append(f"open {path!r:.200} {mode}")


def work(first: int, count: int, seed: int, place: Path) -> None:
    """Open cases ``first`` to ``first + count``, one line of JSON before and after each."""
    import resource

    import torch

    torch.set_num_threads(1)
    originals = Originals()
    place = place.resolve()
    os.chdir(place)
    warm_up = place / "warm up"
    for suffix in ("safetensors", "bin"):  # modules that are only imported on use
        _write_case(warm_up, _folder(random.Random(0), originals.bins[0], "bin"))
        open_folder(warm_up)
        _write_case(warm_up, _folder(random.Random(0), originals.safetensors, suffix))
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    watch = _Watch()
    for number in range(first, first + count):
        kind, files = make_case(seed, number, originals)
        folder = place / "case" / "model"
        _write_case(folder, files)
        before = sorted(path for path in place.rglob("*"))
        print(json.dumps({"begin": number, "kind": kind}), flush=True)
        start, finding = time.perf_counter(), ""
        watch.folder = folder
        try:
            outcome = open_folder(folder)
        except Exception as error:
            outcome, finding = "finding", f"{type(error).__name__}: {error!s:.300}"
        watch.folder = None
        seconds = time.perf_counter() - start
        after = sorted(path for path in place.rglob("*"))
        if watch.seen or before != after:
            outcome = "finding"
            finding = "; ".join([*watch.seen, *{str(path) for path in {*after} - {*before}}])
            watch.seen.clear()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        line = {"outcome": outcome, "finding": finding, "seconds": seconds, "peak": peak}
        print(json.dumps(line), flush=True)


def _write_case(folder: Path, files: Files) -> None:
    shutil.rmtree(folder.parent if folder.name == "model" else folder, ignore_errors=True)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(exist_ok=True)
        path.write_bytes(content)


# The process that distributes the work


@dataclass
class Report:
    """The results of a run."""

    files: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    """(kind, outcome) as words -> how many."""
    findings: list[str] = field(default_factory=list)
    slowest: float = 0.0
    slowest_file: str = ""
    peak: int = 0
    """Resident memory of the worker, in bytes."""
    seconds: float = 0.0

    def lines(self) -> list[str]:
        """Return it as text."""
        kinds = ", ".join(f"{name} {number}" for name, number in sorted(self.outcomes.items()))
        return [
            f"{self.files} files in {self.seconds:.0f} s: {kinds}",
            f"slowest {self.slowest:.2f} s ({self.slowest_file}), peak memory "
            f"{self.peak / 2**20:.0f} MiB, {len(self.findings)} findings",
            *self.findings,
        ]


def fuzz(files: int, seed: int = 0, first: int = 0) -> Report:
    """Open ``files`` mutated model folders in worker processes and report."""
    report, start, following = Report(), time.monotonic(), first
    with tempfile.TemporaryDirectory() as place:
        while following < first + files:
            following = _supervise(report, following, first + files, seed, place)
    report.seconds = time.monotonic() - start
    return report


def _supervise(report: Report, first: int, end: int, seed: int, place: str) -> int:
    """Run one worker and return the number of the first case that it did not reach."""
    command = [sys.executable, __file__, "--work", place, "--seed", str(seed)]
    command += ["--first", str(first), "--files", str(end - first)]
    log = Path(place) / "worker.log"
    with (
        log.open("wb") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors) as worker,
    ):
        assert worker.stdout is not None
        number, kind, begun = first, "before it", False
        while True:
            ready, _, _ = select.select([worker.stdout], [], [], SECONDS if begun else 120)
            line = worker.stdout.readline() if ready else b""
            if not line.endswith(b"\n"):
                reason = "took too long" if not ready else "killed the process"
                worker.kill()
                worker.wait()
                break
            message = json.loads(line)
            begun = "begin" in message
            if begun:
                number, kind = message["begin"], message["kind"]
                continue
            report.files += 1
            report.outcomes[message["outcome"]] += 1
            report.peak = max(report.peak, message["peak"])
            if message["seconds"] > report.slowest:
                report.slowest, report.slowest_file = message["seconds"], f"{number} {kind}"
            if message["finding"]:
                report.findings.append(f"file {number} ({kind}): {message['finding']}")
            number, kind = number + 1, "before it"
            if number == end:
                return end
    report.files += 1
    report.outcomes["finding"] += 1
    tail = log.read_text(errors="replace")[-500:]
    report.findings.append(f"file {number} ({kind}) {reason}: {tail}")
    return number + 1


def main() -> int:
    """Run from the command line; return 1 if there is a finding."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        work(given.first, given.files, given.seed, given.work)
        return 0
    report = fuzz(given.files, given.seed, given.first)
    sys.stdout.write("\n".join(report.lines()) + "\n")
    return int(bool(report.findings))


if __name__ == "__main__":
    sys.exit(main())
