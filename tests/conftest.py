"""Ctrl-C means the same whatever starts the tests: a shell's background job has it ignored, and so have its
children.
"""

from __future__ import annotations

import signal

signal.signal(signal.SIGINT, signal.default_int_handler)
