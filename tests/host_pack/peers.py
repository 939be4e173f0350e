"""Test nodes that sample as other libraries do."""

from typing import Any

from comfy_api.latest import io

from .node import node


@node(
    io.Sampler.Output(),
    inputs=(
        io.Int.Input("steps"),
        io.Boolean.Input("skip_prk_steps"),
        io.Int.Input("steps_offset", default=0),
        io.String.Input("prediction_type", default="epsilon"),
    ),
)
def diffusers_sampler(
    steps: int, skip_prk_steps: bool, steps_offset: int, prediction_type: str
) -> io.NodeOutput:
    """SAMPLER: diffusers' own PNDMScheduler, over the host's model call."""
    import comfy.samplers
    import torch
    from diffusers import PNDMScheduler

    def sample(model: Any, _x: Any, _sigmas: Any, extra_args: Any, **_: Any) -> Any:
        scheduler: Any = PNDMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            skip_prk_steps=skip_prk_steps,
            steps_offset=steps_offset,
            prediction_type=prediction_type,
        )
        scheduler.set_timesteps(steps)
        sigmas = model.inner_model.inner_model.model_sampling.sigmas
        x = model.noise
        for t in scheduler.timesteps:
            sigma = sigmas[t]
            host_x = x * (1 + sigma**2).sqrt()
            denoised = model(host_x, sigma * torch.ones(len(x)), **extra_args)
            output = (host_x - denoised) / sigma
            if prediction_type == "v_prediction":
                a = 1 / (1 + sigma**2)
                output = (a.sqrt() * x - denoised) / (1 - a).sqrt()
            x = scheduler.step(output, t, x).prev_sample
        return x

    return io.NodeOutput(comfy.samplers.KSAMPLER(sample))
