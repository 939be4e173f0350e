"""In the real ComfyUI: our samplers on a LATENT: image to image, and masks."""

import numpy as np
import pytest
import torch
import toys
from comfyui_unconditional.schedulers.randomness import SeededNoise
from sampler_graphs import (
    EMPTY,
    SAMPLERS,
    expected_image_to_image,
    half_mask,
    records,
    report_of,
    sampler,
    some_images,
)
from wiring import Wires


@pytest.mark.parametrize("kind", SAMPLERS)
def test_denoise_runs_the_last_steps_of_a_longer_list_from_the_noised_image(kind, wires, bench):
    images = some_images()
    model, latent = wires.exact(wires.model()), bench.put(wires, images)
    (result,) = bench.get(wires, sampler(wires, kind, model, latent=latent, denoise=0.3))
    expected = expected_image_to_image(kind, images, [7, 8], int(10 / 0.3))
    assert (result - expected).abs().max() < 1e-5
    # It still shows the image that it started with.
    assert np.corrcoef(result.flatten(), images.flatten())[0, 1] > 0.3


def test_at_denoise_1_only_the_size_and_batch_of_the_latent_count(wires, bench):
    model = wires.model()
    plain = sampler(wires, "PNDM", model, batch_size=2)
    full, empty = bench.put(wires, some_images()), bench.put(wires, EMPTY)
    results = bench.get(
        wires,
        plain,
        sampler(wires, "PNDM", model, latent=full, batch_size=5),
        sampler(wires, "PNDM", model, latent=empty),
    )
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])
    wires = Wires()
    wide = bench.put(wires, torch.zeros(1, 1, 16, 32))
    (result,) = bench.get(wires, sampler(wires, "PNDM", wires.model(), latent=wide))
    assert result.shape == (1, 1, 16, 32)


def test_image_k_has_the_seed_of_its_batch_index(wires, bench):
    model = wires.exact(wires.model())
    picked = bench.put(wires, EMPTY, batch_index="[5, 2]")
    for kind in SAMPLERS:
        both = sampler(wires, kind, model, latent=picked)
        alone = [sampler(wires, kind, model, seed=seed) for seed in (12, 9)]
        results = bench.get(wires, both, *alone)
        assert (results[0] - torch.cat(results[1:])).abs().max() < 1e-5


def test_a_batch_index_of_the_wrong_length_is_rejected(wires, bench):
    odd = bench.put(wires, EMPTY, batch_index="[5, 2, 1]")
    node = sampler(wires, "PNDM", wires.model(), latent=odd)
    bench.fails(wires, node, "3 entries for 2 images", node=node[0])


def test_keys_of_a_latent_that_others_put_there_are_kept(wires, bench):
    latent = bench.put(wires, EMPTY, batch_index="[0, 1]", mask=torch.ones(1, 16, 16))
    result = sampler(wires, "DDIM", wires.model(), latent=latent)
    wires("TestSaveLatent", samples=result, name="keys")
    keys = bench.run(wires).outputs[str(len(wires.graph))]["text"]
    assert keys == ["batch_index", "noise_mask", "samples", "somebody_elses", "unconditional"]


def test_an_empty_latent_of_the_host_gets_the_channels_of_the_model(wires, bench):
    empty = wires("EmptyLatentImage", width=128, height=128, batch_size=2)
    model = wires.model()
    result, plain = bench.get(
        wires,
        sampler(wires, "DDIM", model, latent=empty),
        sampler(wires, "DDIM", model, batch_size=2, latent=bench.put(wires, EMPTY)),
    )
    assert result.shape[:2] == (2, 1)
    if result.shape == plain.shape:  # a host that says how far its latents are scaled down
        assert torch.equal(result, plain)
    else:
        assert result.shape[2:] in ((16, 16), (128, 128))


@pytest.mark.parametrize(
    ("samples", "denoise", "words"),
    [
        (torch.ones(1, 4, 16, 16), 0.5, "4 channels, but the model works on pixels with 1"),
        (torch.zeros(1, 1, 5, 16, 16), 1.0, "still images"),
        (torch.zeros(1, 1, 15, 16), 1.0, "divisible by 4"),
        (None, 0.5, "no latent is connected"),
        (torch.zeros(1, 1, 16, 16), float("nan"), "denoise must be from 0 to 1"),
    ],
    ids=["channels", "video", "size", "none", "nan"],
)
def test_a_latent_that_does_not_fit_is_an_error_on_the_sampler(
    samples, denoise, words, wires, bench
):
    more = {} if samples is None else {"latent": bench.put(wires, samples)}
    node = sampler(wires, "DDIM", wires.model(), denoise=denoise, **more)
    bench.fails(wires, node, words, node=node[0])


@pytest.mark.parametrize("kind", SAMPLERS)
def test_a_run_of_more_steps_than_lie_below_its_start_runs_them_all_and_says_so(kind, wires, bench):
    model = wires.model(num_train_timesteps=40)
    latent = bench.put(wires, some_images())
    node = sampler(wires, kind, model, latent=latent, steps=40, denoise=0.5)
    report = report_of(bench, wires, node)
    assert (report["steps"], report["asked"]) == (20, 40)
    assert report["timesteps"] == list(range(19, -1, -1))
    for record in records(bench, wires, node):
        assert (record["steps"], record["denoise"], record["steps_run"]) == (40, 0.5, 20)
    wires = Wires()
    few = sampler(
        wires, kind, wires.model(), latent=bench.put(wires, some_images()), steps=10, denoise=0.5
    )
    assert report_of(bench, wires, few)["asked"] is None


def test_ddpm_image_to_image_runs_at_its_own_defaults(wires, bench):
    model, latent = wires.model(), bench.put(wires, some_images())
    node, half = (
        sampler(wires, "DDPM", model, latent=latent, steps=steps, denoise=0.5)
        for steps in (1000, 500)
    )
    report = report_of(bench, wires, node)
    assert (report["evaluations"], report["timesteps"][0]) == (500, 499)
    assert torch.equal(*bench.get(wires, node, half))


def test_pndm_without_an_evaluation_is_rejected_with_trailing_as_the_remedy(bench):
    for more in ({"steps": 1}, {"steps": 2, "denoise": 0.001}):
        wires = Wires()
        latent = bench.put(wires, some_images())
        node = sampler(wires, "PNDM", wires.model(), latent=latent, **more)
        bench.fails(wires, node, "set timestep_spacing to 'trailing'", node=node[0])
    wires = Wires()
    model = wires.model(timestep_spacing="trailing")
    assert report_of(bench, wires, sampler(wires, "PNDM", model, steps=1))["evaluations"] == 4


def test_an_empty_latent_of_the_host_is_no_pixels_to_a_model_of_four_channels(bench, models):
    config = {**toys.TINY, "in_channels": 4, "out_channels": 4}
    toys.write_checkpoint(models / "rgba-empty", config, scheduler={"beta_end": 0.002})
    wires = Wires()
    model = wires.model("rgba-empty")
    empty = wires("EmptyLatentImage", width=128, height=64, batch_size=1)
    own = wires("UnconditionalEmptyLatent", model=model, width=128, height=64, batch_size=1)
    grey = bench.put(wires, torch.zeros(1, 4, 16, 8))
    links = [sampler(wires, "DDIM", model, latent=latent) for latent in (empty, own, grey)]
    one, two, small = bench.get(wires, *links)
    assert one.shape == (1, 4, 64, 128)
    assert torch.equal(one, two)
    assert small.shape == (1, 4, 16, 8)


def test_denoise_0_gives_the_latent_back(wires, bench):
    images = some_images()
    latent = bench.put(wires, images)
    (result,) = bench.get(wires, sampler(wires, "PNDM", wires.model(), latent=latent, denoise=0.0))
    assert torch.equal(result, images)


# Masks


@pytest.mark.parametrize("kind", SAMPLERS)
@pytest.mark.parametrize("denoise", [1.0, 0.5])
def test_outside_the_mask_the_result_is_the_input_and_inside_it_is_new(kind, denoise, wires, bench):
    images = some_images()
    latent = bench.put(wires, images, mask=half_mask())
    model = wires.model()
    result, free = bench.get(
        wires,
        sampler(wires, kind, model, latent=latent, denoise=denoise),
        sampler(wires, kind, model, latent=bench.put(wires, images), denoise=denoise),
    )
    assert torch.equal(result[..., :8], images[..., :8])
    assert (result[..., 8:] - images[..., 8:]).abs().max() > 0.1
    # The known image on one side changes the result on the other.
    assert (result[..., 8:] - free[..., 8:]).abs().max() > 0.05


@pytest.mark.parametrize("kind", SAMPLERS)
def test_each_evaluation_sees_the_known_image_with_its_own_noise_outside_the_mask(
    kind, wires, bench
):
    images = some_images()
    latent = bench.put(wires, images, mask=half_mask())
    name = f"asked-{kind}"
    model = wires("TestWrappedModel", model=wires.model(), kind="record", name=name)
    bench.get(wires, sampler(wires, kind, model, latent=latent))
    with np.load(bench.folder / f"{name}.npz") as asked:
        x, sigmas = torch.from_numpy(asked["x"]), asked["sigma"]
    noise = SeededNoise([7, 8], (1, 16, 16))()
    assert len(sigmas) == {"PNDM": 18, "DDPM": 10, "DDIM": 10}[kind]
    for k, sigma in enumerate(sigmas):
        known = images + sigma * noise
        scale = (1 + sigma**2) ** 0.5
        assert ((x[k] - known)[..., :8] / scale).abs().max() < 1e-5


def test_a_mask_of_another_size_and_soft_edges_work_as_in_the_hosts_samplers(bench):
    mask = torch.zeros(1, 64, 64)
    mask[..., 32:] = 1
    mask[..., 28:36] = 0.5
    wires, images = Wires(), some_images()
    latent = bench.put(wires, images, mask=mask)
    (result,) = bench.get(wires, sampler(wires, "DDIM", wires.model(), latent=latent))
    assert torch.equal(result[..., :6], images[..., :6])
    assert torch.isfinite(result).all()
