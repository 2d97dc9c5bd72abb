"""`python -m carlien_lien_registry [serve|migrate]`."""

import sys

from carlien_common.entry import main
from carlien_lien_registry.bootstrap import PACKAGE, serve
from carlien_lien_registry.config import LienRegistrySettings

if __name__ == "__main__":
    sys.exit(main(PACKAGE, LienRegistrySettings, serve))
