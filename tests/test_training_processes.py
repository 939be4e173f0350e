"""Several processes train like one, and continue after one of them was killed."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from comfyui_unconditional.checkpoints.files import find_files, read_json
from comfyui_unconditional.checkpoints.reading import read_checkpoint
from comfyui_unconditional.training.processes import Processes, default_device
from comfyui_unconditional.training.trainer import TrainingRun
from training_toys import Spoiled, finish, make_run
from training_worker import __file__ as WORKER
from training_worker import options

pytestmark = pytest.mark.slow

_TIMEOUT = 180


def environment(**more: object) -> dict[str, str]:
    path = os.pathsep.join(path for path in sys.path if path)
    own = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    if sys.platform == "linux":
        own["GLOO_SOCKET_IFNAME"] = "lo"  # needs no network
    return own | {name: str(value) for name, value in more.items()}


def run_two(*arguments: object) -> list[int]:
    """Run the worker in two processes, and return their exit statuses."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": 2}
    workers = [
        subprocess.Popen(
            [sys.executable, WORKER, *map(str, arguments)],
            env=environment(RANK=rank, LOCAL_RANK=rank, **group),
        )
        for rank in range(2)
    ]
    try:
        return [worker.wait(_TIMEOUT) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()


def torchrun(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    with subprocess.Popen(
        [*command, *map(str, arguments)],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            stdout, stderr = process.communicate(timeout=_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.terminate()  # so that it ends its workers
            raise
    return subprocess.CompletedProcess(command, process.returncode, stdout, stderr)


def assert_as_one(folder: Path, one: TrainingRun) -> None:
    """Assert that both processes ended like the single one."""
    for rank in range(2):
        found: dict[str, Any] = torch.load(folder / f"process {rank}.pt", weights_only=True)
        assert found["losses"] == one.progress.losses
        assert found["retries"] == one.progress.retries
        for name, network in (("model", one.model), ("averaged", one.averaged)):
            for key, value in network.state_dict().items():
                assert torch.equal(found[name][key], value), f"{name} {key} of process {rank}"


def test_two_processes_train_the_weights_of_one_bit_for_bit(tmp_path):
    assert run_two(tmp_path / "two", "--steps", 200) == [0, 0]
    finish(one := make_run(tmp_path / "one", options(200)))
    assert_as_one(tmp_path / "two", one)
    # And one process can continue where two have stopped.
    more = make_run(tmp_path / "two", options(203))
    assert more.step == 200
    finish(more)


def test_when_a_process_dies_torchrun_starts_all_again_from_the_last_saved_state(tmp_path):
    done = torchrun("--max-restarts=1", WORKER, tmp_path, "--steps", 9, "--die-at", 5)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "died").exists()
    finish(one := make_run(tmp_path / "one", options(9)))
    assert_as_one(tmp_path, one)


def test_processes_that_read_at_different_times_go_back_to_the_same_step(tmp_path):
    assert run_two(tmp_path / "two", "--steps", 6, "--nan-at", 5, "--late") == [0, 0]
    one = make_run(tmp_path / "one", options(6))
    Spoiled(one, [5])
    finish(one)
    assert one.progress.retries == [5]
    assert_as_one(tmp_path / "two", one)


def test_the_command_trains_in_two_processes_and_one_of_them_speaks(picture_folder, tmp_path):
    (picture_folder / "damaged.png").write_bytes(b"nothing")
    out = tmp_path / "model"
    choices = "--size 8 --width 32 --batch-size 2 --steps 2 --device cpu --precision float32"
    done = torchrun(
        *("-m", "comfyui_unconditional.training", "folder", picture_folder),
        *("--out", out, *choices.split()),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("The model is in") == 1
    assert done.stderr.count("damaged.png") == 1
    assert read_json(out / "training.json")["options"]["micro_batches"] == 2
    assert read_checkpoint(find_files(out)).config.in_channels == 3
    assert (out / "README.md").exists()


def test_parts_that_cannot_be_divided_among_the_processes_are_rejected(tmp_path):
    three = Processes(torch.device("cpu"), 0, 3)
    with pytest.raises(ValueError, match=r"2 parts of a batch.* among 3 processes"):
        make_run(tmp_path, options(3), processes=three)


def test_without_torchrun_there_is_one_process_on_the_fastest_device():
    assert Processes.join() == Processes(default_device())
    assert Processes.join(torch.device("cpu")) == Processes(torch.device("cpu"), 0, 1)
    assert Processes(torch.device("cpu")).is_first
