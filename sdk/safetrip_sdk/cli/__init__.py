"""The `safetrip` command: run, bench, info, build, doctor, recover, completion."""

from safetrip_sdk.cli.main import main

__all__ = ["main"]
