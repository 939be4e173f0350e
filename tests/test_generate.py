"""Thousands of pictures by a command: settings, blocks, workers, the folder, and other pictures."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
import toys
from comfyui_unconditional.generate import archive, command, run_folder
from comfyui_unconditional.generate.drawing import DrawingModel
from comfyui_unconditional.generate.like import Like, read_like
from comfyui_unconditional.generate.plan import Plan
from comfyui_unconditional.generate.pool import Report, draw_blocks
from comfyui_unconditional.generate.run_folder import RunFolder, encode
from comfyui_unconditional.generate.seeds import Block, Seeds, blocks_of
from comfyui_unconditional.generate.settings import Settings
from comfyui_unconditional.generate.worker import Drawn, Worker, kernels_of
from comfyui_unconditional.pictures.encoding import picture_writer
from comfyui_unconditional.pictures.metadata import GraphMetadata, metadata_texts
from comfyui_unconditional.schedulers.ddim import DDIM
from comfyui_unconditional.schedulers.errors import UserError
from comfyui_unconditional.schedulers.randomness import SeededNoise
from comfyui_unconditional.schedulers.sampler import drain
from comfyui_unconditional.schedulers.span import Stretch
from ours import DIGITS
from PIL import Image

from devtools.environment import ROOT

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    toys.write_checkpoint(folder, toys.TINY, scheduler={"num_train_timesteps": 20})
    return folder


def generate(*arguments: object) -> int:
    return command.main([str(argument) for argument in arguments])


def make_plan(model: Path, folder: Path) -> Plan:
    like = Like(Settings(steps=2))
    return Plan.make(model, like, folder, device="cpu", kernels=kernels_of(CPU), batch=4)


def pictures(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*/*")}


# Seeds and blocks.


def test_ranges_of_seeds_may_overlap_and_come_in_any_order():
    seeds = Seeds.parse("7, 0-3,2-5")
    assert list(seeds) == [0, 1, 2, 3, 4, 5, 7]
    assert len(seeds) == 7
    assert str(seeds) == "0-5,7"


@pytest.mark.parametrize("text", ["", "a", "3-1", "-1", "1--2", f"{2**64}"])
def test_seeds_that_cannot_be_read_are_rejected_with_an_example(text):
    with pytest.raises(UserError, match="0-49999"):
        Seeds.parse(text)


def test_a_seed_is_always_in_the_same_block_whichever_seeds_are_wanted():
    for wanted in (range(100), range(37, 81), [5, 64, 99]):
        blocks = list(blocks_of(wanted, 16))
        assert [seed for block in blocks for seed in block.wanted] == list(wanted)
        for block in blocks:
            assert block.seeds == range(block.seeds.start, block.seeds.start + 16)
            assert block.seeds.start % 16 == 0
            assert set(block.wanted) <= set(block.seeds)


# Workers that pull blocks.


class Simulated:
    """Workers of these speeds, on their own clock; some blocks end their worker."""

    def __init__(self, *seconds: float, deadly: tuple[int, ...] = (), stops: bool = False):
        self.clock, self._deadly, self._stops = 0.0, deadly, stops
        self._due = dict.fromkeys(range(len(seconds)), (0.0, None))
        self._seconds, self.given = dict(enumerate(seconds)), Counter()

    def give(self, worker: int, block: Block) -> None:
        self.given[block.seeds.start] += 1
        self._due[worker] = self.clock + self._seconds[worker], block

    def reports(self) -> list[Report]:
        worker = min(self._due, key=lambda w: self._due[w][0])
        self.clock, block = self._due.pop(worker)
        if block is None:
            return [Report(worker)]
        if block.seeds.start not in self._deadly:
            return [Report(worker, Drawn(block.wanted))]
        replaced = max(self._seconds) + 1
        self._seconds[replaced] = self._seconds[worker]
        self._due[replaced] = self.clock, None
        return [Report(worker, error="killed", stops=self._stops)]

    def close(self) -> None: ...


def drawn_seeds(pool: Simulated, count: int) -> tuple[list[int], dict[int, str]]:
    seeds, failed = [], {}
    for drawn in draw_blocks(blocks_of(range(count), 1), pool):
        seeds.extend(drawn.seeds)
        failed.update(drawn.failed)
    return seeds, failed


def test_each_block_is_drawn_once_and_workers_of_all_speeds_stay_busy():
    pool = Simulated(1.0, 3.0)
    seeds, failed = drawn_seeds(pool, 400)
    assert sorted(seeds) == list(range(400))
    assert not failed
    assert pool.clock <= 400 / (1 + 1 / 3) / 0.98


def test_a_block_that_ends_its_workers_is_tried_three_times_and_the_others_are_drawn():
    pool = Simulated(1.0, 1.0, deadly=(5,))
    seeds, failed = drawn_seeds(pool, 20)
    assert sorted(seeds) == [seed for seed in range(20) if seed != 5]
    assert failed == {5: "killed"}
    assert pool.given[5] == 3


def test_a_run_stops_when_nothing_can_be_drawn():
    with pytest.raises(UserError, match="killed"):
        drawn_seeds(Simulated(1.0, deadly=tuple(range(20))), 20)
    pool = Simulated(1.0, deadly=(3,), stops=True)
    with pytest.raises(UserError, match="killed"):
        drawn_seeds(pool, 20)
    assert sum(pool.given.values()) == 4


# The folder.


def test_the_folder_of_another_run_is_rejected_with_the_differences(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.begin({"settings": {"steps": 10, "eta": 0.0}})
    folder.begin({"settings": {"steps": 10, "eta": 0.0}})
    with pytest.raises(UserError, match="steps was 10 and is now 20"):
        folder.begin({"settings": {"steps": 20, "eta": 0.0}})
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"no run\.json"):
        RunFolder(tmp_path).begin({})


def test_missing_and_damaged_pictures_are_found_and_no_other_file_is_touched(tmp_path):
    folder = RunFolder(tmp_path)
    png = encode(torch.rand(8, 8, 3), {"seed": 1})
    for seed in (0, 1, 2, 999, 1000, 1002):
        folder.put(seed, png)
    folder.put(0, b"not this one")  # there is one
    assert folder.file_of(0).read_bytes() == png
    folder.file_of(1).write_bytes(png[:-20])
    folder.file_of(1000).write_bytes(b"")
    (tmp_path / "000000" / ".x.unfinished").write_bytes(png[:9])
    (tmp_path / "000000" / "notes.txt").write_text("mine")
    assert list(folder.missing([0, 1, 2, 3, 999, 1000, 1001, 1002])) == [1, 3, 1000, 1001]
    assert {p.name for p in tmp_path.glob("000000/*")} == {
        "000000.png", "000002.png", "000999.png", "notes.txt"
    }  # fmt: skip


def test_a_picture_that_cannot_be_written_leaves_nothing(tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(run_folder, "take_name", full)
    with pytest.raises(OSError, match="No space"):
        RunFolder(tmp_path).put(3, b"png")
    assert not list(tmp_path.glob("*/*"))


def test_the_archive_has_the_pictures_in_the_order_of_their_seeds(tmp_path):
    folder, seeds = RunFolder(tmp_path), Seeds.parse("998-1001")
    images = torch.rand(4, 6, 5, 1)
    for seed, image in zip(seeds, images, strict=True):
        folder.put(seed, encode(image, {"seed": seed}))
    path = archive.write_archive(folder, seeds, (6, 5))
    with np.load(path) as content:
        found = content["arr_0"]
    wanted = (images.numpy() * 255).round().astype(np.uint8)
    assert np.array_equal(found, wanted.repeat(3, axis=3))


# What is drawn.


def test_a_model_draws_what_its_sampler_draws_with_its_network(tiny):
    settings = Settings("ddim", steps=5, schedule=(("clip_sample", False),))
    model = DrawingModel.read(tiny, settings, 2, CPU)
    images = model.draw(range(3, 6))
    noise = SeededNoise([3, 4, 5], (3, 8, 8))
    config = settings.changed_process(model.process)
    assert not config.clip_sample
    with torch.inference_mode():
        wanted = drain(DDIM.over(config, Stretch(5)).sample(model.network, noise(), noise))
    torch.testing.assert_close(images, wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"sampler": "pndm", "eta": 0.5}, "eta is an option of ddim"),
        ({"sampler": "euler"}, "pndm, ddim, ddpm, consistency"),
        ({"sampler": "consistency"}, "consistency models only"),
        ({"sampler": "ddim", "steps": 21}, "20"),
        ({"schedule": (("clip", True),)}, "clip_sample"),
    ],
)
def test_settings_that_do_not_fit_are_rejected(tiny, settings, words):
    with pytest.raises(UserError, match=words):
        DrawingModel.read(tiny, Settings(**settings), 1, CPU)


@pytest.mark.slow
def test_the_pictures_are_the_same_bytes_for_any_workers_and_after_a_stop(tiny, tmp_path, capsys):
    ddim = ("--sampler", "ddim", "--schedule", "clip_sample=false")
    how = (tiny, *ddim, "--steps", 3, "--batch", 8)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert generate(*how, "--seeds", "990-1029", "--workers", 1, "--out", whole) == 0
    assert generate(*how, "--seeds", "1003-1009", "--workers", 2, "--out", parts) == 0
    # The settings of a picture are those of its run.
    like = ("--like", parts / "001000" / "001003.png", "--batch", 8)
    rest = ("--seeds", "990-1029", "--out", parts, "--workers", 2, "--format", "npz")
    assert generate(tiny, *like, *rest) == 0
    assert pictures(parts) == pictures(whole)
    assert len(pictures(whole)) == 40
    assert len(list(parts.glob("*.npz"))) == 1
    assert "40 of 40" in capsys.readouterr().out
    assert generate(*how, "--seeds", 0, "--out", whole, "--sampler", "ddpm") == 1
    assert "another run" in capsys.readouterr().err
    assert json.loads((whole / "run.json").read_text())["drawn"]["batch"] == 8


@pytest.mark.slow
def test_killed_workers_and_a_killed_driver_lose_no_picture_and_change_none(tiny, tmp_path):
    out, undisturbed = tmp_path / "out", tmp_path / "undisturbed"
    arguments = (tiny, "--seeds", "0-159", "--steps", 10, "--batch", 4)
    driver = [sys.executable, "-m", "comfyui_unconditional.generate", *map(str, arguments)]

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen([*driver, "--workers", "2", "--out", str(out)], cwd=ROOT)

    def wait_for(count: int, process: subprocess.Popen[bytes]) -> None:
        while len(list(out.glob("*/*.png"))) < count and process.poll() is None:
            time.sleep(0.02)

    running = start()
    for count in (8, 24):
        wait_for(count, running)
        children = psutil.Process(running.pid).children()
        workers = [c for c in children if "spawn_main" in " ".join(c.cmdline())]
        os.kill(workers[0].pid, signal.SIGKILL)
    wait_for(40, running)
    assert running.poll() is None
    running.kill()
    running.wait()
    assert 40 <= len(list(out.glob("*/*.png"))) < 160
    assert start().wait() == 0
    assert generate(*arguments, "--workers", 2, "--out", undisturbed) == 0
    assert pictures(out) == pictures(undisturbed)
    assert len(pictures(out)) == 160


def test_a_seed_without_a_picture_is_listed_and_the_others_are_drawn(tiny, tmp_path, monkeypatch):
    def draw(_: DrawingModel, seeds: range) -> torch.Tensor:
        images = torch.zeros(len(seeds), 3, 8, 8)
        images[1, 0, 0, 0] = torch.nan
        return images

    monkeypatch.setattr(DrawingModel, "draw", draw)
    plan = make_plan(tiny, tmp_path / "out")
    plan.folder.begin(plan.record)
    drawn = Worker(plan.task, CPU)(Block(range(4, 8), (4, 5, 7)))
    assert drawn.seeds == (4, 7)
    assert list(drawn.failed) == [5]
    assert list(plan.folder.missing([4, 5, 7])) == [5]


def test_a_worker_that_computes_other_bits_or_has_another_model_is_rejected(tiny, tmp_path):
    task = make_plan(tiny, tmp_path).task
    with pytest.raises(UserError, match="--kernels avx2"):
        Worker(replace(task, kernels="another"), CPU)
    with pytest.raises(UserError, match="sha256"):
        Worker(replace(task, sha256="another"), CPU)


def test_a_dry_run_says_what_a_run_takes_and_writes_nothing(tiny, tmp_path, capsys):
    out = tmp_path / "out"
    status = generate(
        tiny, "--seeds", "0-999", "--steps", 5, "--sampler", "ddim", "--out", out, "--dry-run"
    )
    assert status == 0
    said = capsys.readouterr().out
    assert "1,000 images of 8 x 8 pixels with 5 evaluations each: 5,000 evaluations" in said
    assert "MB" in said
    assert not out.exists()


# The settings of other pictures.

GRAPH = {
    "1": {"class_type": "UnconditionalUNetLoader", "inputs": {"model_name": "tiny"}},
    "2": {
        "class_type": "UnconditionalNoiseSchedule",
        "inputs": {"model": ["1", 0], "clip_sample": "false", "beta_end": -1, "steps_offset": 1},
    },
    "3": {
        "class_type": "UnconditionalDDIMSampler",
        "inputs": {"model": ["2", 0], "steps": 7, "eta": 0.5, "seed": 4, "spacing": "power"},
    },
}
WANTED = Settings(
    "ddim",
    steps=7,
    eta=0.5,
    spacing="power",
    schedule=(("clip_sample", False), ("steps_offset", 1)),
)


def write_like(path: Path, graph: dict | None = None, record: dict | None = None) -> Path:
    """Write a workflow, or a picture with this graph and record in it."""
    if path.suffix == ".json":
        path.write_text(json.dumps(graph))
        return path
    texts = metadata_texts(GraphMetadata(graph), record)
    with path.open("wb") as file:
        picture_writer(torch.rand(8, 8, 3), path.suffix[1:], 1, texts)(file)
    return path


def changed(node: str, **inputs: object) -> dict:
    """The graph with other inputs of a node."""
    return {**GRAPH, node: {**GRAPH[node], "inputs": GRAPH[node]["inputs"] | inputs}}


def test_options_take_precedence_over_their_nodes_preset(tmp_path):
    inputs = {"model": ["1", 0], "preset": "dark or bright pictures", "clip_sample": "true"}
    path = write_like(tmp_path / "like.json", GRAPH | {"2": GRAPH["2"] | {"inputs": inputs}})
    schedule = dict(read_like(path).settings.schedule)
    assert schedule == {"timestep_spacing": "trailing", "clip_sample": True, "thresholding": False}


@pytest.mark.parametrize("kind", ["json", "png", "webp"])
def test_the_settings_of_a_workflow_or_a_picture_are_taken_over(kind, tmp_path):
    record = {"sampler": "DDIM", "eta": 0.5, "steps": 7, "spacing": "power", "sha256": "ab"}
    record |= {"dtype": "bfloat16", "seed": 4, "evaluations": 7, "size": [8, 16]}
    like = read_like(write_like(tmp_path / f"like.{kind}", GRAPH, record))
    if kind == "json":
        assert like.settings == WANTED
        return
    assert like.settings == WANTED.changed(dtype="bfloat16", size=(8, 16))
    assert like.sha256 == "ab"


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (None, "does not say how it was made"),
        ({"sampler": "DDIM", "denoise": 0.5}, "denoise"),
        ({"sampler": "DDIM", "patched": ["weights"]}, "patched weights"),
        ({"sampler": "DDIM", "patched": ["model_sampling"]}, "does not say how"),
        ({"sampler": "DDIM", "seamless": "both"}, "seamless"),
        ({"sampler": "DDIM", "windows": {"width": 64}}, "windows"),
        ({"sampler": "DDIM", "steered": [{"class": 7}]}, "steered"),
        ({"sampler": "DDIM", "noise": {"seed": 4}}, "given noise"),
        ({"sampler": "Euler"}, "Euler"),
    ],
)
def test_a_picture_that_a_command_cannot_repeat_is_rejected(record, words, tmp_path):
    with pytest.raises(UserError, match=words):
        read_like(write_like(tmp_path / "like.png", None, record))


@pytest.mark.parametrize(
    ("kind", "graph", "words"),
    [
        ("png", changed("3", latent=["4", 0]), "a latent"),
        ("json", changed("3", noise=["4", 0]), "given noise"),
        (
            "json",
            {**changed("2", model=["4", 0]), "4": {"class_type": "RescaleCFG", "inputs": {}}},
            "RescaleCFG",
        ),
    ],
    ids=["a size that is not said", "noise", "another node"],
)
def test_a_workflow_that_a_command_cannot_repeat_is_rejected(kind, graph, words, tmp_path):
    path = write_like(tmp_path / f"like.{kind}", graph, {"sampler": "DDIM", "eta": 0.5})
    with pytest.raises(UserError, match=words):
        read_like(path)


def test_a_run_like_a_picture_of_another_model_is_rejected(tiny, tmp_path, capsys):
    path = tmp_path / "like.png"
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(path)
    path.write_bytes(encode(torch.rand(8, 8, 1), {"sampler": "PNDM", "sha256": "ab"}))
    assert generate(DIGITS, "--like", path, "--seeds", 0, "--out", tmp_path / "out") == 1
    assert "not the model of the picture" in capsys.readouterr().err
