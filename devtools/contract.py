"""The contract with saved workflows: each node's id, inputs in order, defaults and options."""

from typing import Any

_METHODS = ["F-PNDM", "S-PNDM", "PLMS", "FON", "iPNDM_v"]
_FIXED = ["fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log"]
_VARIANCE_TYPES = ["model", *_FIXED, "learned", "learned_range"]
_DIFFUSERS_SPACINGS = ["model", "leading", "linspace", "trailing"]
_SPACINGS = [*_DIFFUSERS_SPACINGS, "power", "optimised"]
_SPACING = {"spacing": _SPACINGS}
_BETA_SCHEDULES = ["linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid", "laplace"]
_NOISE = "NOISE,LATENT"
_SWITCH = ["model", "true", "false"]
_PNDM = {"method": _METHODS, "convention": ["diffusers", "paper"]}
_DDPM = {"variance_type": _VARIANCE_TYPES}
_DDIM = {"eta": 0.0}


def _node(
    title: str, inputs: dict[str, Any], *outputs: str, optional: dict[str, Any] | None = None
) -> dict[str, Any]:
    found: dict[str, Any] = {"title": title, "inputs": inputs}
    return found | ({"optional": optional} if optional else {}) | {"outputs": list(outputs)}


def _sampler(
    title: str, steps: int, choices: dict[str, Any], more: dict[str, Any] | None = None
) -> dict[str, Any]:
    inputs = {"model": "MODEL", "seed": 0, "steps": steps, "batch_size": 1, **choices}
    optional = {"class_label": -1, "latent": "LATENT", "denoise": 1.0, **(more or {})}
    optional["noise"] = _NOISE
    return _node(f"{title} Sampler", inputs, "LATENT", optional=optional)


def _advanced(
    title: str, steps: int, choices: dict[str, Any], more: dict[str, Any] | None = None
) -> dict[str, Any]:
    inputs = {"model": "MODEL", "add_noise": ["enable", "disable"], "seed": 0, "steps": steps}
    inputs |= {**choices, "latent": "LATENT", "start_at_step": 0, "end_at_step": 10000}
    inputs |= {"return_with_leftover_noise": ["disable", "enable"]}
    optional = {"class_label": -1, **(more or {}), "noise": _NOISE}
    return _node(f"{title} Sampler (Advanced)", inputs, "LATENT", optional=optional)


NODES: dict[str, dict[str, Any]] = {
    "UnconditionalUNetLoader": _node(
        "Load Unconditional UNet",
        {"model_name": None, "dtype": ["auto", "float32", "float16", "bfloat16"]},
        "MODEL",
        optional={"write_json": False},
    ),
    "UnconditionalPNDMSampler": _sampler("PNDM", 50, _PNDM, _SPACING),
    "UnconditionalDDPMSampler": _sampler("DDPM", 1000, _DDPM),
    "UnconditionalDDIMSampler": _sampler("DDIM", 50, _DDIM, _SPACING),
    "UnconditionalImageOutput": _node(
        "Image Output",
        {
            "samples": "LATENT",
            "filename_prefix": "unconditional",
            "format": ["png", "webp", "npy", "animated webp"],
            "scale": 1,
        },
        "IMAGE",
        optional={"grid": False, "columns": 0, "fps": 8.0},
    ),
    "UnconditionalUNetSave": _node(
        "Save Unconditional UNet", {"model": "MODEL", "filename_prefix": "unconditional"}
    ),
    "UnconditionalUNetDownload": _node(
        "Download Unconditional UNet",
        {"repo_id": "google/ddpm-cifar10-32", "revision": "main", "variant": ""},
        "MODEL",
    ),
    "UnconditionalPNDMSamplerAdvanced": _advanced("PNDM", 50, _PNDM, _SPACING),
    "UnconditionalDDPMSamplerAdvanced": _advanced("DDPM", 1000, _DDPM),
    "UnconditionalDDIMSamplerAdvanced": _advanced("DDIM", 50, _DDIM, _SPACING),
    "UnconditionalPNDMSamplerSelect": _node("PNDM Sampler Select", {"method": _METHODS}, "SAMPLER"),
    "UnconditionalDDPMSamplerSelect": _node("DDPM Sampler Select", _DDPM, "SAMPLER"),
    "UnconditionalTimesteps": _node(
        "Timesteps",
        {
            "model": "MODEL",
            "spacing": _SPACINGS,
            "steps": 50,
            "denoise": 1.0,
            "steps_offset": -1,
            "timesteps": "",
        },
        "SIGMAS",
    ),
    "UnconditionalNoise": _node("Noise per Image", {"seed": 0}, "NOISE"),
    "UnconditionalNoiseSchedule": _node(
        "Noise Schedule",
        {
            "model": "MODEL",
            "num_train_timesteps": -1,
            "beta_schedule": ["model", *_BETA_SCHEDULES],
            **{"beta_start": -1, "beta_end": -1},
            "prediction_type": ["model", "epsilon", "sample", "v_prediction"],
            "timestep_spacing": _DIFFUSERS_SPACINGS,
            "steps_offset": -1,
            "set_alpha_to_one": _SWITCH,
            **{"clip_sample": _SWITCH, "clip_sample_range": -1, "thresholding": _SWITCH},
            "rescale_betas_zero_snr": _SWITCH,
            "timestep_scale": -1,
        },
        "MODEL",
        optional={"preset": ["none", "dark or bright pictures"]},
    ),
    "UnconditionalEmptyLatent": _node(
        "Empty Pixel Latent", {"model": "MODEL", "width": 0, "height": 0, "batch_size": 1}, "LATENT"
    ),
    "UnconditionalConditioning": _node("Empty Conditioning", {}, "CONDITIONING"),
    "UnconditionalImageToLatent": _node(
        "Image to Pixel Latent",
        {"image": "IMAGE", "model": "MODEL", "fit": ["crop", "stretch", "keep size"]},
        "LATENT",
    ),
    "UnconditionalTrajectory": _node(
        "Trajectory",
        {
            **{"model": "MODEL", "seed": 0, "steps": 50, "batch_size": 1},
            **{
                "sampler": [*_METHODS[:4], "DDIM", "DDPM", "iPNDM_v"],
                "show": ["x0", "x_t"],
                "every": 5,
            },
        },
        *("LATENT", "LATENT", "IMAGE"),
        optional={"class_label": -1, **_SPACING},
    ),
    "UnconditionalShowSchedule": _node(
        "Show Schedule",
        {"model": "MODEL", "steps": 50},
        optional={"sigmas": "SIGMAS", **_SPACING},
    ),
    "UnconditionalConsistencySampler": _sampler("Consistency", 1, {"timesteps": ""}),
    "UnconditionalTrain": _node(
        "Train Unconditional UNet",
        {
            **{"folder": "", "name": "my-model", "size": 0, "crop": ["centre", "random"]},
            "network": ["small", "medium", "large"],
            **{"steps": 5000, "batch_size": 16, "learning_rate": 0.0002},
            "small_data": ["auto", "on", "off"],
            **{"flip": False, "rotate": False, "background": "white"},
            "precision": ["auto", "float32", "bfloat16"],
            **{"preview_every": 250, "save_every": 500, "seed": 0},
        },
        *("MODEL", "LOSS_MAP"),
        optional={"images": "IMAGE", "model": "MODEL"},
    ),
    "UnconditionalOptimiseTimesteps": _node(
        "Optimise Timesteps",
        {"model": "MODEL", "seed": 0, "images": 32, "teacher_evaluations": 60, "refine": False},
        "MODEL",
        optional={"class_label": -1},
    ),
    "UnconditionalGenerateMany": _node(
        "Generate Many",
        {
            **{"model": "MODEL", "seed": 0, "count": 1000, "batch_size": 16},
            "sampler": [*_METHODS[:4], "DDIM", "DDPM", "iPNDM_v"],
            **{"steps": 50, "name": "many"},
        },
        *("IMAGE", "STRING"),
        optional={"class_label": -1, **_SPACING},
    ),
    "UnconditionalCompareSets": _node(
        "Compare Image Sets",
        {
            **{"folder": "", "reference": "", "features": ["inception", "digits"]},
            **{"ranges": 3, "inception_file": ""},
        },
        *("STRING", "IMAGE"),
        optional={"images": "IMAGE"},
    ),
    "UnconditionalSeamlessTiling": _node(
        "Seamless Tiling", {"model": "MODEL", "directions": ["both", "x", "y", "none"]}, "MODEL"
    ),
    "UnconditionalOffsetImage": _node(
        "Offset Image", {"image": "IMAGE", "x": 0.5, "y": 0.5}, "IMAGE"
    ),
    "UnconditionalWindows": _node(
        "Windows",
        {"model": "MODEL", "window": 0, "overlap": 0.25, "wrap": ["none", "both", "x", "y"]},
        "MODEL",
    ),
    "UnconditionalRestore": _node(
        "Restore",
        {
            **{"model": "MODEL", "image": "IMAGE"},
            "task": [*(f"enlarge x{n}" for n in (2, 4, 8)), "colour", "holes", "layout"],
            **{"noise": 0.0, "until": 1.0, "block_size": 8},
        },
        "MODEL",
        optional={"mask": "MASK"},
    ),
    "UnconditionalRePaintSampler": _node(
        "RePaint Sampler",
        {
            **{"model": "MODEL", "latent": "LATENT", "seed": 0},
            "preset": ["draft", "good", "paper", "custom"],
            **{"steps": 20, "jump_length": 5, "resamplings": 3, "eta": 1.0},
        },
        "LATENT",
        optional={"class_label": -1, **_SPACING, "noise": _NOISE},
    ),
    "UnconditionalSteer": _node(
        "Steer",
        {
            **{"model": "MODEL", "classifier": None, "class_number": 0, "weight": 5.0},
            **{"through": ["image", "network"], "start": 0.0, "until": 1.0},
        },
        "MODEL",
        optional={"clip": "CLIP", "clip_vision": "CLIP_VISION", "text": "", "cutouts": 16},
    ),
    "UnconditionalMixNoise": _node(
        "Mix Noise",
        {"seed": 0, "variation_seed": 0, "strength": 0.2},
        "NOISE",
        optional={"noise": _NOISE, "variation": _NOISE},
    ),
    "UnconditionalNoiseWalk": _node(
        "Noise Walk",
        {"seed": 0, "keys": 4, "frames": 48, "ease": ["smooth", "even"]},
        "NOISE",
        optional={"noise": _NOISE},
    ),
    "UnconditionalShiftNoise": _node(
        "Shift Noise", {"seed": 0, "x": 0, "y": 0}, "NOISE", optional={"noise": _NOISE}
    ),
    "UnconditionalInvert": _node(
        "Invert",
        {
            "model": "MODEL",
            "latent": "LATENT",
            "method": ["BDIA", "DDIM"],
            "steps": 20,
            "gamma": 1.0,
        },
        "LATENT",
        optional={"class_label": -1, **_SPACING},
    ),
}


def defaults(node: str, *kinds: str) -> dict[str, Any]:
    """Return the inputs of a node that have a default; none for ComfyUI's own nodes.

    ``kinds`` are "inputs" (the required ones, if nothing is given) and "optional".
    """
    found = NODES.get(node, {})
    declared = [item for kind in kinds or ("inputs",) for item in found.get(kind, {}).items()]
    return {
        name: default[0] if isinstance(default, list) else default
        for name, default in declared
        if default is not None and not is_type(default)
    }


def is_type(default: Any) -> bool:
    """Whether this stands for an input that takes a link, for example "MODEL"."""
    return isinstance(default, str) and default.isupper()
