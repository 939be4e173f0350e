"""Start ComfyUI's `main.py`, the first argument, with the remaining arguments."""

import os
import runpy
import sys
from pathlib import Path


def main() -> None:
    """Run the script as if it had been started directly."""
    script = Path(sys.argv[1]).resolve()
    sys.argv = [str(script), *sys.argv[2:]]
    sys.path[0] = str(script.parent)
    os.chdir(script.parent)
    runpy.run_path(str(script), run_name="__main__")


if __name__ == "__main__":
    from torchvision_on_cpu import declare_missing_operators

    declare_missing_operators()
    main()
