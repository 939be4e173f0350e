"""What every network offers, so that the rest of the pack need not know which one it has."""
