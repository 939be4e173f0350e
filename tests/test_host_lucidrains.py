"""In the real ComfyUI: models of lucidrains/denoising-diffusion-pytorch."""

from pathlib import Path

import pytest
import torch
from comfyui_unconditional.checkpoints.files import find_files
from comfyui_unconditional.checkpoints.reading import read_checkpoint
from comfyui_unconditional.lucidrains.network import LucidrainsUNet
from comfyui_unconditional.schedulers.config import SchedulerConfig
from comfyui_unconditional.schedulers.ddim import DDIM
from comfyui_unconditional.schedulers.prediction import clip_x0
from comfyui_unconditional.schedulers.randomness import SeededNoise
from comfyui_unconditional.schedulers.sampler import drain
from comfyui_unconditional.schedulers.span import Stretch
from lucidrains_files import betas_of, loss_weight, save_trained
from lucidrains_oracle import Oracle
from safetensors.torch import save_file
from sampler_graphs import (
    SAMPLERS,
    half_mask,
    ksampler,
    model_report,
    sampler,
    some_images,
    trajectory,
)
from torch import Tensor
from wiring import Wires

from devtools.wires import Link

NAMES = ("plain", "self-conditioned", "learned variance", "old")


def put(models: Path, kind: str) -> str:
    """Write a model for images of 16 x 16 that does not diverge."""
    oracle = Oracle(
        (1, 6, 4) if kind == "old" else (2, 3, 4),
        dim=8,
        mults=(1, 2),
        channels=1,
        self_condition=kind == "self-conditioned",
        learned_variance=kind == "learned variance",
    )
    weights = oracle.weights(1)
    for name in ("final_conv.weight", "final_conv.bias"):
        weights[name] = weights[name] / 4
    betas = betas_of("cosine", 1000)
    tables = {"betas": betas, "loss_weight": loss_weight(betas, "v_prediction", None)}
    folder = models / "lucidrains" / kind
    folder.mkdir(parents=True, exist_ok=True)
    save_trained(folder, oracle, weights, {"sample_size": 16}, process=tables)
    return f"lucidrains/{kind}/model-1.pt"


def load(wires: Wires, name: str, dtype: str = "auto") -> Link:
    return wires("UnconditionalUNetLoader", model_name=name, dtype=dtype)


@pytest.mark.parametrize("kind", NAMES)
def test_every_sampler_draws_images_that_come_back_after_saving(kind, bench, host, models):
    wires, name = Wires(), put(models, kind)
    model = load(wires, name)
    empty, images = bench.put(wires, torch.zeros(2, 1, 16, 16)), some_images()
    masked = bench.put(wires, images, mask=half_mask())

    def links(model: Link) -> list[Link]:
        found = [sampler(wires, k, model, steps=4, batch_size=2) for k in SAMPLERS]
        found += [sampler(wires, "PNDM", model, steps=8, latent=masked, denoise=0.5)]
        found += [trajectory(wires, model, steps=4)]
        found += [
            ksampler(wires, model, empty, add_noise="enable", sampler_name=name, steps=6)
            for name in ("euler", "dpmpp_2m")
        ]
        return found

    saved = f"saved {kind} {host.version}"
    wires("UnconditionalUNetSave", model=model, filename_prefix=saved)
    first = bench.get(wires, *links(model))
    for result in first:
        assert result.isfinite().all()
        assert result.std() > 0.05
    assert torch.equal(first[3][..., :8], images[..., :8])

    wires = Wires()
    empty = bench.put(wires, torch.zeros(2, 1, 16, 16))
    masked = bench.put(wires, images, mask=half_mask())
    again = bench.get(wires, *links(load(wires, saved)))
    for one, two in zip(first, again, strict=True):
        assert torch.equal(one, two)


def test_the_last_predicted_image_is_passed_and_forgotten_after_the_run(bench, models):
    name = put(models, "self-conditioned")
    wires = Wires()
    model = wires.exact(load(wires, name))
    little = wires("TestWrappedModel", model=model, kind="little memory", name="lucidrains")
    links = [
        sampler(wires, "DDIM", m, steps=6, batch_size=3, eta=0.0, seed=seed)
        for m, seed in ((model, 5), (model, 6), (model, 5), (little, 5))
    ]
    first, _, again, in_parts = bench.get(wires, *links)
    expected = drawn(models / name, seeds=[5, 6, 7])
    assert (first - expected).abs().max() < 1e-4
    assert torch.equal(first, again)
    assert (in_parts - expected).abs().max() < 1e-4
    # Without it, the images differ.
    assert (first - drawn(models / name, seeds=[5, 6, 7], passes=False)).abs().max() > 1e-2


def drawn(file: Path, seeds: list[int], *, passes: bool = True) -> Tensor:
    """Six steps of DDIM by the core alone, in float64."""
    checkpoint = read_checkpoint(find_files(file))
    network = checkpoint.build(LucidrainsUNet).double()
    assert checkpoint.scheduler is not None
    config = SchedulerConfig.from_dict(checkpoint.scheduler)
    noise = SeededNoise(seeds, (1, 16, 16))
    last: list[Tensor] = []

    def model(x: Tensor, t: float) -> Tensor:
        known = last[-1].double() if last and passes else None
        return network(x.double(), t, known).to(x.dtype)

    with torch.inference_mode():
        return drain(
            DDIM.over(config, Stretch(6)).sample(model, noise(), noise),
            lambda evaluation: last.append(clip_x0(evaluation.x0, config)),
        )


def test_the_loader_says_what_it_knows_and_what_it_assumed(bench, models):
    name = put(models, "self-conditioned")
    (models / name).with_suffix(".json").unlink()
    wires = Wires()
    model = load(wires, name)
    report = model_report(bench, wires, model)
    assert report["format"] == "lucidrains (denoising-diffusion-pytorch)"
    assert report["place"] == "ema.ema_model.model"
    assert report["averaged"] is True
    assert (report["prediction"], report["timesteps"]) == ("v_prediction", 1000)
    assert report["size"] == [128, 128]
    assert report["assumed"] == {"sample_size": 128, "sinusoidal_pos_emb_theta": 10000}
    assert report["schedule"] == {}
    assert len(report["warnings"]) == 1
    assert "self-conditioned" in report["warnings"][0]


def test_a_lora_of_the_hosts_loader_acts_on_the_network(bench, host, models):
    name = put(models, "plain")
    layer = "diffusion_model.mid_block1.block1.proj"
    generator = torch.Generator().manual_seed(0)
    lora = {
        f"{layer}.lora_up.weight": torch.randn(16, 2, 1, 1, generator=generator),
        f"{layer}.lora_down.weight": torch.randn(2, 16, 3, 3, generator=generator),
        f"{layer}.alpha": torch.tensor(2.0),
    }
    folder = host.folder / "models" / "loras"
    folder.mkdir(parents=True, exist_ok=True)
    save_file(lora, folder / "lucidrains.safetensors")
    wires = Wires()
    model = load(wires, name)
    changed = [
        wires(
            "LoraLoaderModelOnly", model=model, lora_name="lucidrains.safetensors", strength_model=s
        )
        for s in (0.0, 1.0)
    ]
    links = [sampler(wires, "DDIM", m, steps=3) for m in (model, *changed)]
    plain, off, on = bench.get(wires, *links)
    assert torch.equal(plain, off)
    assert (plain - on).abs().max() > 1e-3


@pytest.mark.parametrize("kind", ["compiled", "diffusion model"])
def test_what_other_nodes_put_on_the_network_acts_on_it(kind, wires, bench, models):
    model = load(wires, put(models, "self-conditioned"))
    wrapped = wires("TestWrappedModel", model=model, kind=kind, name="")
    plain, changed = bench.get(
        wires, *(sampler(wires, "DDIM", m, steps=4) for m in (model, wrapped))
    )
    difference = (plain - changed).abs().max()
    assert difference < 1e-4 if kind == "compiled" else difference > 1e-2
