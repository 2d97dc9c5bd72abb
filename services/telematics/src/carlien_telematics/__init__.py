"""How a car is really used: device gateway, positions, behaviour, alerts."""
