"""Use cases over small ports; adapters implement the ports."""
