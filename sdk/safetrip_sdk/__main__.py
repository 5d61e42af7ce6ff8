"""`python -m safetrip_sdk` is `safetrip`."""

import sys

from safetrip_sdk.cli import main

sys.exit(main())
