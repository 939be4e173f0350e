"""`python -m comfyui_unconditional.training`: train a model on your own pictures."""

import sys

from .command import main

if __name__ == "__main__":
    sys.exit(main())
