"""Use cases over small protocols."""
