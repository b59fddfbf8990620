"""Tests of Onrecord."""

import os
import sys

# Images of containers often forbid to write bytecode. Then every process of a run compiles the test
# files anew, which takes more than to import all else, and every process of a test our packages.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
