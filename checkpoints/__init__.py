"""From files to a network and back: formats, folders, the hub, reading and saving."""
