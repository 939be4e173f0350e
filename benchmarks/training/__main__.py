"""Measure the trainer: `python -m benchmarks.training steps`, `few`, `one-class` or `start`.

`steps` times a training step, ours and the loop of diffusers' train_unconditional.py, in turns in
one process, with the same weights. `few` trains on 200 digits, ours and the script's recipe in
equal time. `one-class` fine-tunes digits-16 on one digit. `start` draws with the best possible
network from several noise schedules. Only `steps` needs diffusers.
"""

import argparse
import sys

import torch


def main() -> int:
    """Parse the command line, measure and print; return 1 if a target is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__)
    parser.add_argument("--threads", type=int, default=1, help="threads of the CPU (default: 1)")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    steps = commands.add_parser("steps", help="the time of a training step")
    steps.add_argument("--seconds", type=float, default=120, help="for each network")
    few = commands.add_parser("few", help="200 digits, equal time")
    few.add_argument("--seconds", type=float, default=600, help="for each training")
    few.add_argument("--seeds", type=int, nargs="+", default=[0])
    few.add_argument("--peers", nargs="+", default=["ours", "script"], help="also: ours-off")
    one_class = commands.add_parser("one-class", help="fine-tuning on one digit")
    one_class.add_argument("--digits", type=int, nargs="+", default=[3, 5, 8])
    one_class.add_argument("--steps", type=int, default=500)
    commands.add_parser("start", help="noise schedules with the best possible network")
    for command in (few, one_class):
        command.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    given = parser.parse_args()
    torch.set_num_threads(given.threads)

    if given.command == "steps":
        from .steps import measure

        return int(measure(given.seconds) > 0)
    if given.command == "few":
        from .few import measure

        measure(given.peers, given.device, given.seconds, given.seeds)
        return 0
    if given.command == "start":
        from .start import measure

        measure()
        return 0
    from .one_class import measure

    measure(given.digits, given.device, given.steps)
    return 0


if __name__ == "__main__":
    sys.exit(main())
