"""`python -m carlien_pricing [serve|migrate]`."""

import sys

from carlien_common.entry import main
from carlien_pricing.bootstrap import PACKAGE, serve
from carlien_pricing.config import PricingSettings

if __name__ == "__main__":
    sys.exit(main(PACKAGE, PricingSettings, serve))
