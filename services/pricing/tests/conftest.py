"""Makes the helpers beside the tests importable under pytest's importlib mode; no test is judged by how long it takes."""

import sys
from pathlib import Path

from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent / "unit"))
sys.path.insert(0, str(Path(__file__).parent / "contract"))

settings.register_profile("pricing", deadline=None)
settings.load_profile("pricing")
