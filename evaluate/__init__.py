"""How close generated pictures are to a reference: distances between sets, and copies."""
