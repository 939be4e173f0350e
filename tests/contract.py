"""What saved workflows depend on: each node's id, inputs in their order, defaults and options."""

from typing import Any

_METHODS = ["F-PNDM", "S-PNDM", "PLMS", "FON"]
_VARIANCE_TYPES = [
    "model",
    "fixed_small",
    "fixed_small_log",
    "fixed_large",
    "fixed_large_log",
    "learned",
    "learned_range",
]
_SWITCH = ["model", "true", "false"]
_PART_FIRST: dict[str, Any] = {"model": "MODEL", "add_noise": ["enable", "disable"], "seed": 0}
_PART_LAST: dict[str, Any] = {
    "latent": "LATENT",
    "start_at_step": 0,
    "end_at_step": 10000,
    "return_with_leftover_noise": ["disable", "enable"],
}

NODES: dict[str, dict[str, Any]] = {
    "UnconditionalUNetLoader": {
        "title": "Load Unconditional UNet",
        "inputs": {
            "model_name": None,
            "dtype": ["auto", "float32", "float16", "bfloat16"],
        },
        "optional": {"write_json": False},
        "outputs": ["MODEL"],
    },
    "UnconditionalPNDMSampler": {
        "title": "PNDM Sampler",
        "inputs": {
            "model": "MODEL",
            "seed": 0,
            "steps": 50,
            "batch_size": 1,
            "method": _METHODS,
            "convention": ["diffusers", "paper"],
        },
        "optional": {"class_label": -1, "latent": "LATENT", "denoise": 1.0},
        "outputs": ["LATENT"],
    },
    "UnconditionalDDPMSampler": {
        "title": "DDPM Sampler",
        "inputs": {
            "model": "MODEL",
            "seed": 0,
            "steps": 1000,
            "batch_size": 1,
            "variance_type": _VARIANCE_TYPES,
        },
        "optional": {"class_label": -1, "latent": "LATENT", "denoise": 1.0},
        "outputs": ["LATENT"],
    },
    "UnconditionalDDIMSampler": {
        "title": "DDIM Sampler",
        "inputs": {"model": "MODEL", "seed": 0, "steps": 50, "batch_size": 1, "eta": 0.0},
        "optional": {"class_label": -1, "latent": "LATENT", "denoise": 1.0},
        "outputs": ["LATENT"],
    },
    "UnconditionalImageOutput": {
        "title": "Image Output",
        "inputs": {
            "samples": "LATENT",
            "filename_prefix": "unconditional",
            "format": ["png", "webp", "npy", "animated webp"],
            "scale": 1,
        },
        "optional": {"grid": False, "columns": 0, "fps": 8.0},
        "outputs": ["IMAGE"],
    },
    "UnconditionalUNetSave": {
        "title": "Save Unconditional UNet",
        "inputs": {"model": "MODEL", "filename_prefix": "unconditional"},
        "outputs": [],
    },
    "UnconditionalUNetDownload": {
        "title": "Download Unconditional UNet",
        "inputs": {"repo_id": "google/ddpm-cifar10-32", "revision": "main", "variant": ""},
        "outputs": ["MODEL"],
    },
    "UnconditionalPNDMSamplerAdvanced": {
        "title": "PNDM Sampler (Advanced)",
        "inputs": {
            **_PART_FIRST,
            "steps": 50,
            "method": _METHODS,
            "convention": ["diffusers", "paper"],
            **_PART_LAST,
        },
        "optional": {"class_label": -1},
        "outputs": ["LATENT"],
    },
    "UnconditionalDDPMSamplerAdvanced": {
        "title": "DDPM Sampler (Advanced)",
        "inputs": {**_PART_FIRST, "steps": 1000, "variance_type": _VARIANCE_TYPES, **_PART_LAST},
        "optional": {"class_label": -1},
        "outputs": ["LATENT"],
    },
    "UnconditionalDDIMSamplerAdvanced": {
        "title": "DDIM Sampler (Advanced)",
        "inputs": {**_PART_FIRST, "steps": 50, "eta": 0.0, **_PART_LAST},
        "optional": {"class_label": -1},
        "outputs": ["LATENT"],
    },
    "UnconditionalPNDMSamplerSelect": {
        "title": "PNDM Sampler Select",
        "inputs": {"method": _METHODS},
        "outputs": ["SAMPLER"],
    },
    "UnconditionalDDPMSamplerSelect": {
        "title": "DDPM Sampler Select",
        "inputs": {"variance_type": _VARIANCE_TYPES},
        "outputs": ["SAMPLER"],
    },
    "UnconditionalTimesteps": {
        "title": "Timesteps",
        "inputs": {
            "model": "MODEL",
            "spacing": ["model", "leading", "linspace", "trailing"],
            "steps": 50,
            "denoise": 1.0,
            "steps_offset": -1,
            "timesteps": "",
        },
        "outputs": ["SIGMAS"],
    },
    "UnconditionalNoise": {
        "title": "Noise per Image",
        "inputs": {"seed": 0},
        "outputs": ["NOISE"],
    },
    "UnconditionalNoiseSchedule": {
        "title": "Noise Schedule",
        "inputs": {
            "model": "MODEL",
            "num_train_timesteps": -1,
            "beta_schedule": [
                "model",
                "linear",
                "scaled_linear",
                "squaredcos_cap_v2",
                "sigmoid",
                "laplace",
            ],
            "beta_start": -1,
            "beta_end": -1,
            "prediction_type": ["model", "epsilon", "sample", "v_prediction"],
            "timestep_spacing": ["model", "leading", "linspace", "trailing"],
            "steps_offset": -1,
            "set_alpha_to_one": _SWITCH,
            "clip_sample": _SWITCH,
            "clip_sample_range": -1,
            "thresholding": _SWITCH,
            "rescale_betas_zero_snr": _SWITCH,
            "timestep_scale": -1,
        },
        "outputs": ["MODEL"],
    },
    "UnconditionalEmptyLatent": {
        "title": "Empty Pixel Latent",
        "inputs": {"model": "MODEL", "width": 0, "height": 0, "batch_size": 1},
        "outputs": ["LATENT"],
    },
    "UnconditionalConditioning": {
        "title": "Empty Conditioning",
        "inputs": {},
        "outputs": ["CONDITIONING"],
    },
    "UnconditionalImageToLatent": {
        "title": "Image to Pixel Latent",
        "inputs": {"image": "IMAGE", "model": "MODEL", "fit": ["crop", "stretch", "keep size"]},
        "outputs": ["LATENT"],
    },
    "UnconditionalTrajectory": {
        "title": "Trajectory",
        "inputs": {
            "model": "MODEL",
            "seed": 0,
            "steps": 50,
            "batch_size": 1,
            "sampler": [*_METHODS, "DDIM", "DDPM"],
            "show": ["x0", "x_t"],
            "every": 5,
        },
        "optional": {"class_label": -1},
        "outputs": ["LATENT", "LATENT", "IMAGE"],
    },
    "UnconditionalShowSchedule": {
        "title": "Show Schedule",
        "inputs": {"model": "MODEL", "steps": 50},
        "optional": {"sigmas": "SIGMAS"},
        "outputs": [],
    },
}
