"""From a model folder to a MODEL."""

import logging
from functools import partial

import torch
from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io

from ..checkpoints.files import ModelFiles
from ..checkpoints.reading import read_checkpoint
from ..host.folders import LoadedFiles, check_name, model_files, model_names
from ..host.model import ModelSource, default_dtype, forced_dtype, make_model
from ..host.model_report import model_report
from ..host.run_report import REPORTS
from ..networks.errors import CheckpointError, shown
from ..schedulers.errors import check_choice

logger = logging.getLogger(__name__)

_loaded = LoadedFiles()

_DTYPES = {
    "auto": None,
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}


class UnconditionalUNetLoader(io.ComfyNode):
    """Load Unconditional UNet."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UnconditionalUNetLoader",
            display_name="Load Unconditional UNet",
            category="unconditional",
            description="Loads an unconditional pixel-space diffusion model with its noise "
            "schedule: diffusers' UNet2DModel (for example google/ddpm-cifar10-32), OpenAI's, "
            "lucidrains', consistency models, NCSN++.",
            search_aliases=[
                "checkpoint",
                "ddpm",
                "diffusers",
                "load model",
                "pixel diffusion",
                "unconditional",
            ],
            inputs=[
                io.Combo.Input(
                    "model_name",
                    options=model_names(),
                    tooltip="A bundled model (deep-field, digits-16), or a folder or file in "
                    "ComfyUI/models/diffusers. A folder's variants, for example fp16, have their "
                    "own entries. Press R after adding a model.",
                ),
                io.Combo.Input(
                    "dtype",
                    options=list(_DTYPES),
                    tooltip="The precision of the weights. auto keeps the file's own, unless "
                    "ComfyUI was started with another (--fp16-unet) or the processor does not "
                    "compute in it. Half precision uses less memory and gives slightly different "
                    "images.",
                    advanced=True,
                ),
                io.Boolean.Input(
                    "write_json",
                    default=False,
                    optional=True,
                    tooltip="Writes what the node assumed to a JSON file next to the model, where "
                    "you can change it: model.json for model.pt, or a folder's missing "
                    "scheduler_config.json. Never overwrites a file.",
                    advanced=True,
                ),
            ],
            outputs=[io.Model.Output(tooltip="The model, for the samplers of this pack.")],
            **REPORTS,
        )

    @classmethod
    def validate_inputs(cls, model_name: str) -> bool | str:
        try:
            if model_name is not None:  # None: the value comes from another node
                check_name(model_name)
        except CheckpointError as error:
            return str(error)
        return True

    @classmethod
    def fingerprint_inputs(
        cls, model_name: str | None, dtype: str | None, write_json: bool | None = False
    ) -> str | int:
        if model_name is None:  # the value comes from another node and is not known yet
            return _loaded.changes()
        return model_files(model_name).fingerprint

    @classmethod
    def execute(cls, model_name: str, dtype: str, write_json: bool = False) -> io.NodeOutput:
        check_choice("dtype", dtype, _DTYPES)
        files = model_files(model_name)
        _loaded.add(files)
        model = load_model(model_name, files, _DTYPES[dtype])
        return io.NodeOutput(model, ui=model_report(model, write_json=write_json))


def load_model(name: str, files: ModelFiles, dtype: torch.dtype | None = None) -> ModelPatcher:
    """Return the model of these files as a MODEL named ``name``.

    Without a ``dtype``, the host's command-line option is used, otherwise the file's own; on a CPU
    that does not compute in that, float32.

    Raises:
        CheckpointError, ScheduleError: it cannot be loaded.
    """
    dtype = dtype or forced_dtype()
    checkpoint = read_checkpoint(files, dtype)
    if dtype is None and (dtype := default_dtype(checkpoint.dtype)) != checkpoint.dtype:
        checkpoint = read_checkpoint(files, dtype)
    scheduler_config = checkpoint.read_process()
    if checkpoint.scheduler is None:
        logger.warning(
            "%s has no scheduler_config.json. Using the defaults: %s",
            shown(name),
            scheduler_config.to_dict(),
        )
    reread = partial(read_checkpoint, files, checkpoint.dtype)
    source = ModelSource(name, checkpoint.digest, checkpoint.origin)
    model = make_model(checkpoint, scheduler_config, source, reread)
    checkpoint.digest.check_unchanged()  # the weights have been copied by now
    checkpoint.digest.start()
    return model
