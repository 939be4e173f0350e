"""In the real ComfyUI: noise that is passed to samplers, mixed, walked through and shifted."""

from typing import Any

import pytest
import torch
from comfyui_unconditional.schedulers.mixing import slerp
from comfyui_unconditional.schedulers.randomness import SeededNoise
from sampler_graphs import EMPTY, advanced, half_mask, records, sampler, some_images
from torch import Tensor
from wiring import Link, Wires

SHAPE = (1, 16, 16)


def seeds_noise(*seeds: int) -> Tensor:
    return SeededNoise(seeds, SHAPE)()


def walk(wires: Wires, frames: int = 6, keys: int = 3, **more: Any) -> Link:
    return wires("UnconditionalNoiseWalk", seed=40, keys=keys, frames=frames, **more)


def mix(wires: Wires, strength: float, **more: Any) -> Link:
    values = {"seed": 7, "variation_seed": 70, "strength": strength, **more}
    return wires("UnconditionalMixNoise", **values)


def draw(wires: Wires, noise: Link | None, kind: str = "PNDM", **more: Any) -> Link:
    given = {} if noise is None else {"noise": noise}
    return sampler(wires, kind, more.pop("model", None) or wires.model(), **given, **more)


@pytest.mark.parametrize("kind", ["PNDM", "DDPM", "DDIM"])
def test_the_noise_of_the_seeds_draws_their_pictures_as_noise_or_latent(kind, wires, bench):
    held = wires("UnconditionalNoise", seed=7)
    latent = bench.put(wires, seeds_noise(7, 8))
    links = [draw(wires, None, kind, batch_size=2)]
    links += [draw(wires, noise, kind, batch_size=2) for noise in (held, latent)]
    plain, *given = bench.get(wires, *links)
    for images in given:
        assert torch.equal(images, plain)


def test_an_advanced_sampler_and_image_to_image_start_from_the_given_noise(wires, bench):
    noise, images = wires("UnconditionalNoise", seed=7), bench.put(wires, some_images())
    model, found = wires.model(), []
    for seed, given in ((7, {}), (99, {"noise": noise})):
        more = {"seed": seed, "eta": 0.0, **given}
        empty = bench.put(wires, EMPTY)
        found.append(advanced(wires, "DDIM", model, empty, add_noise="enable", **more))
        masked = bench.put(wires, some_images(), mask=half_mask())
        for latent in (images, masked):
            found.append(sampler(wires, "DDIM", model, latent=latent, denoise=0.5, **more))
    found = bench.get(wires, *found)
    for plain, given in zip(found[:3], found[3:], strict=True):
        assert torch.equal(plain, given)


def test_strength_0_draws_the_picture_strength_1_the_other_and_between_them_variations(
    wires, bench
):
    links = [draw(wires, mix(wires, s), batch_size=3, seed=1) for s in (0.0, 0.2, 1.0)]
    links += [draw(wires, bench.put(wires, seeds_noise(7, 7, 7)))]
    links += [draw(wires, None, seed=70, batch_size=3)]
    none, some, all_, first, second = bench.get(wires, *links)
    assert torch.equal(none, first)
    assert (all_ - second).abs().max() < 1e-5
    near, far = ((x - first).square().mean() for x in (some, all_))
    assert 0 < near < far / 2
    assert (some[0] - some[1]).abs().max() > 1e-3


# PNDM enlarges what another batch size rounds differently.
@pytest.mark.parametrize("kind", ["DDIM", "DDPM"])
def test_a_walk_passes_through_its_keys_and_a_frame_is_the_same_alone(kind, wires, bench):
    noise = walk(wires)
    film = draw(wires, noise, kind, seed=3)
    alone = draw(wires, noise, kind, seed=3, latent=bench.put(wires, EMPTY[:1], batch_index="[3]"))
    key = bench.put(wires, seeds_noise(42))
    last = draw(wires, key, kind, seed=3)
    film, alone, last = bench.get(wires, film, alone, last)
    assert len(film) == 6
    assert (film[3] - alone[0]).abs().max() < 1e-4
    assert (film[4] - last[0]).abs().max() < 1e-4  # the third key, with the same added noise


def test_a_film_that_does_not_fit_runs_in_parts_with_one_progress_bar(wires, bench):
    noise = walk(wires, 5)
    short = wires("TestWrappedModel", model=wires.model(), kind="two images", name="")
    film = draw(wires, noise, "DDPM", model=short, steps=6)
    wires("TestSaveLatent", samples=film, name="parts")
    run = bench.run(wires)
    assert run.progress[-1] == (18, 18)
    whole = draw(wires, noise, "DDPM", steps=6)
    parts, whole = bench.get(wires, film, whole)
    assert (parts - whole).abs().max() < 1e-4


def test_a_walk_goes_through_a_latent_of_noise_and_a_latent_of_one_image_gives_the_size(
    wires, bench
):
    keys = seeds_noise(1, 2)
    noise = walk(wires, 4, noise=bench.put(wires, keys), ease="even")
    single = bench.put(wires, EMPTY[:1])
    between = torch.stack(
        [keys[0], slerp(keys[0], keys[1], 0.5), keys[1], slerp(keys[1], keys[0], 0.5)]
    )
    expected = draw(wires, bench.put(wires, between))
    film, sized, expected = bench.get(
        wires, draw(wires, noise), draw(wires, noise, latent=single), expected
    )
    assert torch.equal(film, expected)
    assert torch.equal(sized, expected)


def test_shifted_noise_draws_the_shifted_seamless_picture(wires, bench):
    tiling = wires("UnconditionalSeamlessTiling", model=wires.model())
    shifted = wires("UnconditionalShiftNoise", seed=7, x=8, y=-4)
    there, plain = bench.get(
        wires, draw(wires, shifted, model=tiling), draw(wires, None, model=tiling)
    )
    assert (there - plain.roll((-4, 8), (2, 3))).abs().max() < 1e-4
    assert (there - plain).abs().max() > 0.1


def test_the_host_s_custom_sampler_takes_the_same_noise(wires, bench):
    model = wires.model()
    shifted = wires("UnconditionalShiftNoise", noise=walk(wires, noise=mix(wires, 0.3)), x=3)
    select = wires("UnconditionalDDPMSamplerSelect", variance_type="fixed_small")
    latent = bench.put(wires, torch.zeros(6, *SHAPE))
    custom = wires.custom(model, select, wires.timesteps(model, 10), latent, seed=0)
    wires.graph[custom[0]]["inputs"]["noise"] = shifted
    ours = draw(wires, shifted, "DDPM", model=model, variance_type="fixed_small")
    one, two = bench.get(wires, custom, ours)
    assert (one - two).abs().max() < 1e-3


def test_random_noise_of_the_host_is_taken(wires, bench):
    noise = wires("RandomNoise", noise_seed=7)
    one, two = bench.get(wires, draw(wires, noise), draw(wires, None))
    assert torch.equal(one, two)  # with one image both draw the same


def test_a_picture_says_which_noise_it_has(wires, bench):
    noise = wires("UnconditionalShiftNoise", noise=walk(wires, ease="even"), x=8, y=4)
    found = records(bench, wires, draw(wires, noise, seed=5, steps=4))
    assert [record["seed"] for record in found] == [5] * 6
    assert found[3]["noise"] == {
        "shifted": [8, 4],
        "of": {"frame": 3, "frames": 6, "mixed": [{"seed": 41}, {"seed": 42}], "strength": 0.5},
    }


@pytest.mark.parametrize(
    ("shape", "more", "words"),
    [
        ((1, 3, 16, 16), {}, "3 channels"),
        ((1, 1, 8, 16), {"latent": True}, "16 x 8 pixels"),
        ((3, 1, 16, 16), {"latent": True}, "has 3 images, but the latent has 2"),
        ((1, 1, 10, 10), {}, "divisible by 4"),
    ],
)
def test_noise_that_does_not_fit_is_rejected(shape, more, words, wires, bench):
    if more:
        more = {"latent": bench.put(wires, EMPTY)}
    drawn = draw(wires, bench.put(wires, torch.randn(shape)), **more)
    bench.fails(wires, drawn, words, node=drawn[0])


def test_a_walk_and_a_latent_of_other_lengths_are_rejected(wires, bench):
    drawn = draw(wires, walk(wires), latent=bench.put(wires, EMPTY))
    bench.fails(wires, drawn, "6 frames, but the latent has 2", node=drawn[0])


def test_a_walk_through_a_single_noise_fails_on_the_walk(wires, bench):
    node = walk(wires, noise=bench.put(wires, seeds_noise(1)))
    bench.fails(wires, draw(wires, node), "at least 2 keys", node=node[0])
