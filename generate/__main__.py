"""`python -m comfyui_unconditional.generate`: draw thousands of pictures with a model."""

import sys

from .command import main

if __name__ == "__main__":
    sys.exit(main())
