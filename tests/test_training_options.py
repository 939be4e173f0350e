"""The options of a training: their ranges, and which of them make a run a different one."""

import math
from dataclasses import fields, replace

import pytest
from comfyui_unconditional.training.options import TrainingOptions

OPTIONS = TrainingOptions(steps=1000, warmup_steps=100, learning_rate=1e-3)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"steps": 0}, "steps must be at least 1, not 0"),
        ({"batch_size": -1}, "batch_size must be at least 1, not -1"),
        ({"micro_batches": 0}, "micro_batches must be at least 1"),
        ({"save_every": 0}, "save_every must be at least 1"),
        ({"learning_rate": 0}, "learning rate must be above 0, not 0"),
        ({"learning_rate": math.inf}, "learning rate must be above 0, not inf"),
        ({"learning_rate": math.nan}, "learning rate must be above 0, not nan"),
        ({"augment": 1.0}, "augment must be from 0 to below 1, not 1"),
        ({"dropout": -0.1}, r"dropout must be from 0 to below 1, not -0\.1"),
        ({"precision": "float16"}, "precision must be float32 or bfloat16, not float16"),
        ({"seed": -1}, "seed must be from 0 to 18446744073709551615, not -1"),
        ({"seed": 2**64}, "seed must be from 0 to 18446744073709551615"),
        (
            {"batch_size": 9, "micro_batches": 2},
            "batch of 9 pictures cannot be divided into 2 equal parts",
        ),
    ],
)
def test_options_out_of_range_are_rejected(wrong, words):
    with pytest.raises(ValueError, match=words):
        replace(OPTIONS, **wrong)


def test_only_options_that_change_no_weight_may_change_during_a_run():
    names = {field.name for field in fields(TrainingOptions)}
    assert names - OPTIONS.identity.keys() == {"steps", "save_every", "compile"}
    cosine = replace(OPTIONS, decay="cosine")
    assert names - cosine.identity.keys() == {"save_every", "compile"}


def test_the_learning_rate_rises_and_then_stays_whatever_the_number_of_steps():
    rates = [OPTIONS.learning_rate_at(step) for step in range(1000)]
    assert rates[:100] == pytest.approx([1e-5 * (step + 1) for step in range(100)])
    assert {*rates[100:]} == {1e-3}
    longer = replace(OPTIONS, steps=5000)
    assert [longer.learning_rate_at(step) for step in range(1000)] == rates


def test_the_learning_rate_falls_to_0_along_a_cosine():
    cosine = replace(OPTIONS, decay="cosine")
    rates = [cosine.learning_rate_at(step) for step in range(1001)]
    assert rates[:100] == [OPTIONS.learning_rate_at(step) for step in range(100)]
    assert rates[100] == pytest.approx(1e-3)
    assert rates[550] == pytest.approx(0.5e-3)
    assert rates[325] == pytest.approx(1e-3 * (1 + math.sqrt(0.5)) / 2)
    assert rates[1000] == 0
    assert rates[100:] == sorted(rates[100:], reverse=True)


def test_a_training_shorter_than_its_warm_up_works():
    short = replace(OPTIONS, steps=10, decay="cosine")
    assert short.learning_rate_at(9) == pytest.approx(1e-4)
