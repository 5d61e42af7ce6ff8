"""Options of a runtime: a name that there is not is refused with the one that was meant."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest

from safetrip_sdk import CpuOptions, Runtime, RuntimeOptions


def test_an_option_of_the_processor_says_where_it_belongs(tiny_bundle: Path) -> None:
    with pytest.raises(TypeError, match=r"no option 'threads'; give cpu=CpuOptions\(threads=2\)"):
        Runtime(tiny_bundle, threads=2)
    with Runtime(tiny_bundle, cpu=CpuOptions(threads=2)) as runtime:
        assert runtime.options.cpu.threads == 2


def test_an_unknown_option_is_refused_with_those_there_are(tiny_bundle: Path) -> None:
    with pytest.raises(TypeError, match=r"no option 'presicion'; there are: backend, precision, .*, cpu$"):
        Runtime(tiny_bundle, presicion="fp32")


def test_options_are_copied_and_replaced_as_others_are() -> None:
    options = RuntimeOptions("openvino", slots=3)
    assert options == copy.deepcopy(options) == copy.copy(options)
    assert replace(options, slots=2) == RuntimeOptions("openvino")
