"""`python -m training`: see `training.cli.main`."""

import sys

from training.cli.main import main

sys.exit(main())
