"""Thousands of pictures with Ray, on a cluster that this machine simulates."""

import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
import toys
from comfyui_unconditional.generate import command
from comfyui_unconditional.generate.like import Like
from comfyui_unconditional.generate.on_ray import Actor, model_contents
from comfyui_unconditional.generate.plan import Plan
from comfyui_unconditional.generate.seeds import Block
from comfyui_unconditional.generate.settings import Settings
from comfyui_unconditional.generate.worker import Worker, kernels_of

from devtools.environment import ROOT


def test_an_actor_without_access_to_model_and_folder_returns_the_pictures(tmp_path):
    model, out, nowhere = tmp_path / "tiny", tmp_path / "out", tmp_path / "nowhere"
    toys.write_checkpoint(model, toys.TINY, scheduler={"num_train_timesteps": 20})
    kernels = kernels_of(torch.device("cpu"))
    like = Like(Settings(steps=3))
    plan = Plan.make(model, like, out, device="cpu", kernels=kernels, batch=4)
    plan.folder.begin(plan.record)
    block = Block(range(4), (0, 3))
    Worker(plan.task, torch.device("cpu"))(block)
    far = replace(plan.task, model=nowhere / "tiny", folder=nowhere)
    actor = Actor(far, "cpu", model_contents(model), nowhere / "mark")
    drawn = actor.draw(block)
    assert drawn.pngs == {seed: plan.folder.file_of(seed).read_bytes() for seed in (0, 3)}


@pytest.mark.slow
def test_a_cluster_that_loses_a_node_draws_the_same_bytes(tmp_path):
    from ray.cluster_utils import Cluster

    model, out, here = tmp_path / "tiny", tmp_path / "out", tmp_path / "here"
    toys.write_checkpoint(model, toys.TINY, scheduler={"num_train_timesteps": 20})
    how = (str(model), "--seeds", "0-119", "--steps", "10", "--batch", "4")
    assert command.main([*how, "--workers", "1", "--out", str(here)]) == 0

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        lost = cluster.add_node(num_cpus=1)
        driver = [sys.executable, "-m", "comfyui_unconditional.generate", *how]
        driver += ["--ray", cluster.address, "--out", str(out)]
        running = subprocess.Popen(driver, cwd=ROOT)
        while len(list(out.glob("*/*.png"))) < 12 and running.poll() is None:
            time.sleep(0.05)
        cluster.remove_node(lost, allow_graceful=False)
        assert running.wait(120) == 0
    finally:
        cluster.shutdown()
    drawn = {path.name: path.read_bytes() for path in out.glob("*/*.png")}
    assert drawn == {path.name: path.read_bytes() for path in here.glob("*/*.png")}
    assert len(drawn) == 120
