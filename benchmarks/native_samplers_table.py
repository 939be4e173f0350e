"""What benchmarks.native_samplers measured, as docs/native_samplers.md."""

from typing import Any

from devtools.environment import ROOT

_PAGE = ROOT / "docs" / "native_samplers.md"

# What counts as digits, beside the real ones' share of 0.94 and distance of 3.48.
_SHARE, _DISTANCE, _KINDS = 0.85, 4.2, 8

# Why a whole column does not work; what was measured stands in the table.
_REASONS = {
    "linear_quadratic": "`linear_quadratic` is a schedule of flow-matching models, of sigmas from "
    "0 to 1, which ComfyUI scales by the model's largest sigma: 157 here. Its last step then goes "
    "from sigma 29 to 0 with 20 steps, and from 6 to 0 with 100: nearly the whole image is made in "
    "one step. With `sa_solver` it also leads to a matrix that cannot be inverted.",
}


def works(cell: Any) -> bool:
    """Return whether a cell's images are digits."""
    enough = cell.share >= _SHARE and cell.kinds >= _KINDS
    return not cell.error and enough and cell.distance <= _DISTANCE


def write(facts: dict[str, Any], cells: list[Any]) -> None:
    """Write the page.

    Args:
        facts: date, ComfyUI's version, its samplers and schedulers, and the real digits' measures.
        cells: ``native_samplers.Cell`` of each pair, and of some again with more steps.
    """
    by_pair: dict[tuple[str, str], list[Any]] = {}
    for cell in sorted(cells, key=lambda cell: cell.steps):
        by_pair.setdefault((cell.sampler, cell.scheduler), []).append(cell)
    schedulers = facts["schedulers"]
    real = facts["real"]
    first = [found[0] for found in by_pair.values()]
    images = sorted({cell.images for cell in cells})
    lines = [
        "# Our MODEL in ComfyUI's own samplers",
        "",
        f"Every sampler with every scheduler that KSampler lists, on digits-16: {first[0].steps} "
        f"steps, cfg 1, {' or '.join(map(str, images))} images each, judged against the real "
        f"digits. ComfyUI {facts['comfyui']}, CPU, {facts['date']}, made by `python -m "
        "benchmarks.native_samplers`.",
        "",
        "A number is the share of images whose five nearest real digits agree; of the real digits, "
        f"each left out in turn, it is {real['share']:.2f}. It stands alone where the images are "
        f"digits: a share of {_SHARE} or more, at least {_KINDS} kinds of digit, and a median "
        f"distance to the nearest real digit of {_DISTANCE} or less (real ones: "
        f"{real['distance']:.2f}). Else the distance stands beside it, and below it what "
        "more steps gave. Where the images are no digits even then, the number is ~~struck out~~.",
        "",
        f"**{sum(works(cell) for cell in first)} of {len(first)}** pairs draw digits with "
        f"{first[0].steps} steps, "
        f"**{sum(any(map(works, found)) for found in by_pair.values())}** with as many as were "
        "tried.",
        "",
        "| sampler | " + " | ".join(f"`{name}`" for name in schedulers) + " |",
        "|---|" + "---|" * len(schedulers),
    ]
    for sampler in facts["samplers"]:
        row = [_entry(by_pair.get((sampler, name), [])) for name in schedulers]
        lines.append(f"| `{sampler}` | " + " | ".join(row) + " |")
    lines += ["", "## Why not", ""]
    lines += [f"- {_REASONS[name]}" for name in schedulers if name in _REASONS]
    slow = [
        found for pair, found in by_pair.items() if not works(found[0]) and pair[1] not in _REASONS
    ]
    more = [found for found in slow if any(map(works, found))]
    if more:
        names = ", ".join(f"`{c[0].sampler}` with `{c[0].scheduler}`" for c in more)
        lines.append(f"- {names}: too few steps; with {more[0][-1].steps} they draw digits.")
    rest = [found for found in slow if not any(map(works, found))]
    for found in rest:
        last = found[-1]
        lines.append(
            f"- `{last.sampler}` with `{last.scheduler}`: also with {last.steps} steps beyond the "
            f"bounds above ({_measured(last)})."
        )
    lines += [
        "",
        "`dpm_adaptive` and `dpm_fast` choose their own times between the first and the last "
        "sigma. The CFG++ samplers differ from their plain kin only in what they do with a "
        "negative prompt, and take twice as long.",
    ]
    _PAGE.write_text("\n".join(lines) + "\n")


def _entry(found: list[Any]) -> str:
    if not found:
        return "-"
    if works(found[0]):
        return f"{found[0].share:.2f}"
    shown = [_measured(cell) for cell in found]
    if not any(map(works, found)):
        shown = [f"~~{text}~~" for text in shown]
    return "<br>".join(
        text if k == 0 else f"{cell.steps} steps: {text}"
        for k, (text, cell) in enumerate(zip(shown, found, strict=True))
    )


def _measured(cell: Any) -> str:
    if cell.error:
        return "error"
    return f"{cell.share:.2f} at {cell.distance:.1f}"
