"""`python -m comfyui_unconditional.evaluate`: compare generated pictures with a reference."""

import sys

from .command import main

if __name__ == "__main__":
    sys.exit(main())
