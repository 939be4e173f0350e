"""From a MODEL to a folder of pictures."""

from typing import Any

from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io

from ..generate.seeds import Seeds
from ..host.many import ManyPictures, folder_of, graph_before
from ..host.our_model import own_schedule
from ..host.run_report import REPORTS
from ..host.sampling import chosen_settings, record_of
from ..schedulers.errors import UserError
from ..schedulers.span import Stretch
from .inputs import (
    CATEGORY,
    class_label_input,
    model_input,
    sampler_input,
    sampler_maker,
    spacing_input,
    steps_input,
)

_MOST = 10_000_000


class UnconditionalGenerateMany(io.ComfyNode):
    """Generate Many."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UnconditionalGenerateMany",
            display_name="Generate Many",
            category=CATEGORY,
            description="Draws any number of pictures into a folder, one for each seed. Cancel "
            "keeps the finished pictures, and Run continues: only what is missing is drawn.",
            search_aliases=["bulk", "dataset", "fid samples", "library", "thousands"],
            is_output_node=True,
            **REPORTS,
            hidden=[io.Hidden.prompt, io.Hidden.unique_id],
            inputs=[
                model_input(),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=2**53,
                    control_after_generate=False,  # Run goes on with the same seeds
                    tooltip="The seed of the first picture. The others have the seeds that follow, "
                    "and each file is named after its seed.",
                ),
                io.Int.Input(
                    "count",
                    default=1000,
                    min=1,
                    max=_MOST,
                    tooltip="How many pictures the folder should have. If you raise it later, only "
                    "the new ones are drawn.",
                ),
                io.Int.Input(
                    "batch_size",
                    default=16,
                    min=1,
                    max=4096,
                    tooltip="The number of images to draw at once. It changes the last bits of a "
                    "picture, so it stays the same for a folder.",
                ),
                sampler_input(),
                steps_input(
                    50,
                    "Steps through the schedule: about 50 for PNDM and DDIM, 250 to 1000 for DDPM.",
                ),
                io.String.Input(
                    "name",
                    default="many",
                    tooltip="The folder, below ComfyUI's output folder. Use another one for "
                    "another model, sampler or patch.",
                ),
                class_label_input(),
                spacing_input(),
            ],
            outputs=[
                io.Image.Output(
                    id="IMAGE",
                    display_name="IMAGE",
                    tooltip="At most the first 64 pictures, as RGB.",
                ),
                io.String.Output(
                    id="folder",
                    display_name="folder",
                    tooltip="The folder of the pictures, for Compare Image Sets.",
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, name: str | None) -> bool | str:
        # Checked before the model is loaded. None: the value comes from another node.
        try:
            folder_of("many" if name is None else name)
        except ValueError as error:
            return str(error)
        return True

    @classmethod
    def fingerprint_inputs(cls, **_: Any) -> float:
        # Pictures may have been removed since, so a run always checks.
        return float("nan")

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        seed: int,
        count: int,
        batch_size: int,
        sampler: str,
        steps: int,
        name: str,
        class_label: int = -1,
        spacing: str = "model",
    ) -> io.NodeOutput:
        _check(seed, count, batch_size)
        made = sampler_maker(sampler, own_schedule(model), spacing)(Stretch(steps))
        label = None if class_label == -1 else class_label
        chosen = {"steps": steps, **chosen_settings(spacing)}
        record, node = record_of(model, made, label, chosen), cls.hidden.unique_id
        graph = graph_before(cls.hidden.prompt, node)
        how: Any = {"name": name, "batch_size": batch_size, "class_label": label, "node": node}
        many, seeds = ManyPictures(model, made, record, graph, **how), Seeds.of(seed, count)
        many.draw(seeds)
        images, shown = many.first_pictures(seeds)
        ui = {"images": shown, "text": many.report(len(seeds))}
        return io.NodeOutput(images, str(many.folder.path), ui=ui)


def _check(seed: int, count: int, batch_size: int) -> None:
    """Raise ``UserError`` for values that no widget offers."""
    if not (0 <= seed <= 2**53 and 1 <= count <= _MOST and 1 <= batch_size <= 4096):
        raise UserError(
            f"seed ({seed}), count ({count}, at most {_MOST:,}) or batch_size ({batch_size}, at "
            "most 4096) is out of range."
        )
