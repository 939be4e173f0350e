"""Thousands of pictures in one node: in blocks, into a folder, continuing a stopped run."""

import contextlib
import logging
import time
from pathlib import Path
from typing import Any

import comfy.model_management
import folder_paths
import latent_preview
import torch
from comfy.cli_args import args
from comfy.model_patcher import ModelPatcher
from comfy_execution.graph_utils import is_link
from PIL import Image
from server import PromptServer
from torch import Tensor

from ..generate.progress import duration
from ..generate.run_folder import RunFolder, encode
from ..generate.seeds import Block, Seeds, blocks_of
from ..pictures.encoding import check_picture
from ..pictures.images import latent_to_image
from ..pictures.provenance import Record
from ..schedulers.errors import UserError
from ..schedulers.sampler import Sampler
from .driver import NoPictureError
from .latents import empty_latent
from .our_model import unconditional_model
from .output_files import check_prefix
from .sampling import quietly, run_sampler

logger = logging.getLogger(__name__)

_SHOWN = 64
"""Pictures that the node shows and returns."""

_TRIES = 3
"""Stop after this many consecutive blocks without a picture: the model is at fault."""


class ManyPictures:
    """Draws a folder of pictures.

    Args:
        model: the MODEL, with the patches of other nodes.
        sampler: the sampler to draw with.
        record: how the pictures are made, except for their seeds.
        graph: the nodes before this one; with the record it determines the pictures.
        name: of the folder, below the host's output folder.
        batch_size: images at once.
        class_label: None: the model has no classes.
        node: the node's id, where the progress is shown.
    """

    def __init__(
        self,
        model: ModelPatcher,
        sampler: Sampler,
        record: Record,
        graph: Record,
        *,
        name: str,
        batch_size: int,
        class_label: int | None,
        node: str,
    ):
        self._model, self._sampler, self._record = model, sampler, record
        self._batch_size, self._class_label, self._node = batch_size, class_label, node
        self._config = unconditional_model(model).unet_config
        height, width = self._config.size
        check_picture("png", height, width, self._config.in_channels, 1)
        self.folder = RunFolder(folder_of(name))
        device = comfy.model_management.get_torch_device()
        self._run = {
            "settings": record,
            "graph": graph,
            "drawn": {"batch": batch_size, "device": device.type},
            "versions": {"torch": torch.__version__},
        }
        self._in_vain = 0
        self.lost: list[int] = []
        """Seeds whose images contain NaN or infinite values."""

    def draw(self, seeds: Seeds) -> None:
        """Draw what is missing.

        Raises:
            UserError: the folder has pictures of another run, or a picture cannot be written.
            InterruptProcessingException: the user pressed Cancel; what was written stays.
        """
        try:
            self.folder.begin(self._run)
            missing = self.folder.missing(seeds)
            self._draw(len(seeds), missing)
        except OSError as error:
            raise UserError(
                f"The pictures cannot be written to {self.folder.path}: "
                f"{error.strerror or error}. Finished pictures are kept. Free some space, and "
                "run again to continue."
            ) from error

    def _draw(self, total: int, missing: Any) -> None:
        blocks = list(blocks_of(missing, self._batch_size))
        evaluations = self._sampler.evaluations
        callback = latent_preview.prepare_callback(self._model, len(blocks) * evaluations)
        started, done = time.monotonic(), 0
        for k, block in enumerate(blocks):

            def show(step: int, x0: Tensor, x: Tensor, _: int, before: int = k) -> None:
                callback(before * evaluations + step, x0, x, len(blocks) * evaluations)

            with quietly() if k else contextlib.nullcontext():
                self._draw_block(block, show)
            done += len(block.wanted)
            each = (time.monotonic() - started) / done
            text = f"{total - len(missing) + done:,} of {total:,} pictures"
            if done < len(missing):
                text += f", {duration(each * (len(missing) - done))} left"
            PromptServer.instance.send_progress_text(text, self._node)

    def _draw_block(self, block: Block, show: Any) -> None:
        latent = empty_latent(self._model, len(block.seeds))
        try:
            sampled = run_sampler(
                self._model,
                self._sampler,
                latent,
                block.seeds.start,
                "noise",
                self._class_label,
                callback=show,
            )
        except NoPictureError:
            self._in_vain += 1
            if self._in_vain == _TRIES:  # consecutive: the seeds are not the cause
                raise
            self.lost.extend(block.wanted)
            return
        self._in_vain = 0
        self.lost.extend(seed for seed in sampled.lost if seed in block.wanted)
        images = latent_to_image(sampled.latent["samples"])
        for seed, image in zip(sampled.seeds, images, strict=True):
            if seed in block.wanted:
                record = {} if args.disable_metadata else {"seed": seed, **self._record}
                self.folder.put(seed, encode(image, record))

    def report(self, count: int) -> list[str]:
        """Return the text that the node shows after a run."""
        lines = [f"{count - len(self.lost):,} of {count:,} pictures are in {self.folder.path.name}"]
        if self.lost:
            seeds = ", ".join(map(str, self.lost[:20])) + (", …" if len(self.lost) > 20 else "")
            lines.append(f"No picture (NaN or infinite values) for the seeds {seeds}")
            logger.warning("%s", lines[-1])
        return lines

    def first_pictures(self, seeds: Seeds) -> tuple[Tensor, list[dict[str, str]]]:
        """Return the first pictures as IMAGE, and what the editor shows of them."""
        images, shown = [], []
        for seed in seeds:
            path = self.folder.file_of(seed)
            if len(images) == _SHOWN or not path.exists():
                continue
            with Image.open(path) as picture:
                images.append(_as_image(picture.convert("RGB")))
            below = path.parent.relative_to(folder_paths.get_output_directory())
            shown.append({"filename": path.name, "subfolder": str(below), "type": "output"})
        if not images:
            raise UserError("None of these seeds gave a picture. Choose float32 in the loader.")
        return torch.stack(images), shown


def _as_image(picture: Image.Image) -> Tensor:
    pixels = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8)
    return pixels.view(picture.height, picture.width, 3).float() / 255


def folder_of(name: str) -> Path:
    """Return a folder below the host's output folder.

    Raises:
        UserError: the name is empty, not valid, or leads outside.
    """
    parts = Path(name.strip()).parts
    if not parts:
        raise UserError("Enter a name for the folder of the pictures.")
    check_prefix(name.strip())
    return Path(folder_paths.get_output_directory(), *parts)


def graph_before(prompt: dict[str, Any] | None, node: str) -> Record:
    """Return the nodes that a node's MODEL comes from, each nested in the next one's input.

    Args:
        prompt: the host's graph; None: it is unknown.
        node: the node's id.
    """
    graph = prompt or {}

    def inputs_of(name: str) -> Record:
        made = graph.get(name, {})
        return {
            "node": made.get("class_type"),
            **{
                key: inputs_of(value[0]) if is_link(value) else value
                for key, value in made.get("inputs", {}).items()
            },
        }

    return inputs_of(node).get("model", {})
