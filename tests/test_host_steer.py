"""In the real ComfyUI: images steered by a score."""

import pytest
import torch
from comfyui_unconditional.models.digits import digits
from comfyui_unconditional.models.judge import as_saved, compare
from comfyui_unconditional.schedulers.restoration import Blocks
from openai_classifier import openai_weights
from sampler_graphs import ksampler, records, sampler, some_images
from torch import Tensor
from wiring import Link, Wires


def steer(wires: Wires, model: Link | None = None, **how) -> Link:
    given = {"classifier": "digits-16", "class_number": 7, "weight": 10.0, "through": "image"}
    given |= {"start": 0.0, "until": 1.0, **how}
    return wires("UnconditionalSteer", model=model or wires.model(), **given)


def tiny_clip(wires: Wires, projection: str = "drawn", vision_width: int = 32) -> dict[str, Link]:
    (node, _) = wires("TestTinyClip", projection=projection, vision_width=vision_width)
    text = {"classifier": "none", "text": "a cat", "cutouts": 2}
    return {"clip": [node, 0], "clip_vision": [node, 1], **text}


def sevens(images: Tensor) -> float:
    """The share of images that the judge, which does not steer, classifies as a 7."""
    real, labels = digits()
    return compare(as_saved(images), as_saved(real), labels).shares[7]


def test_all_samplers_draw_a_7_on_demand(wires, bench):
    image, network = steer(wires), steer(wires, through="network", weight=1.0)
    empty = bench.put(wires, torch.zeros(10, 1, 16, 16))
    own, host = {"batch_size": 10, "steps": 20}, {"add_noise": "enable"}
    fast = {"method": "iPNDM_v", "spacing": "power"}
    plain, *steered = bench.get(
        wires,
        sampler(wires, "DDIM", wires.model(), **own),
        sampler(wires, "PNDM", image, **own, **fast),
        *(sampler(wires, kind, image, **own) for kind in ("DDIM", "DDPM")),
        sampler(wires, "DDIM", network, eta=1.0, **own),
        *(ksampler(wires, image, empty, sampler_name=name, **host) for name in ("euler", "ddim")),
    )
    assert sevens(plain) <= 0.5
    for samples in steered:
        assert sevens(samples) > 0.85


@pytest.mark.parametrize("through", ["image", "network"])
def test_a_steered_image_does_not_depend_on_the_others_of_its_batch(through, wires, bench, figure):
    model = steer(wires, through=through, weight=1.0)
    both, alone = bench.get(
        wires,
        sampler(wires, "DDIM", model, batch_size=2, seed=7),
        sampler(wires, "DDIM", model, batch_size=1, seed=8),
    )
    figure("steer: alone or in a batch", (both[1] - alone[0]).abs().max().item(), 5e-4)


def test_with_weight_0_nothing_changes(wires, bench):
    models = [wires.model(), steer(wires, weight=0.0), steer(wires, weight=0.0, **tiny_clip(wires))]
    plain, *steered = bench.get(wires, *(sampler(wires, "PNDM", model) for model in models))
    assert all(torch.equal(samples, plain) for samples in steered)


def test_steering_lasts_from_start_to_until(wires, bench):
    parts = [(0.0, 1.0), (0.0, 0.3), (0.7, 1.0), (1.0, 1.0), (0.0, 0.0)]
    models = [steer(wires, start=start, until=until) for start, until in parts]
    made = bench.get(wires, *(sampler(wires, "DDIM", m, steps=10, eta=0.0) for m in models))
    whole, early, late, *never = made
    assert torch.equal(*never)
    assert (early - never[0]).abs().max() > 0.1
    assert (late - never[0]).abs().max() > 0.01
    assert not torch.equal(early, whole)
    assert not torch.equal(late, whole)


def test_restored_pictures_hold_whatever_steers_them_in_any_order(wires, bench):
    small = Blocks(4).measure(some_images(1))
    image = wires(
        "UnconditionalImageOutput", samples=bench.put(wires, small), filename_prefix="image"
    )
    how = {"image": image, "task": "enlarge x4"}
    before = wires("UnconditionalRestore", model=steer(wires), **how)
    after = steer(wires, wires("UnconditionalRestore", model=wires.model(), **how))
    one, two = bench.get(wires, *(sampler(wires, "DDIM", model) for model in (before, after)))
    assert torch.equal(one, two)
    assert (Blocks(4).measure(one) - small).abs().max() < 1e-5


def test_a_classifier_of_openai_is_given_the_noisy_image_and_its_time(wires, bench, host):
    folder = host.folder / "models" / "classifiers"
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(openai_weights(), folder / "16x16_classifier.pt")
    model = steer(wires, classifier="16x16_classifier.pt", class_number=1, weight=1.0)
    (made,) = bench.get(wires, sampler(wires, "DDIM", model, steps=4))
    assert made.isfinite().all()


def test_the_similarity_to_a_text_rises_with_the_weight(wires, bench):
    clip = tiny_clip(wires)
    models = [wires.model(), *(steer(wires, weight=w, **clip) for w in (10.0, 60.0))]
    given = {name: clip[name] for name in ("clip", "clip_vision", "text")}
    found = [
        wires("TestSimilarity", samples=sampler(wires, "DDIM", model, batch_size=4), **given)
        for model in models
    ]
    plain, little, much = bench.get(wires, *found)
    assert plain.mean() < little.mean() < much.mean()
    assert (much > plain).all()


def test_the_cut_outs_of_an_image_depend_on_its_own_seed(wires, bench):
    model = steer(wires, weight=0.3, **tiny_clip(wires))
    both, alone, again = bench.get(
        wires,
        sampler(wires, "DDIM", model, batch_size=2, seed=7, steps=4),
        sampler(wires, "DDIM", model, batch_size=1, seed=8, steps=4),
        sampler(wires, "DDIM", steer(wires, weight=0.3, **tiny_clip(wires)), seed=8, steps=4),
    )
    assert torch.equal(alone, again)
    assert (both[1] - alone[0]).abs().max() < 1e-3


def test_the_record_of_a_picture_says_what_steered_it(wires, bench):
    (record,) = records(bench, wires, sampler(wires, "DDIM", steer(wires), steps=2))
    (steered,) = record["steered"]
    assert len(steered.pop("sha256")) == 64
    assert steered == {
        **{"classifier": "digits-16", "class": 7, "class_name": "7", "weight": 10.0},
        **{"through": "image", "start": 0.0, "until": 1.0},
    }


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"class_number": 10}, "0 to 9"),
        ({"classifier": "none"}, "clip, clip_vision, text"),
    ],
)
def test_invalid_steering_fails_on_this_node(how, words, wires, bench):
    model = steer(wires, **how)
    bench.fails(wires, sampler(wires, "DDIM", model), words, node=model[0])


def test_a_model_of_other_images_fails_with_both_kinds_named(wires, bench):
    coloured = steer(wires, wires.model("deep-field"))
    words = ("1 channel,", "3 channels")
    bench.fails(wires, sampler(wires, "DDIM", coloured), *words, node=coloured[0])


def test_a_picture_of_another_size_is_rejected_with_a_remedy(wires, bench):
    latent = bench.put(wires, torch.zeros(1, 1, 16, 24))
    samples = sampler(wires, "DDIM", steer(wires), latent=latent)
    bench.fails(wires, samples, "16 x 16", "24 x 16", "Empty Pixel Latent", node=samples[0])


def test_a_classifier_and_a_text_at_once_fail(wires, bench):
    model = steer(wires, **{**tiny_clip(wires), "classifier": "digits-16"})
    bench.fails(wires, sampler(wires, "DDIM", model), "two Steer nodes", node=model[0])


def test_a_clip_without_projection_or_of_another_width_fails(wires, bench):
    for how, words in (
        ({"projection": "none"}, "no text projection"),
        ({"vision_width": 48}, "32 numbers"),
    ):
        model = steer(wires, **tiny_clip(wires, **how))
        bench.fails(wires, sampler(wires, "DDIM", model), words, node=model[0])
        wires.graph.clear()
