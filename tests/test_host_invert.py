"""In the real ComfyUI: the noise of pictures, and pictures drawn from it again."""

import json
from typing import Any

import pytest
import torch
import toys
from sampler_graphs import half_mask, records, sampler, some_images
from wiring import Link, Wires


def digits(wires: Wires, count: int = 2) -> Link:
    """Digits that the model drew, because only these are certain to be its pictures."""
    return sampler(wires, "PNDM", wires.model(), batch_size=count, steps=20)


def invert(wires: Wires, latent: Link, method: str = "BDIA", model: Link | None = None, **more):
    given = {"steps": 20, "gamma": 1.0, **more}
    link = model or wires.model()
    return wires("UnconditionalInvert", model=link, latent=latent, method=method, **given)


def ddim(wires: Wires, noise: Link, model: Link | None = None, **more: Any) -> Link:
    given = {"steps": 20, "eta": 0.0, **more}
    return sampler(wires, "DDIM", model or wires.model(), noise=noise, **given)


@pytest.mark.parametrize("spacing", ["model", "power"])
def test_ddim_sampler_draws_an_inverted_picture_again_exactly(spacing, wires, bench, figure):
    drawn = digits(wires)
    noise = invert(wires, drawn, spacing=spacing)
    again = ddim(wires, noise, spacing=spacing)
    nearly = ddim(wires, invert(wires, drawn, "DDIM", spacing=spacing), spacing=spacing)
    pictures, same, near = bench.get(wires, drawn, again, nearly)
    apart = (same - pictures).square().mean().sqrt().item()
    figure("Invert: BDIA in the host, float32", apart, 1e-5)
    assert 1e-3 < (near - pictures).square().mean().sqrt() < 0.3


def test_a_node_says_how_close_the_picture_comes(wires, bench):
    drawn, said = digits(wires), []
    for method in ("BDIA", "DDIM"):
        node = invert(wires, drawn, method)
        again = ddim(wires, node)
        wires("TestSaveLatent", samples=again, name=f"again-{method}")
        said.append(node[0])
    outputs = bench.run(wires).outputs
    exact, near = (float(outputs[node]["text"][0].split(" by ")[1].split()[0]) for node in said)
    assert exact < 1e-5 < 1e-3 < near < 0.3


def test_pictures_are_chosen_varied_walked_through_and_shifted_by_their_noise(wires, bench):
    model, drawn = wires.exact(wires.model()), digits(wires)
    noise = invert(wires, drawn, model=model)
    second = wires("LatentFromBatch", samples=noise, batch_index=1, length=1)
    walk = {"seed": 0, "keys": 9, "frames": 6, "ease": "smooth", "noise": noise}
    mix = {"seed": 0, "variation_seed": 5, "strength": 0.1, "noise": second}
    links = [
        ddim(wires, second, model),
        ddim(wires, wires("UnconditionalNoiseWalk", **walk), model),
        ddim(wires, wires("UnconditionalMixNoise", **mix), model, batch_size=3),
        ddim(wires, wires("UnconditionalMixNoise", **mix | {"strength": 0.0}), model),
    ]
    pictures, chosen, film, varied, same = bench.get(wires, drawn, *links)
    assert (chosen - pictures[1:]).abs().max() < 1e-4
    assert (film[[0, 3]] - pictures).abs().max() < 1e-4
    assert (same - pictures[1:]).abs().max() < 1e-4
    assert (varied[0] - varied[1]).abs().max() > 1e-3
    assert (varied - pictures[1:]).square().mean() < (pictures[0] - pictures[1]).square().mean() / 2


def test_noise_from_ddim_works_in_any_sampler_and_model(wires, bench, models):
    noise = invert(wires, digits(wires), "DDIM")
    other = wires.model(beta_schedule="squaredcos_cap_v2")
    links = [sampler(wires, "PNDM", model, noise=noise) for model in (wires.model(), other)]
    for images in bench.get(wires, *links):
        assert images.shape == (2, 1, 16, 16)


def test_with_a_mask_the_rest_of_the_picture_is_kept(wires, bench):
    images = some_images(1)
    noise = invert(wires, bench.put(wires, images))
    latent = bench.put(wires, images, mask=half_mask())
    mixed = {"seed": 0, "variation_seed": 5, "strength": 0.4, "noise": noise}
    (made,) = bench.get(wires, ddim(wires, wires("UnconditionalMixNoise", **mixed), latent=latent))
    assert torch.equal(made[..., :8], images[..., :8])
    assert (made - images)[..., 8:].abs().max() > 0.01


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"steps": 10}, "Set steps to 20, spacing to 'model'"),
        ({"spacing": "power"}, "Set steps to 20, spacing to 'model'"),
        ({"eta": 0.5}, "only 'DDIM Sampler' with eta 0"),
        ({"kind": "PNDM"}, "only 'DDIM Sampler' with eta 0"),
        ({"schedule": {"beta_end": 0.03}}, "MODEL's noise schedule"),
    ],
)
def test_another_sampler_than_the_inversion_s_is_rejected(more, words, wires, bench):
    noise = invert(wires, bench.put(wires, some_images(1)))
    given = {"steps": 20, "noise": noise, **more}
    kind, schedule = given.pop("kind", "DDIM"), given.pop("schedule", {})
    if kind == "DDIM":
        given.setdefault("eta", 0.0)
    drawn = sampler(wires, kind, wires.model(**schedule), **given)
    bench.fails(wires, drawn, words, node=drawn[0])


def test_another_model_than_the_inversion_s_is_rejected(wires, bench, models):
    fields = {**toys.TINY, "in_channels": 1, "out_channels": 1}
    toys.write_checkpoint(models / "other", fields, scheduler={})
    noise = invert(wires, bench.put(wires, some_images(1)))
    drawn = ddim(wires, noise, wires.model("other"))
    words = "made with the model digits-16, but the sampler has other"
    bench.fails(wires, drawn, words, node=drawn[0])


def test_noise_that_was_changed_in_between_is_rejected(wires, bench):
    noise = invert(wires, bench.put(wires, some_images(1)))
    halved = wires("LatentMultiply", samples=noise, multiplier=0.5)
    drawn = ddim(wires, halved)
    bench.fails(wires, drawn, "changed after 'Invert'", node=drawn[0])


def test_a_model_with_restore_cannot_be_inverted(wires, bench):
    image = wires("EmptyImage", width=4, height=4, batch_size=1, color=255)
    model = wires("UnconditionalRestore", model=wires.model(), image=image, task="enlarge x4")
    node = invert(wires, bench.put(wires, some_images(1)), model=model)
    bench.fails(wires, node, "before that node", node=node[0])


def test_a_class_is_needed_where_the_model_has_classes_and_kept(wires, bench, models):
    fields = {**toys.TINY, "num_class_embeds": 4}
    toys.write_checkpoint(models / "inverting", fields, scheduler={})
    model = wires.model("inverting")
    images = torch.zeros(1, 3, 8, 8)
    noise = invert(wires, bench.put(wires, images), model=model, class_label=2)
    (again,) = bench.get(wires, ddim(wires, noise, model, class_label=2))
    assert (again - images).square().mean().sqrt() < 1e-4
    other = ddim(wires, noise, model, class_label=1)
    bench.fails(wires, other, "made with class_label 2, not 1", node=other[0])


def test_the_record_of_a_picture_says_what_was_inverted(wires, bench):
    (record,) = records(bench, wires, ddim(wires, invert(wires, digits(wires, 1))))
    assert record["sampler"] == "BDIA"
    noise = record["noise"]
    assert (noise["inversion"], noise["steps"], noise["gamma"]) == ("BDIA", 20, 1.0)
    assert len(noise["picture"]) == 64
    assert json.dumps(record)
