"""`python -m comfyui_unconditional.generate`: draw thousands of pictures with a model."""

import signal
import sys

from .command import main

if __name__ == "__main__":
    # Stopping this process stops the workers too, as Ctrl-C does.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    sys.exit(main())
