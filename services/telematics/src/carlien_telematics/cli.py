"""Entry points of the command-line tools; each loads only what it needs."""


def decode() -> int:
    """`carlien-decode`."""
    from carlien_telematics.commands import decode as command

    return command.main()


def device() -> int:
    """`carlien-device`."""
    from carlien_telematics.commands import device as command

    return command.main()


def device_sim() -> int:
    """`carlien-device-sim`."""
    from carlien_telematics.commands import device_sim as command

    return command.main()


def insight() -> int:
    """`carlien-insight`."""
    from carlien_telematics.commands import insight as command

    return command.main()
