"""Published JSON schemas."""
