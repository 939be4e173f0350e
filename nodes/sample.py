"""From a MODEL to a LATENT: the three samplers."""

from typing import Any, get_args

from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io

from ..host.model import unconditional_model
from ..host.provenance import KEY, make_records
from ..host.sampling import StartSampler, run_sampler
from ..schedulers.config import VarianceType
from ..schedulers.ddim import sample_ddim
from ..schedulers.ddpm import sample_ddpm
from ..schedulers.pndm import Method, count_evaluations, plan_pndm, sample_pndm
from ..schedulers.pndm_grid import Convention, make_grid
from ..schedulers.randomness import image_seeds
from ..schedulers.timesteps import make_timesteps

_CATEGORY = "unconditional"


def _inputs(default_steps: int, steps_tooltip: str) -> list[Any]:
    """The inputs that all samplers begin with."""
    return [
        io.Model.Input("model", tooltip="From Load Unconditional UNet."),
        io.Int.Input(
            "seed",
            default=0,
            min=0,
            max=2**64 - 1,
            control_after_generate=True,
            tooltip="Image k of the batch has the seed seed + k and is the same alone or in any "
            "batch. Seeds repeat every 2^32, as torch's CPU generator does.",
        ),
        io.Int.Input("steps", default=default_steps, min=1, max=10000, tooltip=steps_tooltip),
        io.Int.Input("batch_size", default=1, min=1, max=4096, tooltip="How many images, at once."),
    ]


def _class_label() -> Any:
    """The last input of all samplers; optional, so that older workflows go on working."""
    return io.Int.Input(
        "class_label",
        default=-1,
        min=-1,
        max=2**31 - 1,
        optional=True,
        tooltip="Which class of image to make, counted from 0, where the model was trained with "
        "classes; all images of the batch are of it. -1 for the many models without classes.",
    )


def _output() -> list[Any]:
    return [io.Latent.Output(tooltip="The images in the model's own range, for Image Output.")]


def _sample(
    model: ModelPatcher,
    seed: int,
    batch_size: int,
    class_label: int,
    evaluations: int,
    settings: dict[str, Any],
    start: StartSampler,
) -> io.NodeOutput:
    """Run a sampler and return a LATENT that knows how each of its images was made."""
    source = unconditional_model(model).source
    seeds = image_seeds(seed, batch_size)
    label = None if class_label == -1 else class_label
    samples = run_sampler(model, seeds, evaluations, start, label)
    settings = {
        **settings,
        **({} if label is None else {"class_label": label}),
        "evaluations": evaluations,
        "model": source.name,
        "sha256": source.sha256,
        "dtype": str(unconditional_model(model).get_dtype()).removeprefix("torch."),
    }
    return io.NodeOutput({"samples": samples, KEY: make_records(samples, seeds, settings)})


class UnconditionalPNDMSampler(io.ComfyNode):
    """PNDM Sampler."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UnconditionalPNDMSampler",
            display_name="PNDM Sampler",
            category=_CATEGORY,
            description="Samples with a pseudo numerical method (Liu et al., ICLR 2022): some 50 "
            "steps for what DDPM needs 1000 for. Deterministic for a seed.",
            inputs=[
                *_inputs(
                    50,
                    "Steps through the schedule; 50 is plenty, 10 to 20 often do. F-PNDM runs up "
                    "to 9 evaluations more than steps, for its warm-up. Best: a number that "
                    "divides the model's training steps (1000).",
                ),
                io.Combo.Input(
                    "method",
                    options=list(get_args(Method)),
                    tooltip="F-PNDM: Runge-Kutta warm-up, then fourth order; the best from 20 "
                    "steps on. S-PNDM: second order, robust with few steps. PLMS: fourth order "
                    "without Runge-Kutta. Wins over skip_prk_steps in the model's file.",
                ),
                io.Combo.Input(
                    "convention",
                    options=list(get_args(Convention)),
                    tooltip="Which timesteps are visited: those of diffusers' PNDMPipeline, or "
                    "those of the paper's authors (who ignore timestep_spacing, steps_offset and "
                    "set_alpha_to_one). The same seed gives different images.",
                ),
                _class_label(),
            ],
            outputs=_output(),
        )

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        seed: int,
        steps: int,
        batch_size: int,
        method: Any,
        convention: Any,
        class_label: int = -1,
    ) -> io.NodeOutput:
        config = unconditional_model(model).scheduler_config
        grid = make_grid(config, steps, convention)
        return _sample(
            model,
            seed,
            batch_size,
            class_label,
            count_evaluations(plan_pndm(grid, method)),
            {"sampler": "PNDM", "method": method, "convention": convention, "steps": steps},
            lambda call, x, noise: sample_pndm(
                call, x, grid=grid, method=method, prediction_type=config.prediction_type
            ),
        )


class UnconditionalDDPMSampler(io.ComfyNode):
    """DDPM Sampler."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UnconditionalDDPMSampler",
            display_name="DDPM Sampler",
            category=_CATEGORY,
            description="Samples by ancestral sampling (Ho et al., 2020): the original method, "
            "with fresh noise in each step.",
            inputs=[
                *_inputs(
                    1000,
                    "Steps through the schedule, one evaluation each. All of the model's training "
                    "steps (1000) are best; below some 250 images lose detail.",
                ),
                io.Combo.Input(
                    "variance_type",
                    options=["model", *get_args(VarianceType)],
                    tooltip="How much noise each step adds. model: what the model's "
                    "scheduler_config.json says; anything else wins over it. The learned types "
                    "need a model that predicts its variance.",
                ),
                _class_label(),
            ],
            outputs=_output(),
        )

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        seed: int,
        steps: int,
        batch_size: int,
        variance_type: Any,
        class_label: int = -1,
    ) -> io.NodeOutput:
        config = unconditional_model(model).scheduler_config
        timesteps = make_timesteps(config, steps)
        variance_type = config.variance_type if variance_type == "model" else variance_type
        return _sample(
            model,
            seed,
            batch_size,
            class_label,
            len(timesteps),
            {"sampler": "DDPM", "variance_type": variance_type, "steps": steps},
            lambda call, x, noise: sample_ddpm(
                call,
                x,
                config=config,
                timesteps=timesteps,
                noise=noise,
                variance_type=variance_type,
            ),
        )


class UnconditionalDDIMSampler(io.ComfyNode):
    """DDIM Sampler."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UnconditionalDDIMSampler",
            display_name="DDIM Sampler",
            category=_CATEGORY,
            description="Samples with DDIM (Song et al., 2021): few steps, deterministic for a "
            "seed at eta 0.",
            inputs=[
                *_inputs(
                    50,
                    "Steps through the schedule, one evaluation each; 50 to 100 are usual.",
                ),
                io.Float.Input(
                    "eta",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Fresh noise in each step: 0 is none (the seed alone decides), 1 is "
                    "as much as DDPM.",
                ),
                _class_label(),
            ],
            outputs=_output(),
        )

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        seed: int,
        steps: int,
        batch_size: int,
        eta: float,
        class_label: int = -1,
    ) -> io.NodeOutput:
        config = unconditional_model(model).scheduler_config
        timesteps = make_timesteps(config, steps)
        return _sample(
            model,
            seed,
            batch_size,
            class_label,
            len(timesteps),
            {"sampler": "DDIM", "eta": eta, "steps": steps},
            lambda call, x, noise: sample_ddim(
                call, x, config=config, timesteps=timesteps, noise=noise, eta=eta
            ),
        )
