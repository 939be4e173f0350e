"""`python benchmarks/inversion.py`: how exactly inverted pictures come back.

It inverts real pictures that the bundled models have learned and draws the noise again: with DDIM,
with BDIA from both states, and with BDIA from the noise alone. The networks are in float32, the
states in float64, as in the host. The table has the root mean square over all pictures, in -1..1,
and in brackets that of the worst picture.
"""

import argparse
from pathlib import Path

import torch
from comfyui_unconditional.models.digits import digits
from comfyui_unconditional.models.sampling import read_model
from comfyui_unconditional.schedulers.bdia import BDIA, BDIAInversion, DDIMInversion
from comfyui_unconditional.schedulers.config import SchedulerConfig
from comfyui_unconditional.schedulers.ddim import DDIM
from comfyui_unconditional.schedulers.sampler import Evaluation, Model, Sampler, drain
from comfyui_unconditional.schedulers.span import Stretch
from comfyui_unconditional.schedulers.timesteps import Spacing
from torch import Tensor

_MODELS = Path(__file__).resolve().parent.parent / "models"


def skies(count: int) -> Tensor:
    """Return pieces of the Hubble Ultra Deep Field, shape (count, 3, 64, 64), in -1..1."""
    from skimage import data

    whole = torch.tensor(data.hubble_deep_field()).permute(2, 0, 1) / 127.5 - 1
    rows = whole.unfold(1, 64, 64).unfold(2, 64, 64).flatten(1, 2)
    return rows.transpose(0, 1)[:: rows.shape[1] // count][:count]


def errors(
    network: Model, config: SchedulerConfig, x0: Tensor, steps: int, spacing: Spacing | None
) -> dict[str, Tensor]:
    """Return the root mean square difference of each picture, for each way."""
    stretch = Stretch(steps)
    x0 = x0.double()  # as in the host; the network is in float32

    def model(x: Tensor, t: float) -> Tensor:
        return network(x.float(), t).double()

    def run(sampler: Sampler, x: Tensor, kept: list[Evaluation] | None = None) -> Tensor:
        on_evaluation = ([] if kept is None else kept).append
        return drain(sampler.sample(model, x, lambda: x), on_evaluation)

    ddim = DDIM.over(config, stretch, spacing)
    way = BDIAInversion.over(config, stretch, spacing)
    back = BDIA.over(config, stretch, spacing)
    kept: list[Evaluation] = []
    noise = run(way, x0, kept)
    states = torch.cat((noise, way.rest(*kept[-2:])), dim=1)
    both = BDIA(config, back.span, states=states)
    found = {
        "DDIM": run(ddim, run(DDIMInversion.over(config, stretch, spacing), x0)),
        "BDIA": run(both, noise.float().double()),
        "BDIA, noise alone": run(back, noise),
        "BDIA, noise alone, drawn by DDIM": run(ddim, noise),
    }
    return {name: (x - x0).square().mean((1, 2, 3)).sqrt() for name, x in found.items()}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python benchmarks/inversion.py", description=__doc__)
    parser.add_argument("--pictures", type=int, default=16)
    arguments = parser.parse_args()
    spacings: tuple[Spacing | None, ...] = (None, "power")
    pictures = {
        "digits-16": digits()[0][: arguments.pictures],
        "deep-field": skies(arguments.pictures),
    }
    for name, x0 in pictures.items():
        network, config = read_model(_MODELS / name)
        for spacing in spacings:
            for steps in (10, 20, 50):
                with torch.inference_mode():
                    found = errors(network, config, x0, steps, spacing)
                cells = [f"{e.square().mean().sqrt():.2g} ({e.max():.2g})" for e in found.values()]
                if steps == 10:
                    print(f"| {name}, {spacing or 'model'} | {' | '.join(found)} |")
                print(f"| {steps} steps | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
