"""What `python dev.py` is made of: the environment, a ComfyUI to try things in, and a client for it."""
