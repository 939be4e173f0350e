"""In the real ComfyUI: Generate Many."""

import threading
from typing import Any

import numpy as np
import pytest
from comfyui_unconditional.generate import command
from graphs import files, read_metadata
from ours import DIGITS
from PIL import Image
from sampler_graphs import output, sampler
from wiring import Bench, Wires

from devtools.client import RefusedError
from devtools.wires import Link

HOW = {"seed": 6, "count": 5, "batch_size": 4, "sampler": "DDIM", "steps": 4}


def many(wires: Wires, model: Link, name: str, **inputs: Any) -> Link:
    return wires("UnconditionalGenerateMany", model=model, name=name, **{**HOW, **inputs})


def pictures(bench: Bench, name: str) -> dict[int, np.ndarray]:
    paths = (bench.host.output / name).glob("*/*.png")
    return {int(path.stem): np.asarray(Image.open(path)).astype(int) for path in paths}


def test_a_folder_gets_the_pictures_of_the_sampler_each_named_by_its_seed(wires, bench):
    model = wires.model()
    node = many(wires, model, "many/plain")
    shown = output(wires, sampler(wires, "DDIM", model, seed=6, steps=4, batch_size=5, eta=0.0))
    run = bench.run(wires)
    found = pictures(bench, "many/plain")
    assert sorted(found) == [6, 7, 8, 9, 10]
    single = [np.asarray(Image.open(path)).astype(int) for path in files(bench.host, run, shown)]
    for seed, wanted in zip(sorted(found), single, strict=True):
        assert abs(found[seed] - wanted).max() <= 1
    path = bench.host.output / "many/plain/000000/000007.png"
    record = read_metadata(path)["unconditional"]
    assert record["seed"] == 7
    assert record["sampler"] == "DDIM"
    shown = run.outputs[node[0]]
    assert len(shown["images"]) == 5
    assert shown["text"] == ["5 of 5 pictures are in plain"]


def test_a_command_draws_the_pictures_of_the_node_like_one_of_them(wires, bench, tmp_path):
    model = wires.model(clip_sample="false", timestep_spacing="trailing")
    shown = output(wires, sampler(wires, "DDPM", model, seed=6, steps=4, batch_size=3))
    paths = files(bench.host, bench.run(wires), shown)
    how = [str(DIGITS), "--seeds", "6-8", "--workers", "1", "--out", str(tmp_path / "out")]
    assert command.main([*how, "--like", str(paths[0])]) == 0
    for path, seed in zip(paths, (6, 7, 8), strict=True):
        drawn = np.asarray(Image.open(tmp_path / f"out/000000/00000{seed}.png")).astype(int)
        assert abs(drawn - np.asarray(Image.open(path)).astype(int)).max() <= 1


def test_a_cancelled_run_continues_with_what_is_missing(wires, bench):
    node = many(wires, wires.model(), "many/cancelled", count=400, steps=30, batch_size=8)
    folder = bench.host.output / "many/cancelled"

    def cancel(done: int, total: int) -> None:
        if list(folder.glob("*/*.png")):
            threading.Thread(target=bench.client.post, args=("/interrupt", {})).start()

    assert bench.client.run(wires.graph, cancel).interrupted
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*/*.png")}
    assert 0 < len(before) < 400
    wires.graph[node[0]]["inputs"]["count"] = len(before) + 4
    bench.run(wires)
    after = {path: path.stat().st_mtime_ns for path in folder.glob("*/*.png")}
    assert len(after) == len(before) + 4
    assert before.items() <= after.items()


def test_a_warning_about_the_timesteps_is_given_once_for_all_blocks(bench):
    before = bench.host.log.read_text(errors="replace").count("The first timestep is 666")
    wires = Wires()
    many(wires, wires.model(), f"many/late {bench.host.version}", steps=3, batch_size=1)
    bench.run(wires)
    after = bench.host.log.read_text(errors="replace").count("The first timestep is 666")
    assert after == before + 1


def test_pictures_of_another_run_need_another_folder(wires, bench):
    name = f"many/other {bench.host.version}"
    many(wires, wires.model(), name)
    bench.run(wires)
    again = Wires()
    node = many(again, again.model(), name, steps=5, batch_size=2)
    words = "steps was 4 and is now 5", "batch", "another folder"
    bench.fails(again, None, *words, node=node[0])


def test_a_changed_patch_on_the_model_is_another_run(bench):
    for strength in (1.0, 0.5):
        wires = Wires()
        scaled = wires("RescaleCFG", model=wires.model(), multiplier=strength)
        node = many(wires, scaled, f"many/patched {bench.host.version}")
        if strength == 1:
            bench.run(wires)
    bench.fails(wires, None, "and is now 0.5", node=node[0])


@pytest.mark.parametrize("name", ["", "../outside"])
def test_an_invalid_folder_is_rejected_before_the_run(name, wires, bench):
    many(wires, wires.model(), name)
    with pytest.raises(RefusedError):
        bench.client.run(wires.graph)
