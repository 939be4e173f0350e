"""What the figures say about the claims of the paper, in sentences."""

from collections.abc import Sequence

from .cells import COLUMNS, COSINE, COSINE_COLUMNS, LONG_COLUMNS
from .convergence import Convergence
from .network import FOLDERS, Network
from .results import Results
from .tables import Value, curve, evaluations_for, look_up

_SECOND_ORDER = ("S-PNDM", "F-PNDM", "PLMS")
_LEAST_ORDER = 1.85


def sentences(results: Results, network: Network, orders: Sequence[Convergence]) -> list[str]:
    """Return one sentence or more for each claim, each saying what is not measured yet."""
    return [
        _second_order(orders),
        _fifty_steps(results, network),
        _speed_up(results, network),
        _classical(results, network, orders),
        _few_evaluations(results, network),
        _other_schedules(results),
    ]


def _second_order(orders: Sequence[Convergence]) -> str:
    found = {one.method: one.order for one in orders}
    held = all(found[name] >= _LEAST_ORDER for name in _SECOND_ORDER)
    figures = ", ".join(f"{name} {found[name]:.2f}" for name in _SECOND_ORDER)
    return (
        f"*PNDM is second-order convergent*: {_verdict(held)}. Down to 0.05 T the orders are "
        f"{figures}, against {found['DDIM']:.2f} for DDIM."
    )


def _fifty_steps(results: Results, network: Network) -> str:
    pndm = look_up(results, network, "sets", "frechet", "F-PNDM", 100)
    claim = "*50 steps of PNDM are better than 250 and 1000 of DDIM*: "
    if pndm is None:
        return claim + "not measured yet."
    parts = []
    for column in LONG_COLUMNS:
        ddim = look_up(results, network, "sets", "frechet", "DDIM", column)
        if ddim is None:
            parts.append(f"DDIM with {column} steps is not measured yet")
        else:
            parts.append(f"DDIM with {column} steps {ddim.mean:.3f}")
    text = f"{claim}in Fréchet distance F-PNDM with {pndm.steps} steps has {pndm.mean:.3f}, "
    return text + ", ".join(parts) + "."


def _speed_up(results: Results, network: Network) -> str:
    points = curve(results, network, "median", "DDIM, unclipped", (*COLUMNS, *LONG_COLUMNS))
    parts = []
    for row in ("PLMS", "S-PNDM", "F-PNDM"):
        value = look_up(results, network, "distance", "median", row, 50)
        if value is None or not points:
            continue
        needed = evaluations_for(value.mean, points)
        if needed is not None:
            where = f"where DDIM is with {needed:.0f} ({needed / value.evaluations:.1f} times)"
        elif value.mean < points[-1].mean:
            where = f"nearer than DDIM with {points[-1].evaluations}, the most that are measured"
        else:
            where = "farther than DDIM with any"
        parts.append(f"{row} with {value.evaluations} evaluations is {where}")
    claim = "*A speed-up of 20 over DDIM*: "
    if not parts:
        return claim + "not measured yet."
    return f"{claim}in the median distance to the converged image {', '.join(parts)}."


def _classical(results: Results, network: Network, orders: Sequence[Convergence]) -> str:
    errors = {one.method: one.errors for one in orders}
    parts, wins = [], 0
    for column in (20, 50, 100):
        pseudo, classical = (
            look_up(results, network, "distance", "rms", row, column) for row in ("F-PNDM", "FON")
        )
        if pseudo is not None and classical is not None:
            wins += pseudo.mean < classical.mean
            parts.append(f"{pseudo.mean:.4f} to {classical.mean:.4f} at N = {pseudo.steps}")
    text = "*The classical fourth-order method is worse than the pseudo ones*: "
    if parts:
        text += (
            f"{_verdict(wins == len(parts), some=wins > 0)} on digits-16; the distances to the "
            f"converged image, F-PNDM to FON, are {', '.join(parts)}. "
        )
    else:
        text += "not measured yet on digits-16. "
    if all(f < p for f, p in zip(errors["FON"], errors["F-PNDM"], strict=True)):
        text += (
            "On the Gaussians FON has the smallest error at every N: they have a width, so that "
            "dx/dt, which it follows, stays smooth down to the data."
        )
    return text


def _few_evaluations(results: Results, network: Network) -> str:
    parts = []
    for column in COLUMNS:
        found: dict[str, Value] = {}
        for row in ("DDIM", "S-PNDM", "F-PNDM", "PLMS"):
            value = look_up(results, network, "sets", "frechet", row, column)
            if value is not None:
                found[row] = value
        if len(found) == 4:
            order = sorted(found, key=lambda row: found[row].mean)
            listed = ", ".join(f"{row} {found[row].mean:.3f}" for row in order)
            parts.append(f"at {column}: {listed}")
    if not parts:
        return "*Better with few evaluations*: not measured yet."
    return f"*Better with few evaluations*, Fréchet distance, best first: {'; '.join(parts)}."


def _other_schedules(results: Results) -> str:
    claim = "*The methods carry over to other variance schedules*: "
    if not (FOLDERS[COSINE] / "model_index.json").exists():
        return claim + "not measured yet."
    network, parts = Network(COSINE), []
    for column in COSINE_COLUMNS:
        ddim = look_up(results, network, "sets", "frechet", "DDIM", column)
        plms = look_up(results, network, "sets", "frechet", "PLMS", column)
        if ddim is not None and plms is not None:
            parts.append(f"at {column} DDIM {ddim.mean:.3f} and PLMS {plms.mean:.3f}")
    if not parts:
        return claim + "not measured yet."
    return f"{claim}on the cosine schedule, {', '.join(parts)}."


def _verdict(held: bool, *, some: bool = False) -> str:
    if held:
        return "held"
    return "held in part" if some else "did not hold"
