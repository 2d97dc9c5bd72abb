"""A market simulator of ours, for trying things out where there are no listings; its cars and prices are invented."""
