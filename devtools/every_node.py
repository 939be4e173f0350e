"""A graph with every node of the pack, and a distinct value for every widget."""

from typing import Any

Node = tuple[str, dict[str, Any]]
"""A type and its inputs: a value, or [name of another node, its output]."""


def _node(kind: str, /, **inputs: Any) -> Node:
    """Return a node; a text that ends in a colon is the first output of the node of that name."""
    return kind, {
        name: [value[:-1], 0] if isinstance(value, str) and value.endswith(":") else value
        for name, value in inputs.items()
    }


def _sampler(kind: str, seed: int, steps: int, batch: int, label: int, **more: Any) -> Node:
    inputs = {"model": "classes:", "seed": seed, "steps": steps, "batch_size": batch}
    end = {"class_label": label, "latent": "picture:", "denoise": more.pop("denoise")}
    return _node(f"Unconditional{kind}Sampler", **inputs, **more, **end)


def _part(kind: str, seed: int, steps: int, start: int, latent: str, **more: Any) -> Node:
    inputs = {"add_noise": "disable", "latent": latent, "class_label": 2, "model": "classes:"}
    inputs |= {"seed": seed, "steps": steps, **more, "start_at_step": start}
    inputs |= {"end_at_step": start + 2, "return_with_leftover_noise": "enable"}
    return _node(f"Unconditional{kind}SamplerAdvanced", **inputs)


def _custom(sampler: str) -> Node:
    inputs = {"noise": "noise:", "guider": "guider:", "sampler": sampler}
    return _node("SamplerCustomAdvanced", **inputs, sigmas="timesteps:", latent_image="empty:")


def _output(samples: str | list[Any], name: str, file_format: str, scale: int) -> Node:
    values = {"filename_prefix": f"saved/{name}", "format": file_format, "scale": scale}
    more = {"grid": True, "columns": scale, "fps": 12.5}
    return _node("UnconditionalImageOutput", samples=samples, **values, **more)


EVERY_NODE: dict[str, Node] = {
    # A model with classes, for the samplers.
    "classes": _node(
        "UnconditionalUNetDownload",
        repo_id="somebody/classes",
        revision="0123456789abcdef0123456789abcdef01234567",
        variant="fp16",
    ),
    "grey": _node("EmptyImage", width=12, height=10, batch_size=2, color=8947848),
    "picture": _node("UnconditionalImageToLatent", image="grey:", model="classes:", fit="stretch"),
    "pndm": _sampler("PNDM", 11, 6, 2, 1, method="S-PNDM", convention="paper", denoise=0.6),
    "ddpm": _sampler("DDPM", 12, 4, 3, 2, variance_type="fixed_large", denoise=0.75),
    "ddim": _sampler("DDIM", 13, 5, 4, 3, eta=0.25, denoise=0.5),
    "consistency model": _node(
        "UnconditionalUNetDownload",
        repo_id="somebody/consistency",
        revision="0123456789abcdef0123456789abcdef01234567",
        variant="fp16",
    ),
    "consistency": _node(
        "UnconditionalConsistencySampler",
        model="consistency model:",
        **{"seed": 14, "steps": 3, "batch_size": 2, "timesteps": "30, 22, 0"},
        **{"class_label": 3, "latent": "picture:", "denoise": 0.6},
    ),
    # One run in three parts, each with another sampler.
    "first part": _part("DDIM", 21, 7, 1, "picture:", eta=0.5),
    "second part": _part("PNDM", 22, 8, 3, "first part:", method="PLMS", convention="paper"),
    "third part": _part("DDPM", 23, 9, 5, "second part:", variance_type="fixed_small"),
    "trajectory": _node(
        "UnconditionalTrajectory",
        model="classes:",
        **{"seed": 31, "steps": 10, "batch_size": 2, "sampler": "PLMS"},
        **{"show": "x_t", "every": 3, "class_label": 1},
    ),
    "saved model": _node(
        "UnconditionalUNetSave", model="classes:", filename_prefix="saved/classes"
    ),
    # The bundled model in ComfyUI's own sampler.
    "digits": _node(
        "UnconditionalUNetLoader", model_name="digits-16", dtype="float32", write_json=True
    ),
    "schedule": _node(
        "UnconditionalNoiseSchedule",
        model="digits:",
        **{"num_train_timesteps": 1000, "beta_schedule": "scaled_linear"},
        **{"beta_start": 0.0002, "beta_end": 0.021, "prediction_type": "epsilon"},
        **{"timestep_spacing": "trailing", "steps_offset": 1, "set_alpha_to_one": "false"},
        **{"clip_sample": "true", "clip_sample_range": 1.5, "thresholding": "false"},
        **{"rescale_betas_zero_snr": "false", "timestep_scale": 1.05},
    ),
    "timesteps": _node(
        "UnconditionalTimesteps",
        model="schedule:",
        **{"spacing": "linspace", "steps": 6, "denoise": 0.9, "steps_offset": 2},
        timesteps="990, 700, 400, 100, 0",
    ),
    "shown schedule": _node(
        "UnconditionalShowSchedule", model="schedule:", steps=20, sigmas="timesteps:"
    ),
    "empty": _node(
        "UnconditionalEmptyLatent", model="schedule:", width=20, height=12, batch_size=2
    ),
    "nothing": _node("UnconditionalConditioning"),
    "guider": _node("BasicGuider", model="schedule:", conditioning="nothing:"),
    "noise": _node("UnconditionalNoise", seed=41),
    "pndm select": _node("UnconditionalPNDMSamplerSelect", method="FON"),
    "ddpm select": _node("UnconditionalDDPMSamplerSelect", variance_type="fixed_small_log"),
    "pndm custom": _custom("pndm select:"),
    "ddpm custom": _custom("ddpm select:"),
    "pndm pictures": _output("pndm:", "pndm", "webp", 2),
    "ddpm pictures": _output("ddpm:", "ddpm", "npy", 3),
    "ddim pictures": _output("ddim:", "ddim", "webp", 4),
    "consistency's pictures": _output("consistency:", "consistency", "webp", 3),
    "parts' pictures": _output("third part:", "parts", "npy", 5),
    "pndm custom's pictures": _output("pndm custom:", "pndm_custom", "webp", 6),
    "ddpm custom's pictures": _output("ddpm custom:", "ddpm_custom", "npy", 7),
    "trajectory's pictures": _output(["trajectory", 1], "trajectory", "animated webp", 8),
}
