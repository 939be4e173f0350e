"""A subset of the measurements that takes a minute or two, for `python dev.py bench`."""

from .cells import COLUMNS, EXACT_ROWS
from .converged import converge
from .convergence import LATE_END, SMOOTH_END, Convergence, measure
from .measure import rms
from .network import Network
from .samplers import ROWS
from .tables import MISSING, table

IMAGES = 32
CONVERGED_STEPS = 500


def quick() -> None:
    """Print the orders of convergence, and distances to the converged images of a few digits."""
    print("Order of convergence, mixture of Gaussians, float64, N = 80 to 640\n")
    print(order_table(measure(SMOOTH_END), measure(LATE_END)))

    network, seeds = Network("digits-16"), range(IMAGES)
    best = converge(network, "F-PNDM", CONVERGED_STEPS, seeds, IMAGES)
    rows = []
    for name in EXACT_ROWS:
        row = ROWS[name]
        if name.startswith("ComfyUI"):
            continue  # starting it takes longer than everything else
        cells = []
        for column in COLUMNS[:-1]:
            steps = row.steps_within(network.config, column)
            if steps is None:
                cells.append(MISSING)
                continue
            distance = rms(row.images(network, steps, seeds, IMAGES), best[row.end])
            cells.append(f"{distance:.4f}" + ("" if steps == column else f" (N = {steps})"))
        rows.append([name, *cells])
    print(
        f"\nDistance to the converged image (F-PNDM, {CONVERGED_STEPS} steps) by evaluations, "
        f"{IMAGES} digits, root mean square of pixels in -1..1\n"
    )
    print(table(["", *map(str, COLUMNS[:-1])], rows))


def order_table(smooth: list[Convergence], late: list[Convergence]) -> str:
    """Return errors and fitted orders, for runs that end where eps is smooth or near the data."""
    head = ["method", *(f"N = {n}" for n in smooth[0].steps), "order", "order down to 0.001 T"]
    return table(
        head,
        [
            [a.method, *(f"{e:.2g}" for e in a.errors), f"{a.order:.2f}", f"{b.order:.2f}"]
            for a, b in zip(smooth, late, strict=True)
        ],
    )
