"""`python -m carlien_valuation [serve|migrate]`."""

import sys

from carlien_common.entry import main
from carlien_valuation.config import ValuationSettings


async def _serve(settings: ValuationSettings) -> None:
    from carlien_valuation.bootstrap import serve  # TensorFlow takes seconds to import; `migrate` doesn't need it

    await serve(settings)


if __name__ == "__main__":
    sys.exit(main("carlien_valuation", ValuationSettings, _serve))
