"""A program that saves 100 files as Image Output does, as one of several hosts on one folder.

Each file has its own number as its colour: ``first``, ``first`` + 1, …
"""

import os
import sys
import time
from itertools import count
from pathlib import Path

import torch
from torch import Tensor

from devtools.comfyui import comfyui_path

PREFIXES = (
    *("plain", "", "folder/", "folder/deeper/", "run_%batch_num%", "%batch_num%", "folder/x_1"),
    *("%width%x%height%_%batch_num%", "%year%/%month%/%day%", "%hour%%minute%%second%"),
)


def save_all(first: int) -> None:
    from comfyui_unconditional.host.saving import save_animations, save_array, save_pictures
    from comfyui_unconditional.pictures.metadata import GraphMetadata

    colours = count(first)

    def images(size: int) -> Tensor:
        return torch.stack([torch.full((4, 6, 3), next(colours) / 255) for _ in range(size)])

    for prefix in PREFIXES:
        more = {"scale": 1, "graph": GraphMetadata()}
        save_pictures(images(4), prefix, "png", records=[None] * 4, **more)
        save_pictures(images(2), prefix, "webp", records=[None] * 2, **more)
        films = torch.stack([images(3)] * 2, dim=1)  # the 3 films show 2 equal frames each
        save_animations(films, prefix, durations=[9, 9], records=[None] * 3, **more)
        save_array(images(1), prefix, scale=1)


def main(output: Path, first: str, start: str, links: str) -> None:
    sys.path.insert(0, str(comfyui_path()))
    import folder_paths

    folder_paths.set_output_directory(str(output))
    folder_paths.set_temp_directory(str(output.with_name(f"temp{first}")))
    if links == "no links":  # as on exFAT

        def refuse(*_: object) -> None:
            raise PermissionError(1, "Operation not permitted")

        os.link = refuse
    # Both have imported their modules before either starts.
    import comfyui_unconditional.host.saving  # noqa: F401

    Path(start, f"ready{first}").touch()
    while len(list(Path(start).glob("ready*"))) < 2:
        time.sleep(0.01)
    save_all(int(first))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
