"""What all networks share, so the rest of the code need not know which one a model has."""
