"""The graphs with our nodes: one for the picture of each help page, and one with every node."""

import itertools
from typing import Any

from .client import Graph
from .wires import Link, Wires


def help_graph(node: str, first: int = 1) -> Graph | None:
    """Return the graph that shows a node, or None; its ids begin with ``first``."""
    w = Wires(first)
    kind = node.removeprefix("Unconditional")

    def show(samples: Link) -> None:
        """End with a contact sheet."""
        inputs = {"filename_prefix": "digits", "scale": 8, "grid": True, "columns": 0, "fps": 8.0}
        w("UnconditionalImageOutput", samples=samples, **inputs)

    def sample(kind: str, steps: int, batch_size: int = 16, **more: Any) -> Link:
        inputs = {"model": more.pop("model", None) or w.model(), "steps": steps}
        return w(f"Unconditional{kind}Sampler", **inputs, batch_size=batch_size, **more)

    def empty(model: Link) -> Link:
        return w("UnconditionalEmptyLatent", model=model, batch_size=16)

    def custom(sampler: str) -> Link:
        model = w.model()
        timesteps = w.timesteps(model, 20, spacing="trailing")
        return w.custom(model, w(sampler), timesteps, empty(model), seed=0)

    match kind:
        case "UNetLoader" | "PNDMSampler" | "ImageOutput":
            show(sample("PNDM", 50))
        case "DDPMSampler":
            show(sample("DDPM", 250))
        case "DDIMSampler":
            show(sample("DDIM", 50))
        case "ConsistencySampler":
            model = w("UnconditionalUNetDownload", repo_id="openai/diffusers-cd_imagenet64_l2")
            show(sample("Consistency", 1, model=model, timesteps="22, 0", class_label=145))
        case "UNetSave":
            w(node, model=w.model(), filename_prefix="my-digits")
        case "UNetDownload":
            sample("PNDM", 50, model=w(node))
        case "PNDMSamplerAdvanced" | "DDPMSamplerAdvanced" | "DDIMSamplerAdvanced":
            steps, model = 250 if "DDPM" in kind else 50, w.model()
            inputs, middle = {"model": model, "steps": steps, "class_label": -1}, steps * 2 // 5
            begun = {"latent": empty(model), "end_at_step": middle}
            first_part = w(node, **inputs, **begun, return_with_leftover_noise="enable")
            rest = {"latent": first_part, "start_at_step": middle, "add_noise": "disable"}
            show(w(node, **inputs, **rest))
        case "PNDMSamplerSelect" | "Noise":
            show(custom("UnconditionalPNDMSamplerSelect"))
        case "DDPMSamplerSelect":
            show(custom(node))
        case "Timesteps":
            model = w.model()
            sigmas = w.timesteps(model, 20, spacing="trailing")
            w("UnconditionalShowSchedule", model=model, sigmas=sigmas)
        case "NoiseSchedule":
            w("UnconditionalShowSchedule", model=w.model(beta_schedule="squaredcos_cap_v2"))
        case "Train":
            inputs = {"filename_prefix": "digits", "scale": 1}
            images = w("UnconditionalImageOutput", samples=sample("PNDM", 50, 64), **inputs)
            inputs = {"name": "my-digits", "steps": 800, "learning_rate": 1e-3, "save_every": 200}
            w(node, images=images, **inputs)
        case "OptimiseTimesteps":
            model = w(node, model=w.model())
            show(sample("PNDM", 6, model=model, method="iPNDM_v", spacing="optimised"))
        case "GenerateMany":
            inputs = {"count": 64, "sampler": "iPNDM_v", "steps": 10, "spacing": "optimised"}
            w(node, model=w.model(), **inputs, name="my-digits")
        case "CompareSets":
            inputs = {"filename_prefix": "digits", "scale": 1}
            images = w("UnconditionalImageOutput", samples=sample("PNDM", 20, 300), **inputs)
            compared = w(node, images=images, reference="sklearn-digits", features="digits")
            w("PreviewImage", images=[compared[0], 1])
        case "Restore":
            model, inputs = w.model(), {"filename_prefix": "digit", "scale": 8}
            digits = sample("PNDM", 50, batch_size=4, model=model, seed=4)
            image = w("UnconditionalImageOutput", samples=digits, **inputs)
            size = {"width": 4, "height": 4, "upscale_method": "area", "crop": "disabled"}
            small = w("ImageScale", image=image, **size)
            restoring = w(node, model=model, image=small, task="enlarge x4")
            show(sample("DDIM", 50, model=restoring, eta=1.0))
        case "RePaintSampler":
            model, inputs = w.model(), {"filename_prefix": "digits", "scale": 1}
            digits = sample("PNDM", 50, batch_size=4, model=model, seed=4)
            image = w("UnconditionalImageOutput", samples=digits, **inputs)
            latent = w("UnconditionalImageToLatent", image=image, model=model, fit="crop")
            # The sampler draws the right half.
            whole = w("SolidMask", value=1.0, width=16, height=16)
            left = w("SolidMask", value=0.0, width=8, height=16)
            inputs = {"destination": whole, "source": left, "x": 0, "y": 0}
            mask = w("MaskComposite", **inputs, operation="multiply")
            masked = w("SetLatentNoiseMask", samples=latent, mask=mask)
            again = w("RepeatLatentBatch", samples=masked, amount=4)
            show(w(node, model=model, latent=again))
        case "Steer":
            inputs = {"classifier": "digits-16", "class_number": 7}
            steering = w(node, model=w.model(), **inputs)
            show(sample("DDIM", 20, model=steering, eta=1.0, spacing="power"))
        case "MixNoise":
            noise = w(node, seed=4, variation_seed=100, strength=0.25)
            show(sample("DDIM", 20, noise=noise))
        case "NoiseWalk":
            show(sample("DDIM", 20, 1, noise=w(node, seed=4, keys=2, frames=16, ease="even")))
        case "ShiftNoise":
            model = w.model("deep-field")
            tiling = w("UnconditionalSeamlessTiling", model=model)
            latent = w("UnconditionalEmptyLatent", model=tiling, width=304, height=208)
            inputs = {"model": tiling, "latent": latent, "noise": w(node, x=80, y=40)}
            sky = sample("PNDM", 15, 1, **inputs, method="iPNDM_v", spacing="power")
            w("UnconditionalImageOutput", samples=sky, filename_prefix="sky")
        case "Invert":
            model = w.model()
            drawn = {"samples": sample("PNDM", 50, 1, model=model, seed=4)}
            image = w("UnconditionalImageOutput", **drawn, filename_prefix="digit", scale=8)
            latent = w("UnconditionalImageToLatent", image=image, model=model, fit="crop")
            noise = w(node, model=model, latent=latent, spacing="power")
            mixed = w("UnconditionalMixNoise", noise=noise)
            show(sample("DDIM", 20, model=model, noise=mixed, spacing="power"))
        case "ShowSchedule":
            w(node, model=w.model())
        case "SeamlessTiling" | "Windows" | "OffsetImage":
            model = w.model("deep-field")
            if kind != "OffsetImage":
                model = w(node, model=model)
            latent = w("UnconditionalEmptyLatent", model=model, width=304, height=208)
            inputs = {"model": model, "latent": latent, "method": "iPNDM_v", "spacing": "power"}
            sky = sample("PNDM", 15, 1, **inputs)
            image = w("UnconditionalImageOutput", samples=sky, filename_prefix="sky")
            if kind == "OffsetImage":  # the seam of a picture that was made without tiling
                w("PreviewImage", images=w(node, image=image))
        case "EmptyLatent" | "Conditioning":
            model, nothing = w.model(), w("UnconditionalConditioning")
            inputs = {"model": model, "seed": 0, "steps": 20, "cfg": 1.0, "sampler_name": "euler"}
            inputs |= {"scheduler": "simple", "positive": nothing, "negative": nothing}
            show(w("KSampler", **inputs, latent_image=empty(model), denoise=1.0))
        case "ImageToLatent":
            model = w.model()
            one = sample("PNDM", 50, batch_size=1, model=model)
            inputs = {"filename_prefix": "digit", "scale": 8}
            image = w("UnconditionalImageOutput", samples=one, **inputs)
            latent = w(node, image=image, model=model, fit="crop")
            again = w("RepeatLatentBatch", samples=latent, amount=16)
            show(sample("PNDM", 50, model=model, latent=again, denoise=0.6))
        case "Trajectory":
            show([w(node, model=w.model(), batch_size=4, every=8)[0], 1])
        case _:
            return None
    return w.graph


def every_node() -> Graph:
    """Return a graph with every node of ours, and a distinct value for every widget."""
    w = Wires()
    # A model with classes, for the samplers.
    revision = "0123456789abcdef0123456789abcdef01234567"
    source = {"repo_id": "somebody/classes", "revision": revision, "variant": "fp16"}
    classes = w("UnconditionalUNetDownload", **source)
    grey = w("EmptyImage", width=12, height=10, batch_size=2, color=8947848)
    picture = w("UnconditionalImageToLatent", image=grey, model=classes, fit="stretch")
    formats, scales = itertools.cycle(["webp", "npy", "animated webp"]), itertools.count(2)

    def output(samples: Link, name: str) -> None:
        scale = next(scales)
        values = {"filename_prefix": f"saved/{name}", "format": next(formats), "scale": scale}
        more = {"grid": True, "columns": scale, "fps": 12.5}
        w("UnconditionalImageOutput", samples=samples, **values, **more)

    def sample(kind: str, seed: int, **more: Any) -> None:
        values = {"model": classes, "latent": picture, "seed": seed, **more}
        output(w(f"Unconditional{kind}Sampler", **values), kind.lower())

    pndm = {"method": "iPNDM_v", "convention": "paper", "spacing": "power"}
    sample("PNDM", 11, steps=6, batch_size=2, class_label=1, denoise=0.6, **pndm)
    ddpm = {"variance_type": "fixed_large"}
    sample("DDPM", 12, steps=4, batch_size=3, class_label=2, denoise=0.75, **ddpm)
    sample("DDIM", 13, steps=5, batch_size=4, class_label=3, denoise=0.5, eta=0.25, spacing="power")
    consistency = w("UnconditionalUNetDownload", **source | {"repo_id": "somebody/consistency"})
    listed = {"timesteps": "30, 22, 0", "class_label": 3, "denoise": 0.6}
    sample("Consistency", 14, steps=3, batch_size=2, model=consistency, **listed)
    # One run in three parts, each with another sampler.
    part = picture
    for number, (kind, more) in enumerate(
        {
            "DDIM": {"eta": 0.5, "spacing": "linspace"},
            "PNDM": {"method": "PLMS", "convention": "paper", "spacing": "trailing"},
            "DDPM": {"variance_type": "fixed_small"},
        }.items()
    ):
        start = 1 + 2 * number
        values = {"model": classes, "latent": part, "add_noise": "disable", "class_label": 2}
        values |= {"seed": 21 + number, "steps": 7 + number, "start_at_step": start, **more}
        values |= {"end_at_step": start + 2, "return_with_leftover_noise": "enable"}
        part = w(f"Unconditional{kind}SamplerAdvanced", **values)
    output(part, "parts")
    # The bundled model in ComfyUI's own sampler.
    digits = w("UnconditionalUNetLoader", model_name="digits-16", dtype="float32", write_json=True)
    options = {"num_train_timesteps": 1000, "beta_schedule": "scaled_linear"}
    options |= {"beta_start": 0.0002, "beta_end": 0.021, "prediction_type": "epsilon"}
    options |= {"timestep_spacing": "trailing", "steps_offset": 1, "set_alpha_to_one": "false"}
    options |= {"clip_sample": "true", "clip_sample_range": 1.5, "thresholding": "false"}
    options |= {"rescale_betas_zero_snr": "false", "timestep_scale": 1.05}
    options |= {"preset": "dark or bright pictures"}
    schedule = w.scheduled(digits, **options)
    typed = {"timesteps": "990, 700, 400, 100, 0", "steps_offset": 2, "denoise": 0.9}
    timesteps = w.timesteps(schedule, 6, spacing="power", **typed)
    inputs = {"model": schedule, "steps": 20, "sigmas": timesteps}
    w("UnconditionalShowSchedule", **inputs, spacing="linspace")
    empty = w("UnconditionalEmptyLatent", model=schedule, width=20, height=12, batch_size=2)
    for sampler, name in (
        (w("UnconditionalPNDMSamplerSelect", method="FON"), "pndm_custom"),
        (w("UnconditionalDDPMSamplerSelect", variance_type="fixed_small_log"), "ddpm_custom"),
    ):
        output(w.custom(schedule, sampler, timesteps, empty, seed=41), name)
    values = {"seed": 31, "steps": 10, "batch_size": 2, "sampler": "iPNDM_v", "class_label": 1}
    values |= {"spacing": "power"}
    trajectory = w("UnconditionalTrajectory", model=classes, **values, show="x_t", every=3)
    output([trajectory[0], 1], "trajectory")
    inputs = {"images": 4, "teacher_evaluations": 20, "refine": True, "class_label": 2}
    found = w("UnconditionalOptimiseTimesteps", model=classes, seed=61, **inputs)
    w("UnconditionalUNetSave", model=found, filename_prefix="saved/classes")
    inputs = {"count": 3, "batch_size": 2, "sampler": "iPNDM_v", "steps": 6, "spacing": "power"}
    inputs |= {"name": "saved/many", "class_label": 1}
    w("UnconditionalGenerateMany", model=classes, seed=91, **inputs)
    tiling = w("UnconditionalSeamlessTiling", model=found, directions="y")
    windows = w("UnconditionalWindows", model=tiling, window=8, overlap=0.45, wrap="x")
    values = {"steps": 2, "batch_size": 2, "class_label": 1, "denoise": 0.4, "eta": 0.6}
    sample("DDIM", 71, model=windows, **values, spacing="trailing")
    w("PreviewImage", images=w("UnconditionalOffsetImage", image=grey, x=0.25, y=-0.75))
    layout = w("EmptyImage", width=8, height=8, batch_size=1, color=8947848)
    part = w("SolidMask", value=0.0, width=4, height=4)
    inputs = {"task": "layout", "noise": 0.05, "until": 0.6, "block_size": 4, "mask": part}
    restoring = w("UnconditionalRestore", model=classes, image=layout, **inputs)
    inputs = {"seed": 81, "steps": 4, "batch_size": 2, "class_label": 1, "denoise": 0.9}
    inputs |= {"eta": 0.85, "spacing": "power", "latent": picture}
    output(w("UnconditionalDDIMSampler", model=restoring, **inputs), "restored")
    inputs = {"classifier": "digits-16", "class_number": 7, "weight": 4.5, "through": "network"}
    inputs |= {"start": 0.1, "until": 0.9, "text": "seven", "cutouts": 3}
    steering = w("UnconditionalSteer", model=schedule, **inputs)
    size = {"width": 16, "height": 16, "batch_size": 2}
    small = w("UnconditionalEmptyLatent", model=schedule, **size)
    ancestral = w("UnconditionalDDPMSamplerSelect", variance_type="fixed_large")
    output(w.custom(steering, ancestral, timesteps, small, seed=95), "steered")
    inverting = {"method": "DDIM", "steps": 3, "gamma": 0.95, "class_label": 1}
    inverting |= {"model": classes, "latent": picture, "spacing": "linspace"}
    mixing = {"seed": 101, "variation_seed": 102, "strength": 0.35}
    mixed = w("UnconditionalMixNoise", noise=w("UnconditionalInvert", **inverting), **mixing)
    shifted = w("UnconditionalShiftNoise", seed=103, x=4, y=-2, noise=mixed)
    walking = {"seed": 104, "keys": 3, "frames": 5, "ease": "even", "noise": shifted}
    walk = w("UnconditionalNoiseWalk", **walking)
    one = w("LatentFromBatch", samples=picture, batch_index=1, length=1)
    values = {"latent": one, "noise": walk, "steps": 3, "batch_size": 7, "class_label": 2}
    values |= {"model": classes, "seed": 105, "denoise": 0.95, **pndm}
    output(w("UnconditionalPNDMSampler", **values), "walk")
    how = {"size": 8, "crop": "random", "network": "medium", "steps": 3, "batch_size": 2}
    how |= {"learning_rate": 0.0005, "small_data": "off", "flip": True, "rotate": True}
    how |= {"background": "#102030", "precision": "float32", "preview_every": 2, "save_every": 2}
    w("UnconditionalTrain", folder="saved-pictures", name="saved/trained", seed=51, **how)
    compared = {"folder": "saved-digits", "reference": "saved-digits", "features": "digits"}
    w("UnconditionalCompareSets", **compared, ranges=2, inception_file="inception.pth")
    hole = w("SetLatentNoiseMask", samples=picture, mask=part)
    inputs = {"steps": 9, "jump_length": 2, "resamplings": 4, "eta": 0.7, "class_label": 1}
    inputs |= {"model": classes, "latent": hole, "preset": "custom", "spacing": "trailing"}
    output(w("UnconditionalRePaintSampler", **inputs, seed=107), "repainted")
    return w.graph
