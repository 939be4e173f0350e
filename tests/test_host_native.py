"""Our MODEL in ComfyUI's own nodes: its samplers, its schedulers, its VAE nodes, its images."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toys
from graphs import digits, fails, files
from PIL import Image

from devtools.client import Client, Graph
from devtools.host import Host

STEPS = 6


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


def ksampler(
    model_name: str = "digits-16", batch_size: int = 2, file_format: str = "npy", **inputs: Any
) -> Graph:
    """KSampler with the nodes of ours that it needs; inputs are KSampler's."""
    defaults = {
        "model": ["1", 0],
        "seed": 3,
        "steps": STEPS,
        "cfg": 1.0,
        "sampler_name": "euler",
        "scheduler": "normal",
        "positive": ["5", 0],
        "negative": ["5", 0],
        "latent_image": ["4", 0],
        "denoise": 1.0,
    }
    return {
        "1": node("UnconditionalUNetLoader", model_name=model_name, dtype="auto"),
        "4": empty(batch_size=batch_size),
        "5": node("UnconditionalConditioning"),
        "2": node("KSampler", **{**defaults, **inputs}),
        "3": node(
            "UnconditionalImageOutput",
            samples=["2", 0],
            filename_prefix="native",
            format=file_format,
            scale=1,
        ),
    }


def empty(**inputs: Any) -> dict[str, Any]:
    defaults = {"model": ["1", 0], "width": 0, "height": 0, "batch_size": 1}
    return node("UnconditionalEmptyLatent", **{**defaults, **inputs})


def array(host: Host, client: Client, prompt: Graph) -> np.ndarray:
    """The array that Image Output saves, (B, H, W, C) in 0..1; the file is removed."""
    files(host, client.run(prompt))
    (path,) = host.output.glob("native_*.npy")
    images = np.load(path)
    path.unlink()
    return images


def options(client: Client, name: str) -> list[str]:
    kind, *_ = client.get("/object_info/KSampler")["KSampler"]["input"]["required"][name]
    return kind


def write(models: Path, name: str, channels: int = 3, **fields: Any) -> str:
    given = {**toys.TINY, "in_channels": channels, "out_channels": channels, **fields}
    toys.write_checkpoint(models / name, given, scheduler={"beta_end": 0.002})
    return name


# Samplers


def test_ksampler_advanced_in_two_parts_draws_what_one_draws(host, client):
    whole = array(host, client, ksampler(steps=12))
    prompt = ksampler(steps=12)
    shared = {
        name: value
        for name, value in prompt["2"]["inputs"].items()
        if name not in ("seed", "denoise", "latent_image")
    }
    first, second = (
        node(
            "KSamplerAdvanced",
            **shared,
            add_noise=noise,
            noise_seed=3,
            latent_image=latent,
            start_at_step=start,
            end_at_step=end,
            return_with_leftover_noise=leftover,
        )
        for noise, latent, start, end, leftover in (
            ("enable", ["4", 0], 0, 5, "enable"),
            ("disable", ["6", 0], 5, 12, "disable"),
        )
    )
    prompt |= {"6": first, "2": second}
    assert np.abs(array(host, client, prompt) - whole).max() < 1e-4


@pytest.mark.parametrize("advanced", [False, True], ids=["SamplerCustom", "SamplerCustomAdvanced"])
def test_the_custom_samplers_draw_what_ksampler_draws(advanced, host, client):
    prompt = ksampler()
    expected = array(host, client, prompt)
    prompt["6"] = node("KSamplerSelect", sampler_name="euler")
    prompt["7"] = node(
        "BasicScheduler", model=["1", 0], scheduler="normal", steps=STEPS, denoise=1.0
    )
    parts = {"sampler": ["6", 0], "sigmas": ["7", 0], "latent_image": ["4", 0]}
    if advanced:
        prompt["8"] = node("BasicGuider", model=["1", 0], conditioning=["5", 0])
        prompt["9"] = node("RandomNoise", noise_seed=3)
        prompt["2"] = node("SamplerCustomAdvanced", noise=["9", 0], guider=["8", 0], **parts)
    else:
        both = {"positive": ["5", 0], "negative": ["5", 0]}
        prompt["2"] = node(
            "SamplerCustom", model=["1", 0], add_noise=True, noise_seed=3, cfg=1.0, **both, **parts
        )
    assert np.abs(array(host, client, prompt) - expected).max() < 1e-5


@pytest.mark.parametrize("kind", ["sampler_name", "scheduler"])
def test_every_sampler_and_scheduler_of_the_host_gives_finite_images(kind, host, client):
    names = options(client, kind)
    assert len(names) > 5
    failed: dict[str, str] = {}
    for name in names:
        chosen: dict[str, Any] = {kind: name}
        run = client.run(ksampler(**chosen))
        if run.error:
            failed[name] = str(run.error["exception_message"])
        else:
            (path,) = host.output.glob("native_*.npy")
            images = np.load(path)
            path.unlink()
            if images.shape != (2, 16, 16, 1) or not np.isfinite(images).all():
                failed[name] = "not finite"
            elif images.std() < 0.01:
                failed[name] = "empty"
    assert not failed, "\n".join(f"{name}: {reason}" for name, reason in failed.items())


def test_any_cfg_gives_the_same_image(host, client):
    expected = array(host, client, ksampler())
    assert np.abs(array(host, client, ksampler(cfg=7.0)) - expected).max() < 1e-4


# Latents


def test_an_empty_latent_has_the_models_size_by_default(host, client, models):
    name = write(models, "native-wide", sample_size=[16, 32])
    prompt = ksampler(name, batch_size=3)
    assert array(host, client, prompt).shape == (3, 16, 32, 3)
    prompt["4"] = empty(width=8)
    assert array(host, client, prompt).shape == (1, 16, 8, 3)
    prompt["4"] = empty(width=8, height=24)
    assert array(host, client, prompt).shape == (1, 24, 8, 3)


def test_a_model_without_a_size_needs_one_in_empty_latent(host, client, models):
    prompt = ksampler(write(models, "native-sizeless", sample_size=None))
    prompt["4"] = empty(width=8, height=16)
    assert array(host, client, prompt).shape == (1, 16, 8, 3)
    for size in ({}, {"width": 8}, {"height": 8}):
        prompt["4"] = empty(**size)
        fails(client, prompt, "4", "has no 'sample_size'")


def test_a_size_that_the_network_cannot_halve_is_an_error_on_the_latent(client):
    prompt = ksampler()
    prompt["4"] = empty(width=18)
    fails(client, prompt, "4", "divisible by 4 for this model (3 levels), not 16 x 18")


def test_a_linked_size_is_checked_too(client):
    prompt = ksampler()
    prompt["6"] = node("PrimitiveInt", value=-8)
    prompt["4"] = empty(width=["6", 0])
    fails(client, prompt, "4", "must be 0 or more")


def test_the_hosts_own_empty_latent_works_for_models_of_its_size(host, client):
    expected = array(host, client, ksampler())
    prompt = ksampler()
    prompt["4"] = node("EmptyLatentImage", width=16, height=16, batch_size=2)
    assert np.abs(array(host, client, prompt) - expected).max() < 1e-6


# Images


def test_the_hosts_vae_decode_and_save_image_work_for_three_channels(host, client, models):
    prompt = ksampler(write(models, "native-rgb"), file_format="png")
    prompt["6"] = node("VAELoader", vae_name="pixel_space")
    prompt["7"] = node("VAEDecode", samples=["2", 0], vae=["6", 0])
    prompt["8"] = node("SaveImage", images=["7", 0], filename_prefix="core-native")
    run = client.run(prompt)
    theirs, ours = (
        [np.asarray(Image.open(path)).astype(int) for path in files(host, run, key)]
        for key in ("8", "3")
    )
    assert len(theirs) == 2
    assert np.abs(np.array(theirs) - np.array(ours)).max() <= 1  # the host's saver truncates


def test_image_output_gives_the_hosts_save_image_an_image_that_it_can_save(host, client):
    prompt = ksampler(file_format="png")
    prompt["6"] = node("SaveImage", images=["3", 0], filename_prefix="core-native")
    run = client.run(prompt)
    ours, theirs = files(host, run)[0], files(host, run, "6")[0]
    assert Image.open(ours).mode == "L"
    assert Image.open(theirs).mode == "RGB"


def test_an_image_is_given_back_to_eight_bits(host, client, models):
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 256, (16, 16, 1), np.uint8)
    colour = rng.integers(0, 256, (8, 8, 3), np.uint8)
    alpha = np.concatenate([colour, rng.integers(0, 256, (8, 8, 1), np.uint8)], axis=-1)
    opaque = np.concatenate([colour, np.full((8, 8, 1), 255, np.uint8)], axis=-1)
    rgba = write(models, "native-rgba", 4)
    cases = [
        ("digits-16", grey.repeat(3, -1), grey),
        (write(models, "native-rgb"), colour, colour),
        (rgba, colour, opaque),
        (rgba, alpha, alpha),
    ]
    for fit in ("crop", "stretch", "keep size"):
        for name, picture, expected in cases:
            prompt = from_picture(host, name, picture, fit)
            found = Image.open(files(host, client.run(prompt))[0])
            assert np.array_equal(np.asarray(found).reshape(expected.shape), expected)


def from_picture(host: Host, model_name: str, picture: np.ndarray, fit: str) -> Graph:
    """A picture file to a latent, and that to a picture."""
    folder = host.folder / "input"
    folder.mkdir(exist_ok=True)
    name = f"native-{picture.tobytes().hex()[:16]}-{picture.shape[-1]}.png"
    Image.fromarray(picture).save(folder / name)
    prompt = ksampler(model_name, file_format="png")
    prompt["6"] = node("LoadImage", image=name)
    prompt["4"] = node("UnconditionalImageToLatent", image=["6", 0], model=["1", 0], fit=fit)
    if picture.shape[-1] == 4:  # LoadImage gives the alpha as a mask, 1 where there is nothing
        prompt["7"] = node("JoinImageWithAlpha", image=["6", 0], alpha=["6", 1])
        prompt["4"]["inputs"]["image"] = ["7", 0]
    prompt["3"]["inputs"]["samples"] = ["4", 0]
    for unused in ("2", "5"):
        del prompt[unused]
    return prompt


@pytest.mark.parametrize(
    ("fit", "size", "left", "right"),
    [("crop", (16, 16), 255, 255), ("stretch", (16, 16), 0, 0), ("keep size", (80, 40), 0, 0)],
)
def test_a_picture_of_another_size_is_cropped_stretched_or_kept(
    fit, size, left, right, host, client
):
    picture = np.zeros((40, 80, 3), np.uint8)
    picture[:, 20:60] = 255  # the centre is white
    run = client.run(from_picture(host, "digits-16", picture, fit))
    found = Image.open(files(host, run)[0])
    assert found.size == size
    pixels = np.asarray(found)
    middle = pixels[size[1] // 2]
    assert (middle[0], middle[-1], middle[size[0] // 2]) == (left, right, 255)


def test_a_size_that_is_kept_must_fit_the_network(host, client):
    prompt = from_picture(host, "digits-16", np.zeros((18, 16, 3), np.uint8), "keep size")
    fails(client, prompt, "4", "not 18 x 16")


def test_an_image_for_a_model_without_a_size_must_be_kept(host, client, models):
    name = write(models, "native-sizeless", sample_size=None)
    picture = np.zeros((8, 16, 3), np.uint8)
    files(host, client.run(from_picture(host, name, picture, "keep size")))
    fails(client, from_picture(host, name, picture, "crop"), "4", "has no 'sample_size'")


@pytest.mark.parametrize("channels", [2, 5])
def test_an_unknown_number_of_channels_is_rejected(channels, host, client, models):
    name = write(models, f"native-{channels}", channels)
    picture = np.zeros((8, 8, 3), np.uint8)
    fails(client, from_picture(host, name, picture, "crop"), "4", f"has {channels} channels")


def test_image_to_image_keeps_what_denoise_leaves(host, client):
    start = (digits([7])[0] * 255).round().astype(np.uint8).repeat(3, -1)
    prompt = from_picture(host, "digits-16", start, "crop")
    whole = ksampler(steps=20, denoise=0.3)
    prompt |= {"2": whole["2"], "5": whole["5"], "3": whole["3"]}
    redrawn = array(host, client, prompt)[0, ..., 0]
    before = start[..., 0] / 255
    likeness = np.corrcoef(redrawn.ravel(), before.ravel())[0, 1]
    assert likeness > 0.8
    assert np.abs(redrawn - before).max() > 0.05
