"""`python -m benchmarks.quality`: measure what is missing, then print the tables.

The figures are stored in docs/quality.json and plotted in docs/quality.png; docs/quality.md is
written by hand from the tables.
"""

import argparse
import sys
import time
from collections.abc import Sequence

import torch
from tqdm import tqdm

from .cells import plan
from .distances import floor
from .measure import measure, work_of
from .network import FOLDERS, Network
from .results import COMMITTED, Results

_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and return the exit status: 0, 1 without the `bench` extra, 130 after Ctrl-C."""
    given = _parser().parse_args(arguments)
    torch.set_num_threads(given.threads)
    if given.quick:
        from .quick import quick

        quick()
        return 0
    try:
        from .plots import curves
        from .report import tables
    except ModuleNotFoundError as error:
        print(
            f"{error}. The report needs the `bench` extra: in this pack's folder run "
            'pip install -e ".[bench]"',
            file=sys.stderr,
        )
        return 1
    results, status = Results(), 0
    if not given.report:
        status = _measure_missing(results, given)
    results.commit()
    for text in tables(results):
        print(text)
    curves(results, Network("digits-16"), floor()["frechet"][0], COMMITTED.with_suffix(".png"))
    return status


def _measure_missing(results: Results, given: argparse.Namespace) -> int:
    networks: dict[str, Network] = {}
    cells = [cell for cell in plan() if given.model in (None, cell.model)]
    missing = [cell for cell in cells if results.get(cell) is None]
    for cell in missing:
        networks.setdefault(cell.model, Network(cell.model))
    if not missing:
        print("Everything is measured.")
        return 0
    rate = _images_per_second(networks[missing[0].model], given.batch)
    work = sum(work_of(cell, networks[cell.model]) for cell in missing)
    print(f"{len(missing)} cells are missing: about {work / rate / 3600:.1f} hours.", flush=True)
    end = time.monotonic() + given.hours * 3600
    try:
        with tqdm(total=work, unit="image", unit_scale=True) as bar:
            for network in networks.values():
                network.on_call = bar.update
            for cell in missing:
                if time.monotonic() > end:
                    break
                bar.set_description(f"{cell.kind} {cell.model} {cell.row} {cell.steps}")
                results.add(cell, **measure(cell, networks[cell.model], given.batch))
    except KeyboardInterrupt:
        print("Stopped. Run the same command to continue with the unfinished cell.")
        return _INTERRUPTED
    return 0


@torch.inference_mode()
def _images_per_second(network: Network, batch: int) -> float:
    x = torch.zeros(batch, *network.shape)
    network(x, 0)
    start, calls = time.perf_counter(), 10
    for _ in range(calls):
        network(x, 0)
    return calls * batch / (time.perf_counter() - start)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="measure and print a small part, in a few minutes"
    )
    parser.add_argument("--report", action="store_true", help="print the tables, measure nothing")
    parser.add_argument("--model", choices=tuple(FOLDERS), help="measure only this model")
    parser.add_argument(
        "--hours", type=float, default=float("inf"), help="start no cell after this many hours"
    )
    parser.add_argument(
        "--threads", type=int, default=torch.get_num_threads(), help="CPU threads for torch"
    )
    parser.add_argument("--batch", type=int, default=64, help="images at once (default: 64)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
