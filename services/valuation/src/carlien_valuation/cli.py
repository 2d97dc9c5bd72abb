"""`carlien-valuation`: every subcommand is a module of `carlien_valuation.commands`."""

import logging
import os
import sys
from collections.abc import Sequence

from carlien_common import command_line

COMMANDS: tuple[str, ...] = (
    "train", "evaluate", "predict", "sample_data", "panel_evaluate", "index", "nowcast", "battery_evaluate", "outcomes", "calibrate",
    "models",
)  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    # TensorFlow tells of its own workings on standard error, where ours is to be read.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # nothing for networks this small
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    description = "What a car is worth: train, score and use appraisal models on listings of any market."
    arguments = command_line.parser("carlien-valuation", description, "carlien_valuation.commands", COMMANDS).parse_args(argv)
    return command_line.exit_code("carlien-valuation", lambda: int(arguments.run(arguments)))


if __name__ == "__main__":
    sys.exit(main())
