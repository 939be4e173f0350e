"""Which process a ``scheduler_config.json`` describes, by diffusers' class names and its fields.

Many of diffusers' scheduler classes solve the same process, DDPM's, and only their betas matter
here. A model of another process would generate noise, so it raises an error that names the process.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .errors import ScheduleError
from .options import unknown_fields

_STABLE_DIFFUSION = {"beta_start": 0.00085, "beta_end": 0.012}

# Classes with DDPM's process, each with those defaults for betas that differ from DDPM's.
_SAME_PROCESS: dict[str, dict[str, Any]] = {
    "DDPMScheduler": {},
    "DDPMParallelScheduler": {},
    "DDIMScheduler": {},
    "DDIMParallelScheduler": {},
    "DDIMInverseScheduler": {},
    "PNDMScheduler": {},
    "LMSDiscreteScheduler": {},
    "EulerDiscreteScheduler": {},
    "EulerAncestralDiscreteScheduler": {},
    "HeunDiscreteScheduler": _STABLE_DIFFUSION,
    "KDPM2DiscreteScheduler": _STABLE_DIFFUSION,
    "KDPM2AncestralDiscreteScheduler": _STABLE_DIFFUSION,
    "DPMSolverSinglestepScheduler": {},
    "DPMSolverMultistepScheduler": {},
    "DPMSolverMultistepInverseScheduler": {},
    "DPMSolverSDEScheduler": _STABLE_DIFFUSION,
    "DEISMultistepScheduler": {},
    "UniPCMultistepScheduler": {},
    "SASolverScheduler": {},
    "RePaintScheduler": {},
    "UnCLIPScheduler": {"beta_schedule": "squaredcos_cap_v2"},
}
# The same process, but the network was distilled for sampling with that class in a few steps.
_DISTILLED: dict[str, dict[str, Any]] = {
    "LCMScheduler": {**_STABLE_DIFFUSION, "beta_schedule": "scaled_linear"},
    "TCDScheduler": {**_STABLE_DIFFUSION, "beta_schedule": "scaled_linear"},
}

_CONSISTENCY = "a consistency model"
_FLOW = "flow matching"
_EDM = "EDM (Karras et al. 2022)"
_SCORE_VE = "a variance-exploding score SDE (NCSN++)"
_SCORE_VP = "a continuous-time score SDE"
_KARRAS_VE = "Karras VE"
_SIGMAS = "noise levels (sigmas), as in EDM or a consistency model"
_TRIGFLOW = "TrigFlow, a continuous-time consistency model"
_TOKENS = "diffusion of tokens, not of pixels"
_VIDEO = "CogVideoX, whose schedule is shifted for video"
_WUERSTCHEN = "Wuerstchen, a continuous-time latent model"
_IPNDM = "IPNDM, whose times are 1 to 0 and whose betas are sin(pi t / 2) squared"

_ANOTHER_PROCESS: dict[str, str] = {
    "FlowMatchEulerDiscreteScheduler": _FLOW,
    "FlowMatchHeunDiscreteScheduler": _FLOW,
    "FlowMatchLCMScheduler": _FLOW,
    "FlowMapEulerDiscreteScheduler": _FLOW,
    "LTXEulerAncestralRFScheduler": _FLOW,
    "HeliosScheduler": _FLOW,
    "HeliosDMDScheduler": _FLOW,
    "MiniMaxH3Scheduler": _FLOW,
    "PiflowScheduler": _FLOW,
    "RFD4ProteinaScheduler": _FLOW,
    "CMStochasticIterativeScheduler": _CONSISTENCY,
    "ConsistencyDecoderScheduler": _CONSISTENCY,
    "SCMScheduler": _TRIGFLOW,
    "EDMEulerScheduler": _EDM,
    "EDMDPMSolverMultistepScheduler": _EDM,
    "CosineDPMSolverMultistepScheduler": _EDM,
    "KarrasVeScheduler": _KARRAS_VE,
    "ScoreSdeVeScheduler": _SCORE_VE,
    "ScoreSdeVpScheduler": _SCORE_VP,
    "VQDiffusionScheduler": _TOKENS,
    "AmusedScheduler": _TOKENS,
    "BlockRefinementScheduler": _TOKENS,
    "DiscreteDDIMScheduler": _TOKENS,
    "EntropyBoundScheduler": _TOKENS,
    "DDPMWuerstchenScheduler": _WUERSTCHEN,
    "CogVideoXDDIMScheduler": _VIDEO,
    "CogVideoXDPMScheduler": _VIDEO,
    "IPNDMScheduler": _IPNDM,
}

# The supported ones of these processes, by their class: see ``process``.
_DRAWN = {
    _CONSISTENCY: "CMStochasticIterativeScheduler",
    _SCORE_VE: "ScoreSdeVeScheduler",
}

# Settings with which the classes of DDPM's process use another one.
_SWITCHES: dict[tuple[str, Any], str] = {
    ("use_flow_sigmas", True): _FLOW,
    ("prediction_type", "flow_prediction"): _FLOW,
    ("prediction_type", "trigflow"): _TRIGFLOW,
    ("timestep_type", "continuous"): f"continuous noise levels, as in {_EDM}",
}
# Fields that only classes of another process have; the first one present decides.
_TELLTALES: dict[str, str] = {
    "clip_denoised": _CONSISTENCY,
    "snr": _SCORE_VE,
    "s_churn": _KARRAS_VE,
    "beta_min": _SCORE_VP,
    "beta_max": _SCORE_VP,
    "shift": _FLOW,
    "base_shift": _FLOW,
    "max_shift": _FLOW,
    "invert_sigmas": _FLOW,
    "shift_terminal": _FLOW,
    "sigma_schedule": _EDM,
    "sigma_data": _SIGMAS,
    "sigma_min": _SIGMAS,
    "sigma_max": _SIGMAS,
    "alpha_cum_start": _TOKENS,
    "num_vec_classes": _TOKENS,
    "mask_token_id": _TOKENS,
    "snr_shift_scale": _VIDEO,
    "scaler": _WUERSTCHEN,
}
_DISTILLED_TELLTALE = "original_inference_steps"

# Solver options of the classes with DDPM's process. No sampler here uses them.
_ABOUT_SOLVING = {
    *("algorithm_type", "corrector_order", "disable_corrector", "eta", "euler_at_final"),
    *("final_sigmas_type", "flow_shift", "interpolation_type", "lambda_min_clipped"),
    *("lower_order_final", "noise_sampler_seed", "original_inference_steps", "pndm_order"),
    *("predict_x0", "predictor_order", "shift_terminal", "sigma_max", "sigma_min"),
    *("skip_prk_steps", "solver_order", "solver_p", "solver_type", "tau_func", "tensor_format"),
    *("time_shift_type", "timestep_scaling", "timestep_type", "use_beta_sigmas"),
    *("use_dynamic_shifting", "use_exponential_sigmas", "use_flow_sigmas", "use_karras_sigmas"),
    *("use_lu_lambdas",),
}


@dataclass(frozen=True)
class WrittenBy:
    """What the class that wrote a configuration implies for a model of DDPM's process.

    ``defaults`` has the options whose defaults differ from DDPM's; ``warnings`` are for the user.
    """

    defaults: dict[str, Any]
    warnings: tuple[str, ...] = ()


def recognise(given: Mapping[str, Any], *, options: set[str]) -> WrittenBy:
    """Determine the process by the ``_class_name`` and the fields of a ``scheduler_config.json``.

    Args:
        given: its fields, without nulls.
        options: the names of the fields that are used.

    Raises:
        ScheduleError: the model uses another process, or the class is unknown.
    """
    name = given.get("_class_name")
    # Flax's classes write the same fields.
    plain = str(name).removeprefix("Flax")
    known = _SAME_PROCESS | _DISTILLED
    process = _ANOTHER_PROCESS.get(plain)
    evidence = f"its scheduler's class is '{plain}'"
    if name is not None and process is None and plain not in known:
        raise ScheduleError(_unknown(name))
    if process is None:
        switched = next((switch for switch in _SWITCHES if given.get(switch[0]) == switch[1]), None)
        telltale = next((field for field in _TELLTALES if field in given), None)
        if switched is not None:
            setting = ": ".join(map(json.dumps, switched))
            process, evidence = _SWITCHES[switched], f"its scheduler has {setting}"
        elif name is None and telltale is not None:
            process, evidence = _TELLTALES[telltale], f"its scheduler has the field '{telltale}'"
    warnings = []
    if process == _IPNDM and "trained_betas" in given:
        process = None
        warnings.append(
            "The model's scheduler is an IPNDMScheduler, whose times run from 1 to 0. Its "
            "trained_betas are used as for DDPM. If the images are noise, it uses another process."
        )
    if process is not None:
        raise ScheduleError(_refusal(process, evidence))
    warnings += _warnings(given, plain, options)
    return WrittenBy(known.get(plain, {}), tuple(warnings))


def _warnings(given: Mapping[str, Any], name: str, options: set[str]) -> list[str]:
    found = []
    if name in _DISTILLED or _DISTILLED_TELLTALE in given:
        what = f"an {name}" if name == "LCMScheduler" else f"a {name}"
        what = what if name in _DISTILLED else f"one with '{_DISTILLED_TELLTALE}'"
        found.append(
            f"The model's scheduler is {what}: the network was distilled for sampling with LCM or "
            "TCD in a few steps. It is sampled here like an ordinary DDPM model, and the images "
            "may be blurred or wrong."
        )
    if "_class_name" in given and not options & given.keys():
        found.append(
            f"The scheduler configuration contains only its class, {name}. The defaults of that "
            "class are used. If the model was trained with other betas, the images will be wrong."
        )
    foreign = [field for field in _TELLTALES if field in given and field not in _ABOUT_SOLVING]
    found += [
        f"The scheduler configuration is for a {name}, but has the field '{field}' of "
        f"{_TELLTALES[field]}. The model is sampled according to its class, with DDPM's process."
        for field in foreign
    ]
    return [*found, *unknown_fields(given, options | _ABOUT_SOLVING | set(foreign))]


def _refusal(process: str, evidence: str) -> str:
    drawn = _DRAWN.get(process)
    named = f' If it was trained for a {drawn}, write "_class_name": "{drawn}".' if drawn else ""
    return (
        f"The model uses a process other than DDPM's: {process} ({evidence}). The samplers here "
        "would only generate noise with it. Use it with diffusers, or load a model that was "
        'trained as DDPM. If this one was, write "_class_name": "DDPMScheduler" and the betas of '
        f"its training into scheduler_config.json.{named}"
    )


def _unknown(name: Any) -> str:
    known = ", ".join((*_SAME_PROCESS, *_DISTILLED))
    return (
        f"The scheduler class {name!r:.80} in scheduler_config.json is unknown, so the process "
        f"that the model was trained with is unknown too. Known classes of DDPM's process: "
        f'{known}. If the model was trained as DDPM, write "_class_name": "DDPMScheduler" and the '
        "betas of its training there."
    )
