"""`python -m safetrip_trainer` is `trainer`."""

import sys

from safetrip_trainer.cli import main

sys.exit(main())
