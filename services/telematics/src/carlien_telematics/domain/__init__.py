"""What a device, a consent and a car's state are. Nothing here does I/O."""
