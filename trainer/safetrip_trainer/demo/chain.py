"""Runs the demo's steps one after the other and ends with the report."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from safetrip_trainer.data.files import read_json, write_json
from safetrip_trainer.demo.plan import LABEL, DemoPlan, Step
from safetrip_trainer.errors import TrainerError
from safetrip_trainer.report.page import write_demo_report

__all__ = ["run_demo"]

_MARKER = ".safetrip-demo"


def _claim(out: Path) -> None:
    """Empties an earlier demo's folder; leaves any other alone."""
    if out.exists() and any(out.iterdir()):
        if not (out / _MARKER).exists():
            raise TrainerError(f"{out}: holds files that are not an earlier demo's; choose another --out")
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    (out / _MARKER).touch()


def _call(step: Step) -> int:
    if step.program == "trainer":
        from safetrip_trainer.cli.main import main

        return main(step.words)
    from safetrip_sdk.cli import main as robot_main

    return robot_main(list(step.words))


def run_demo(plan: DemoPlan) -> int:
    """The chain, its report and its verdict.

    Returns:
        0 where every step went through and the net has learnt, 1 where it has not or a gate failed.

    Raises:
        TrainerError: a step failed; nothing after it can run.
    """
    _claim(plan.out)
    started = time.monotonic()
    gates_passed = _run_steps(plan)
    report = write_demo_report(plan.out, LABEL)
    verdict = _verdict(plan.out)
    print()
    for line, passed in verdict:
        print(f"{'PASS' if passed else 'FAIL'}  {line}")
    print(f"\n{report}: the report\n{plan.bundle}: the bundle\n{plan.out / 'run.mp4'}: the annotated video")
    print(f"{time.monotonic() - started:.0f} s in all; {LABEL}")
    return 0 if gates_passed and all(passed for _, passed in verdict) else 1


def _run_steps(plan: DemoPlan) -> bool:
    """Runs every step and records it in steps.json; False where a gate said no."""
    steps = plan.steps()
    record: list[dict[str, object]] = []
    passed = True
    for number, step in enumerate(steps, 1):
        print(f"\n[{number}/{len(steps)}] {step.title}\n$ {step.command}", flush=True)
        begun = time.monotonic()
        status = _call(step)
        seconds = time.monotonic() - begun
        record.append({"title": step.title, "command": step.command, "seconds": seconds, "status": status})
        write_json(plan.out / "steps.json", record)
        if status not in (0, 1):
            raise TrainerError(f"step {number} ({step.title}) failed with status {status}: {step.command}")
        passed = passed and (status == 0 or step.informs)
    return passed


def _verdict(out: Path) -> list[tuple[str, bool]]:
    """Has the net learnt anything? Against what a constant answer would score."""
    result = read_json(out / "evaluate.json")
    segmentation, depth = result["segmentation"], result["depth"]
    floor, base = segmentation["majority_miou"], depth["mean_depth_delta1"]
    return [
        (
            f"mIoU {segmentation['miou']:.3f} is at least three times the majority class's {floor:.3f}",
            segmentation["miou"] >= 3 * floor,
        ),
        (
            f"depth delta < 1.25 of {depth['delta1']:.3f} beats predicting the mean ({base:.3f})",
            depth["delta1"] > base,
        ),
    ]
