"""Entry points of the command-line tools; each loads only what it needs."""


def decode() -> int:
    """`carlien-decode`."""
    from carlien_telematics.commands import decode as command

    return command.main()
