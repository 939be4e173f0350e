"""Every scheduler class of diffusers: used as DDPM's process, used with a warning, or rejected."""

import itertools
import json
import random
from pathlib import Path
from typing import Any

import diffusers
import oracle
import ours
import pytest
import torch
from comfyui_unconditional.schedulers.config import SchedulerConfig
from comfyui_unconditional.schedulers.errors import ScheduleError
from comfyui_unconditional.schedulers.noise_schedule import NoiseSchedule
from denoisers import SHAPE, Denoiser

_OTHERS = {
    "tokens": "Amused BlockRefinement DiscreteDDIM EntropyBound VQDiffusion",
    "consistency model": "CMStochasticIterative",
    "CogVideoX": "CogVideoXDDIM CogVideoXDPM",
    "EDM": "CosineDPMSolverMultistep EDMDPMSolverMultistep EDMEuler",
    "Wuerstchen": "DDPMWuerstchen",
    "flow matching": "FlowMapEulerDiscrete FlowMatchEulerDiscrete FlowMatchHeunDiscrete "
    "FlowMatchLCM HeliosDMD Helios LTXEulerAncestralRF MiniMaxH3 Piflow RFD4Proteina",
    "times are 1 to 0": "IPNDM",
    "Karras VE": "KarrasVe",
    "TrigFlow": "SCM",
    "variance-exploding": "ScoreSdeVe",
    "score SDE": "ScoreSdeVp",
}
OTHER_PROCESSES = {f"{name}Scheduler": w for w, names in _OTHERS.items() for name in names.split()}
DISTILLED = ("LCMScheduler", "TCDScheduler")
CLASSES = sorted({name for name in dir(diffusers) if name.endswith("Scheduler")})
SAME_PROCESS = [name for name in CLASSES if name not in OTHER_PROCESSES]
MADE_WITH: dict[str, dict[str, Any]] = {
    "AmusedScheduler": {"mask_token_id": 0},
    "VQDiffusionScheduler": {"num_vec_classes": 8},
    "RFD4ProteinaScheduler": {
        "schedule_mode": "log",
        "noise_mode": "1/t",
        "tsr_k": 1.0,
        "tsr_sigma": 1.0,
    },
}


def make(name: str, **options: Any) -> Any:
    if name == "ScoreSdeVpScheduler":
        from diffusers.schedulers.deprecated.scheduling_sde_vp import ScoreSdeVpScheduler

        return ScoreSdeVpScheduler(**options)
    return getattr(diffusers, name)(**MADE_WITH.get(name, {}), **options)


def written(scheduler: Any, folder: Path) -> dict[str, Any]:
    scheduler.save_pretrained(folder)
    return json.loads((folder / "scheduler_config.json").read_text())


def same_schedule(config: SchedulerConfig, scheduler: Any) -> bool:
    """Compare the tables; some classes keep the last step of a rescaled schedule above zero."""
    expected = scheduler.alphas_cumprod
    ours = NoiseSchedule.from_config(config).alphas_cumprod
    end = -1 if config.rescale_betas_zero_snr else None
    return len(ours) == len(expected) and torch.equal(ours[:end], expected[:end])


def variations(name: str) -> list[dict[str, Any]]:
    """Options that a class's constructor takes, in random combinations."""
    choices: dict[str, tuple[Any, ...]] = {
        "num_train_timesteps": (1000, 100, 250),
        "beta_start": (0.0001, 0.001),
        "beta_end": (0.02, 0.01),
        "beta_schedule": ("linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid", "laplace"),
        "prediction_type": ("epsilon", "sample", "v_prediction"),
        "trained_betas": (None, [0.001 * (i + 1) for i in range(100)]),
        "use_karras_sigmas": (False, True),
        "timestep_spacing": ("leading", "linspace", "trailing"),
        "rescale_betas_zero_snr": (False, True),
        "clip_sample": (False, True),
        "final_sigmas_type": ("zero", "sigma_min"),
    }
    taken = make(name).config.keys()
    rng = random.Random(name)
    found = []
    for _ in range(12):
        options = {
            option: rng.choice(values)
            for option, values in choices.items()
            if option in taken and rng.random() < 0.5
        }
        if options.get("trained_betas") is not None:
            options["num_train_timesteps"] = 100
        found.append(options)
    return found


@pytest.mark.parametrize("name", SAME_PROCESS)
def test_a_class_of_the_same_process_is_drawn_by_its_own_schedule(name, tmp_path):
    drawn = 0
    for options in [{}, *variations(name)]:
        try:
            scheduler = make(name, **options)
        except (NotImplementedError, ValueError, TypeError):
            continue  # the class lacks this beta schedule, or wants its betas as an array
        config = SchedulerConfig.from_dict(written(scheduler, tmp_path))
        assert same_schedule(config, scheduler), options
        assert config.prediction_type == scheduler.config.get("prediction_type", "epsilon")
        assert bool(config.warnings) == (name in DISTILLED), config.warnings
        drawn += 1
    assert drawn >= 3


@pytest.mark.parametrize("name", SAME_PROCESS)
def test_a_file_of_any_class_of_the_same_process_draws_what_diffusers_ddpm_draws_from_it(
    name, tmp_path, figure
):
    for options in ({}, *variations(name)[:3]):
        options.pop("rescale_betas_zero_snr", None)  # NaN from epsilon, in diffusers too
        try:
            config = SchedulerConfig.from_dict(written(make(name, **options), tmp_path))
        except (NotImplementedError, ValueError, TypeError):
            continue
        denoise = Denoiser(config)
        scheduler = diffusers.DDPMScheduler.from_pretrained(tmp_path)
        scheduler.set_timesteps(10)
        expected, generators = oracle.initial_noise([5], SHAPE)
        for t in scheduler.timesteps:
            output = denoise(expected, t)
            expected = scheduler.step(output, t, expected, generator=generators[0]).prev_sample
        result = ours.run_ddpm(config, 10, denoise, [5], SHAPE)
        figure("DDPM, by the file of any class", (result - expected).abs().max().item(), 1e-5)


@pytest.mark.parametrize("name", SAME_PROCESS)
def test_a_missing_field_takes_the_default_of_the_class_that_wrote_the_file(name, tmp_path):
    scheduler = make(name)
    fields = written(scheduler, tmp_path)
    for dropped in itertools.combinations(("beta_start", "beta_end", "beta_schedule"), 2):
        for null in (False, True):
            kept = {n: v for n, v in fields.items() if n not in dropped}
            kept |= dict.fromkeys(dropped) if null else {}
            assert same_schedule(SchedulerConfig.from_dict(kept), scheduler), kept


@pytest.mark.parametrize("name", OTHER_PROCESSES)
def test_a_class_of_another_process_is_rejected_with_the_name_of_the_process(name, tmp_path):
    try:
        fields = written(make(name), tmp_path)
    except AttributeError:
        fields = {"_class_name": name}  # a class that other versions of diffusers have
    with pytest.raises(ScheduleError, match=OTHER_PROCESSES[name]) as caught:
        SchedulerConfig.from_dict(fields)
    assert f"'{name}'" in str(caught.value)
    assert '"_class_name": "DDPMScheduler"' in str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        n
        for n in OTHER_PROCESSES
        # Nothing in these files distinguishes them from a DDPM schedule with its defaults.
        if n not in ("IPNDMScheduler", "BlockRefinementScheduler")
        and n not in ("DiscreteDDIMScheduler", "EntropyBoundScheduler")
        and n not in ("LTXEulerAncestralRFScheduler", "RFD4ProteinaScheduler")
    ],
)
def test_without_a_class_name_the_fields_reveal_another_process(name, tmp_path):
    fields = written(make(name), tmp_path)
    del fields["_class_name"]
    with pytest.raises(ScheduleError, match="a process other than DDPM's"):
        SchedulerConfig.from_dict(fields)


@pytest.mark.parametrize("name", SAME_PROCESS)
def test_without_a_class_name_a_file_of_the_same_process_loads(name, tmp_path):
    scheduler = make(name)
    fields = written(scheduler, tmp_path)
    del fields["_class_name"]
    config = SchedulerConfig.from_dict({"beta_start": 0.0001, "beta_end": 0.02, **fields})
    assert same_schedule(config, scheduler)
    assert bool(config.warnings) == (name in DISTILLED), config.warnings


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"_class_name": "UniPCMultistepScheduler", "use_flow_sigmas": True}, "flow matching"),
        ({"_class_name": "DPMSolverMultistepScheduler", "use_flow_sigmas": True}, "flow matching"),
        ({"_class_name": "DDPMScheduler", "prediction_type": "flow_prediction"}, "flow matching"),
        ({"_class_name": "EulerDiscreteScheduler", "timestep_type": "continuous"}, "continuous"),
        ({"prediction_type": "trigflow"}, "TrigFlow"),
        ({"beta_min": 0.1, "beta_max": 20}, "score SDE"),
    ],
    ids=str,
)
def test_a_setting_that_changes_the_process_is_rejected_whatever_the_class(fields, words):
    with pytest.raises(ScheduleError, match=words):
        SchedulerConfig.from_dict(fields)
    harmless = {"use_flow_sigmas": False, "timestep_type": "discrete", "sigma_min": None}
    SchedulerConfig.from_dict({"_class_name": "EulerDiscreteScheduler", **harmless})


@pytest.mark.parametrize("name", ["BrandNewScheduler", "", 7, ["DDPMScheduler"], "x" * 10_000])
def test_an_unknown_class_is_named_with_the_known_ones(name):
    with pytest.raises(ScheduleError, match="unknown") as caught:
        SchedulerConfig.from_dict({"_class_name": name, "num_train_timesteps": 1000})
    message = str(caught.value)
    assert repr(name)[:50] in message
    assert {"DDPMScheduler", "UniPCMultistepScheduler", "LCMScheduler"} <= set(
        message.replace(",", " ").replace(".", " ").split()
    )
    assert len(message) < 1500


def test_a_class_of_flax_is_the_class_without_flax():
    assert SchedulerConfig.from_dict({"_class_name": "FlaxDDPMScheduler", "beta_end": 0.01})
    with pytest.raises(ScheduleError, match="Karras VE"):
        SchedulerConfig.from_dict({"_class_name": "FlaxKarrasVeScheduler"})


def test_ipndm_with_trained_betas_is_drawn_by_them_with_a_warning():
    fields = {
        "_class_name": "IPNDMScheduler",
        "num_train_timesteps": 3,
        "trained_betas": [0.1, 0.2, 0.3],
    }
    config = SchedulerConfig.from_dict(fields)
    assert config.trained_betas == (0.1, 0.2, 0.3)
    assert "IPNDM" in config.warnings[0]


def test_a_field_of_another_process_in_a_file_of_ddpm_is_a_warning():
    fields = {"_class_name": "DDPMScheduler", "beta_end": 0.02, "shift": 3.0}
    (warning,) = SchedulerConfig.from_dict(fields).warnings
    assert "'shift' of flow matching" in warning


def test_null_means_the_default_for_every_option():
    options = SchedulerConfig().to_dict() | {"trained_betas": None, "set_alpha_to_one": None}
    for class_name in ({}, {"_class_name": "DDPMScheduler"}, {"_class_name": "PNDMScheduler"}):
        for name in options:
            config = SchedulerConfig.from_dict({**class_name, name: None})
            assert config == SchedulerConfig()
        assert SchedulerConfig.from_dict({**class_name, **dict.fromkeys(options)}) == (
            SchedulerConfig()
        )


def test_null_that_means_false_in_diffusers_gives_a_warning():
    config = SchedulerConfig.from_dict({"clip_sample": None, "beta_end": 0.02})
    assert "'clip_sample' is null" in config.warnings[0]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"predict_epsilon": False}, {"prediction_type": "sample"}),
        ({"predict_epsilon": True}, {"prediction_type": "epsilon"}),
        ({"predict_epsilon": None}, {"prediction_type": "epsilon"}),
        ({"predict_epsilon": False, "prediction_type": "sample"}, {"prediction_type": "sample"}),
        (
            {"predict_epsilon": True, "prediction_type": "v_prediction"},
            {"prediction_type": "v_prediction"},
        ),
        ({"timesteps": 4000}, {"num_train_timesteps": 4000}),
        ({"timesteps": 4000, "num_train_timesteps": 100}, {"num_train_timesteps": 100}),
        ({"timesteps": 4000, "num_train_timesteps": None}, {"num_train_timesteps": 4000}),
        ({"clip_predicted_image": False}, {"clip_sample": False}),
        ({"timestep_values": None, "tensor_format": "pt"}, {}),
    ],
    ids=str,
)
def test_the_names_of_2022_are_read(given, expected):
    config = SchedulerConfig.from_dict({"_class_name": "DDPMScheduler", "beta_end": 0.02, **given})
    assert config == SchedulerConfig(**expected)
    assert not config.warnings


def test_contradictory_prediction_types_are_rejected():
    with pytest.raises(ScheduleError, match="contradict"):
        SchedulerConfig.from_dict({"predict_epsilon": False, "prediction_type": "epsilon"})
    with pytest.raises(ScheduleError, match="'predict_epsilon' must be"):
        SchedulerConfig.from_dict({"predict_epsilon": "no"})


def test_a_field_that_no_class_has_is_a_warning_that_names_it():
    fields = {"_class_name": "DDPMScheduler", "beta_end": 0.01, "a_new_field": 3, "\ud800": 1}
    config = SchedulerConfig.from_dict(fields)
    assert config.beta_end == 0.01
    assert "'a_new_field'" in config.warnings[0]
    assert config.warnings[0].encode()
    many = {f"field_{i}" * 100: i for i in range(1000)}
    assert len("".join(SchedulerConfig.from_dict(many).warnings)) < 1000


def test_warnings_are_not_part_of_the_options():
    warned = SchedulerConfig.from_dict({"a_new_field": 3})
    assert warned.warnings
    assert warned == SchedulerConfig()
    assert hash(warned) == hash(SchedulerConfig())
    assert warned.to_dict() == SchedulerConfig().to_dict()
    assert warned.changed(beta_end=0.01).warnings == warned.warnings
