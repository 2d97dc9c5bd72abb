"""`python -m carlien_telematics [serve|migrate]`."""

import sys

from carlien_common.entry import main
from carlien_telematics.bootstrap import PACKAGE, serve
from carlien_telematics.config import TelematicsSettings

if __name__ == "__main__":
    sys.exit(main(PACKAGE, TelematicsSettings, serve))
