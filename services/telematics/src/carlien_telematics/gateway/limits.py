"""What one connection, and all together, may use."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of the device gateway. Times in seconds."""

    connections: int = 20_000
    login_timeout_s: float = 15.0
    """A connection that hasn't logged in by then is closed."""
    idle_timeout_s: float = 300.0
    """Silence after login. A terminal sends every 30 s at most, or a heartbeat."""
    frame_timeout_s: float = 30.0
    """A message begun must be complete by then, or the sender is a slow-loris."""
    write_timeout_s: float = 30.0
    """Answers not read for so long end the connection."""
    refused_messages: int = 500
    """Malformed messages before a connection is closed."""
    refused_logins: int = 5
    """Refused logins before a connection is closed: who guesses credentials has to connect again for every few."""
    frames_in_flight_per_connection: int = 256
    frames_in_flight_per_platform: int = 8_192
    frames_in_flight: int = 20_000
    """Over all connections; above it sockets are not read until half of them are durable."""
    frames_per_second: float = 500.0
    """Sustained rate of one connection; above it its socket is read only once a second."""
    platform_frames_per_second: float = 10_000.0
    """Sustained rate of a platform's connection, which carries many cars."""
