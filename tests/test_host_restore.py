"""In the real ComfyUI: pictures that agree with an image."""

import pytest
import torch
from comfyui_unconditional.schedulers.restoration import Blocks
from sampler_graphs import half_mask, ksampler, records, sampler, some_images
from torch import Tensor
from wiring import Bench, Link, Wires


def _image(bench: Bench, wires: Wires, images: Tensor) -> Link:
    """An IMAGE of these values in -1..1, shape (B, C, H, W)."""
    samples = bench.put(wires, images)
    return wires("UnconditionalImageOutput", samples=samples, filename_prefix="image")


def _mask(bench: Bench, wires: Wires, mask: Tensor) -> Link:
    image = _image(bench, wires, mask[:, None] * 2 - 1)
    return wires("ImageToMask", image=image, channel="red")


def _restore(wires: Wires, image: Link, task: str, model: str | Link = "digits-16", **how) -> Link:
    link = wires.model(model) if isinstance(model, str) else model
    return wires("UnconditionalRestore", model=link, image=image, task=task, **how)


def test_results_of_all_samplers_keep_the_small_picture_exactly(wires, bench, figure):
    small = Blocks(4).measure(some_images(2))
    model = _restore(wires, _image(bench, wires, small), "enlarge x4")
    empty = bench.put(wires, torch.zeros(3, 1, 16, 16))
    own, host = {"batch_size": 3}, {"add_noise": "enable", "steps": 5}
    select = wires("UnconditionalPNDMSamplerSelect", method="F-PNDM")
    results = bench.get(
        wires,
        sampler(wires, "PNDM", model, **own),
        sampler(wires, "PNDM", model, method="iPNDM_v", spacing="optimised", **own),
        sampler(wires, "DDPM", model, **own),
        sampler(wires, "DDIM", model, eta=0.85, **own),
        wires.custom(model, select, wires.timesteps(model, 5), empty, seed=7),
        *(
            ksampler(wires, model, empty, sampler_name=name, **host)
            for name in ("euler", "dpmpp_2m", "euler_ancestral")
        ),
    )
    for samples in results:
        for k, image in enumerate(samples):
            apart = Blocks(4).measure(image[None]) - small[k % 2]
            figure("restore: |A x - y|", apart.abs().max().item(), 1e-5)
        # The first and the last have the same small picture, but different seeds.
        assert (samples[0] - samples[2]).abs().max() > 0.1


def test_our_samplers_do_not_clip_what_was_projected(wires, bench):
    schedule = {"timestep_spacing": "trailing", "set_alpha_to_one": "true", "clip_sample": "true"}
    small = _image(bench, wires, Blocks(4).measure(some_images(1)))
    # With noise, the finished image is not changed.
    model = _restore(wires, small, "enlarge x4", model=wires.model(**schedule), noise=0.01)
    ddim = wires("KSamplerSelect", sampler_name="ddim")
    empty = bench.put(wires, torch.zeros(1, 1, 16, 16))
    native = wires.custom(model, ddim, wires.timesteps(model, 20), empty, seed=7)
    one, two = bench.get(wires, native, sampler(wires, "DDIM", model, steps=20, eta=0.0))
    assert two.abs().max() > 1.01
    assert (one - two).abs().max() < 1e-3


def test_holes_are_filled_and_the_rest_stays(wires, bench):
    image, mask = some_images(1), half_mask()
    restored = _restore(
        wires,
        _image(bench, wires, image),
        "holes",
        mask=_mask(bench, wires, mask),
    )
    (made,) = bench.get(wires, sampler(wires, "PNDM", restored, batch_size=2))
    assert (made - image)[..., :8].abs().max() < 1e-5
    assert (made[0] - made[1])[..., 8:].abs().max() > 0.1


def test_colour_is_added_to_a_grey_picture(wires, bench):
    grey = some_images(1)
    restored = _restore(wires, _image(bench, wires, grey), "colour", model="deep-field")
    latent = bench.put(wires, torch.zeros(1, 3, 16, 16))
    (made,) = bench.get(wires, sampler(wires, "DDIM", restored, steps=4, latent=latent))
    luminance = (made * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)
    assert (luminance - grey).abs().max() < 1e-5
    assert (made.amax(1) - made.amin(1)).max() > 0.01


def test_a_layout_and_a_noisy_picture_are_used_only_at_first(wires, bench):
    image = some_images(1)
    links = []
    for task, how in (
        ("layout", {"block_size": 8, "until": 1.0}),
        ("layout", {"block_size": 8, "until": 0.5}),
        ("layout", {"block_size": 8, "until": 0.0}),
        ("holes", {"noise": 0.2, "mask": _mask(bench, wires, torch.zeros(1, 16, 16))}),
    ):
        restored = _restore(wires, _image(bench, wires, image), task, **how)
        links.append(sampler(wires, "DDIM", restored, eta=0.0))
    links.append(sampler(wires, "DDIM", wires.model(), eta=0.0))
    to_end, half, never, noisy, plain = bench.get(wires, *links)

    def apart(made: Tensor, size: int = 8) -> float:
        return Blocks(size).measure(made - image).abs().max().item()

    assert apart(to_end) < 1e-5 < apart(half) < apart(plain)
    assert (never - plain).abs().max() < 0.01  # DDIM computes its noise before it clips
    assert 0.01 < apart(noisy, 1) < apart(plain, 1)


def test_a_mask_of_the_latent_comes_before_the_image(wires, bench):
    image, known, mask = some_images(1), some_images(2)[1:], half_mask()
    restored = _restore(wires, _image(bench, wires, Blocks(4).measure(image)), "enlarge x4")
    latent = bench.put(wires, known, mask=mask)
    (made,) = bench.get(wires, sampler(wires, "PNDM", restored, latent=latent))
    assert torch.equal(made[..., :8], known[..., :8])
    assert Blocks(4).measure(made - image)[..., 2:].abs().max() < 1e-5


def test_the_record_of_a_picture_says_what_was_restored(wires, bench):
    small = _image(bench, wires, torch.zeros(1, 1, 4, 4))
    restored = _restore(wires, small, "enlarge x4", noise=0.1)
    (record,) = records(bench, wires, sampler(wires, "DDIM", restored, steps=2))
    (restoring,) = record["restored"]
    assert len(restoring.pop("image")) == 64
    assert restoring == {"task": "enlarge x4", "noise": 0.1, "until": 1.0}
    assert "sampler_post_cfg_function" in record["patched"]


def test_a_picture_of_another_size_is_rejected_with_both_sizes_and_a_remedy(wires, bench):
    restored = _restore(wires, _image(bench, wires, torch.zeros(1, 1, 8, 12)), "enlarge x2")
    samples = sampler(wires, "PNDM", restored)
    words = ("24 x 16", "16 x 16", "Empty Pixel Latent", "width 24 and height 16")
    bench.fails(wires, samples, *words, node=samples[0])


@pytest.mark.parametrize(
    ("task", "size", "words"),
    [
        ("holes", 16, "needs a mask"),
        ("colour", 16, "draws grey"),
        ("enlarge x2", 3, "6 x 6"),
    ],
)
def test_an_image_that_does_not_fit_fails_on_this_node(task, size, words, wires, bench):
    restored = _restore(wires, _image(bench, wires, torch.zeros(1, 1, size, size)), task)
    bench.fails(wires, sampler(wires, "PNDM", restored), words, node=restored[0])
