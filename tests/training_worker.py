"""One of the processes of a run, as torchrun starts them; test_training_processes.py runs it."""

import argparse
import os
import time
from dataclasses import replace
from pathlib import Path

import torch
from comfyui_unconditional.training import trainer
from comfyui_unconditional.training.options import TrainingOptions
from comfyui_unconditional.training.processes import Processes
from training_toys import OPTIONS, Spoiled, make_run

PARTS = replace(OPTIONS, rotate=True, augment=0.5, dropout=0.3, min_snr=5.0, micro_batches=2)


def options(steps: int) -> TrainingOptions:
    return replace(PARTS, steps=steps, save_every=3 if steps < 50 else 100)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--die-at", type=int, help="the second process does, the first time")
    parser.add_argument("--nan-at", type=int, help="the loss of the second process is, once")
    parser.add_argument("--late", action="store_true", help="the second process reads late")
    given = parser.parse_args()

    torch.set_num_threads(1)
    processes = Processes.join(torch.device("cpu"))
    is_second = processes.rank == 1
    if given.late and is_second:
        read = trainer.read_state

        def read_late(folder: Path, device: torch.device) -> object:
            time.sleep(0.5)
            return read(folder, device)

        trainer.read_state = read_late  # pyright: ignore
    run = make_run(given.folder, options(given.steps), processes=processes)
    if given.nan_at and is_second:
        Spoiled(run, [given.nan_at])
    died = given.folder / "died"
    for _ in run.run():
        if run.step == given.die_at and is_second and not died.exists():
            died.touch()
            os._exit(9)
    state = {"model": run.model.state_dict(), "averaged": run.averaged.state_dict()}
    torch.save({**state, **vars(run.progress)}, given.folder / f"process {processes.rank}.pt")
    processes.leave()


if __name__ == "__main__":
    main()
