"""The only code that knows ComfyUI: its MODEL, its folders, devices, progress and previews."""
