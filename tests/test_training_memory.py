"""The estimated memory of a training."""

from dataclasses import replace

import pytest
from comfyui_unconditional.training.network_in_training import training_size
from live_tensors import peak_bytes
from training_toys import OPTIONS, UNET, finish, make_run, noise_pictures

WIDE = replace(UNET, block_out_channels=(16, 32), sample_size=16)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("batch_size", [1, 16])
def test_a_training_takes_about_the_memory_that_is_announced(
    tmp_path, precision, checkpointing, batch_size
):
    options = replace(
        OPTIONS,
        steps=2,
        batch_size=batch_size,
        precision=precision,
        checkpointing=checkpointing,
    )
    pictures = noise_pictures(shape=(1, 16, 16))
    taken = peak_bytes(
        lambda: finish(make_run(tmp_path, options, pictures, unet=WIDE)), training=True
    )
    _, announced = training_size(WIDE, (batch_size, 1, 16, 16), options)
    assert taken / 1.5 < announced < taken * 1.6


def test_checkpointing_saves_at_least_a_third_of_the_memory(tmp_path):
    def taken(checkpointing: bool) -> int:
        options = replace(OPTIONS, steps=1, batch_size=16, checkpointing=checkpointing)
        run = make_run(
            tmp_path / str(checkpointing), options, noise_pictures(shape=(1, 16, 16)), unet=WIDE
        )
        return peak_bytes(lambda: run._train_step(0), training=True)

    assert taken(True) < 2 / 3 * taken(False)
