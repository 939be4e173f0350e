"""What the figures say about the claims of the paper, in sentences."""

from collections.abc import Sequence

from .cells import COLUMNS, COSINE, COSINE_COLUMNS, LONG_COLUMNS
from .convergence import Convergence
from .network import FOLDERS, Network
from .results import Results
from .tables import Value, curve, evaluations_for, look_up

_SECOND_ORDER = ("S-PNDM", "F-PNDM", "PLMS")
_LEAST_ORDER = 1.85
_CLAIMED = 20


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
    # DDIM unclipped, as in the paper. It has one seed: compared with the same noise, and judged by
    # what other noise would change.
    ours, parts, gains = pndm.values[0], [], []
    for column in LONG_COLUMNS:
        ddim = look_up(results, network, "sets", "frechet", "DDIM, unclipped", column)
        if ddim is None:
            parts.append(f"DDIM with {column} steps is not measured yet")
        else:
            parts.append(f"DDIM with {column} steps {ddim.mean:.3f}")
            gains.append(ddim.mean - ours)
    text = f"in Fréchet distance F-PNDM with {pndm.steps} steps has {ours:.3f} with the first seed"
    text = f"{claim}{text}, {', '.join(parts)} (unclipped)."
    if len(gains) < len(LONG_COLUMNS) or not pndm.spread:
        return text
    spread = f"the spread of the seeds, {pndm.spread:.3f}"
    if all(gain > pndm.spread for gain in gains):
        return f"{text} Held, by more than {spread}."
    if any(gain < -pndm.spread for gain in gains):
        return f"{text} Did not hold."
    return f"{text} Not decided on so easy a model: the differences are not all above {spread}."


def _speed_up(results: Results, network: Network) -> str:
    points = curve(results, network, "median", "DDIM, unclipped", (*COLUMNS, *LONG_COLUMNS))
    parts, times = [], []
    for row in ("PLMS", "S-PNDM", "F-PNDM"):
        value = look_up(results, network, "distance", "median", row, 50)
        if value is None or not points:
            continue
        needed = evaluations_for(value.mean, points)
        if needed is not None:
            times.append(needed / value.evaluations)
            where = f"where DDIM is with {needed:.0f} ({times[-1]:.1f} times)"
        elif value.mean < points[-1].mean:
            where = f"nearer than DDIM with {points[-1].evaluations}, the most that are measured"
        else:
            where = "farther than DDIM with any"
        parts.append(f"{row} with {value.evaluations} evaluations is {where}")
    claim = f"*A speed-up of {_CLAIMED} over DDIM*: "
    if not parts:
        return claim + "not measured yet."
    verdict = f"{_verdict(min(times) >= _CLAIMED)}; " if len(times) == len(parts) else ""
    return f"{claim}{verdict}in the median distance to the converged image {', '.join(parts)}."


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
    better: dict[str, list[str]] = {row: [] for row in _SECOND_ORDER}
    for column in COLUMNS:
        found: dict[str, Value] = {}
        for row in ("DDIM", *_SECOND_ORDER):
            value = look_up(results, network, "sets", "frechet", row, column)
            if value is not None:
                found[row] = value
        if len(found) < 1 + len(_SECOND_ORDER):
            continue
        order = sorted(found, key=lambda row: found[row].mean)
        parts.append(f"at {column}: {', '.join(f'{row} {found[row].mean:.3f}' for row in order)}")
        for row in order[: order.index("DDIM")]:
            better[row].append(str(column))
    claim = "*Better than DDIM with as many evaluations*: "
    if not parts:
        return claim + "not measured yet."
    held = all(len(columns) == len(parts) for columns in better.values())
    where = [
        f"{row} is better at {', '.join(columns) or 'none'}" for row, columns in better.items()
    ]
    return (
        f"{claim}{_verdict(held, some=any(better.values()))}; {'; '.join(where)}. Fréchet "
        f"distances, best first: {'; '.join(parts)}."
    )


def _other_schedules(results: Results) -> str:
    claim = "*The methods carry over to other variance schedules*: "
    if not (FOLDERS[COSINE] / "model_index.json").exists():
        return claim + "not measured yet."
    network, parts, wins = Network(COSINE), [], 0
    for column in COSINE_COLUMNS:
        ddim = look_up(results, network, "sets", "frechet", "DDIM", column)
        plms = look_up(results, network, "sets", "frechet", "PLMS", column)
        if ddim is not None and plms is not None:
            wins += plms.mean < ddim.mean
            parts.append(f"at {column} DDIM {ddim.mean:.3f} and PLMS {plms.mean:.3f}")
    if not parts:
        return claim + "not measured yet."
    verdict = _verdict(wins == len(parts), some=wins > 0)
    return f"{claim}{verdict}; on the cosine schedule, {', '.join(parts)}."


def _verdict(held: bool, *, some: bool = False) -> str:
    if held:
        return "held"
    return "held in part" if some else "did not hold"
