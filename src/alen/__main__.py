"""Runs the command line: ``python -m alen``."""

import sys

from alen.cli import main

sys.exit(main())
