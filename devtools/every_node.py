"""A graph with every node of the pack, and a distinct value for every widget."""

from typing import Any

Node = tuple[str, dict[str, Any]]
"""A type and its inputs: a value, or [name of another node, its output]."""

_PART = {"add_noise": "disable", "latent": ["picture", 0], "class_label": 2}

EVERY_NODE: dict[str, Node] = {
    # A model with classes, for the samplers.
    "classes": (
        "UnconditionalUNetDownload",
        {
            "repo_id": "somebody/classes",
            "revision": "0123456789abcdef0123456789abcdef01234567",
            "variant": "fp16",
        },
    ),
    "grey": ("EmptyImage", {"width": 12, "height": 10, "batch_size": 2, "color": 8947848}),
    "picture": (
        "UnconditionalImageToLatent",
        {"image": ["grey", 0], "model": ["classes", 0], "fit": "stretch"},
    ),
    "pndm": (
        "UnconditionalPNDMSampler",
        {
            "model": ["classes", 0],
            "seed": 11,
            "steps": 6,
            "batch_size": 2,
            "method": "S-PNDM",
            "convention": "paper",
            "class_label": 1,
            "latent": ["picture", 0],
            "denoise": 0.6,
        },
    ),
    "ddpm": (
        "UnconditionalDDPMSampler",
        {
            "model": ["classes", 0],
            "seed": 12,
            "steps": 4,
            "batch_size": 3,
            "variance_type": "fixed_large",
            "class_label": 2,
            "latent": ["picture", 0],
            "denoise": 0.75,
        },
    ),
    "ddim": (
        "UnconditionalDDIMSampler",
        {
            "model": ["classes", 0],
            "seed": 13,
            "steps": 5,
            "batch_size": 4,
            "eta": 0.25,
            "class_label": 3,
            "latent": ["picture", 0],
            "denoise": 0.5,
        },
    ),
    # A run in three parts, each with a different sampler.
    "first part": (
        "UnconditionalDDIMSamplerAdvanced",
        {
            **_PART,
            "model": ["classes", 0],
            "seed": 21,
            "steps": 7,
            "eta": 0.5,
            "start_at_step": 1,
            "end_at_step": 3,
            "return_with_leftover_noise": "enable",
        },
    ),
    "second part": (
        "UnconditionalPNDMSamplerAdvanced",
        {
            **_PART,
            "model": ["classes", 0],
            "seed": 22,
            "steps": 8,
            "method": "PLMS",
            "convention": "paper",
            "latent": ["first part", 0],
            "start_at_step": 3,
            "end_at_step": 5,
            "return_with_leftover_noise": "enable",
        },
    ),
    "third part": (
        "UnconditionalDDPMSamplerAdvanced",
        {
            **_PART,
            "model": ["classes", 0],
            "seed": 23,
            "steps": 9,
            "variance_type": "fixed_small",
            "latent": ["second part", 0],
            "start_at_step": 5,
            "end_at_step": 7,
            "return_with_leftover_noise": "enable",
        },
    ),
    "trajectory": (
        "UnconditionalTrajectory",
        {
            "model": ["classes", 0],
            "seed": 31,
            "steps": 10,
            "batch_size": 2,
            "sampler": "PLMS",
            "show": "x_t",
            "every": 3,
            "class_label": 1,
        },
    ),
    "saved model": (
        "UnconditionalUNetSave",
        {"model": ["classes", 0], "filename_prefix": "saved/classes"},
    ),
    # The bundled model in ComfyUI's own sampler.
    "digits": (
        "UnconditionalUNetLoader",
        {"model_name": "digits-16", "dtype": "float32", "write_json": True},
    ),
    "schedule": (
        "UnconditionalNoiseSchedule",
        {
            "model": ["digits", 0],
            "num_train_timesteps": 1000,
            "beta_schedule": "scaled_linear",
            "beta_start": 0.0002,
            "beta_end": 0.021,
            "prediction_type": "epsilon",
            "timestep_spacing": "trailing",
            "steps_offset": 1,
            "set_alpha_to_one": "false",
            "clip_sample": "true",
            "clip_sample_range": 1.5,
            "thresholding": "false",
            "rescale_betas_zero_snr": "false",
            "timestep_scale": 1.05,
        },
    ),
    "timesteps": (
        "UnconditionalTimesteps",
        {
            "model": ["schedule", 0],
            "spacing": "linspace",
            "steps": 6,
            "denoise": 0.9,
            "steps_offset": 2,
            "timesteps": "990, 700, 400, 100, 0",
        },
    ),
    "shown schedule": (
        "UnconditionalShowSchedule",
        {"model": ["schedule", 0], "steps": 20, "sigmas": ["timesteps", 0]},
    ),
    "empty": (
        "UnconditionalEmptyLatent",
        {"model": ["schedule", 0], "width": 20, "height": 12, "batch_size": 2},
    ),
    "nothing": ("UnconditionalConditioning", {}),
    "guider": ("BasicGuider", {"model": ["schedule", 0], "conditioning": ["nothing", 0]}),
    "noise": ("UnconditionalNoise", {"seed": 41}),
    "pndm select": ("UnconditionalPNDMSamplerSelect", {"method": "FON"}),
    "ddpm select": ("UnconditionalDDPMSamplerSelect", {"variance_type": "fixed_small_log"}),
}


def _custom(sampler: str) -> Node:
    return (
        "SamplerCustomAdvanced",
        {
            "noise": ["noise", 0],
            "guider": ["guider", 0],
            "sampler": [sampler, 0],
            "sigmas": ["timesteps", 0],
            "latent_image": ["empty", 0],
        },
    )


def _output(samples: list[Any], name: str, file_format: str, scale: int) -> Node:
    values = {"filename_prefix": f"saved/{name}", "format": file_format, "scale": scale}
    more = {"grid": True, "columns": scale, "fps": 12.5}
    return "UnconditionalImageOutput", {"samples": samples, **values, **more}


EVERY_NODE |= {
    "pndm custom": _custom("pndm select"),
    "ddpm custom": _custom("ddpm select"),
    "pndm pictures": _output(["pndm", 0], "pndm", "webp", 2),
    "ddpm pictures": _output(["ddpm", 0], "ddpm", "npy", 3),
    "ddim pictures": _output(["ddim", 0], "ddim", "webp", 4),
    "parts' pictures": _output(["third part", 0], "parts", "npy", 5),
    "pndm custom's pictures": _output(["pndm custom", 0], "pndm_custom", "webp", 6),
    "ddpm custom's pictures": _output(["ddpm custom", 0], "ddpm_custom", "npy", 7),
    "trajectory's pictures": _output(["trajectory", 1], "trajectory", "animated webp", 8),
}
