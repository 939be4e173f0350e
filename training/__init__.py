"""How the bundled model was made, and how to make one from your own pictures.

Nothing here is imported by the nodes. The dependencies are in the ``train`` extra.
"""
