"""How much faster than its peers the runtime is end to end: like against like, and only what is right."""

from __future__ import annotations

from collections.abc import Iterable

from gpu_report import Figures

__all__ = ["MIN_SPEEDUP", "speedups"]

MIN_SPEEDUP = 1.5


def speedups(checks: dict[str, Figures], peers: Iterable[str]) -> dict[str, Figures]:
    """For each peer that ran: our fastest sound engine of its precision (and its library) against it.

    Held to `MIN_SPEEDUP` as a runtime is opened by default, with wait="block"; "spin" and INT8 beside it.
    An engine that is not ok is no measure of anything: without one that is, nothing is said of the peer.
    """
    return {
        name: against(checks[name], checks) for name in peers if checks.get(name, {}).get("status") == "ok"
    }


def against(peer: Figures, checks: dict[str, Figures]) -> Figures:
    """One peer's line."""
    precision, library = peer["precision"], peer.get("library")
    own = sound_engines(checks, precision, library)
    if not own:
        which = f"{library or 'TensorRT'} engine in {precision}"
        return {"status": "skipped", "answer": f"no {which} that is ok to set against it"}
    name = min(own, key=lambda engine: own[engine]["block"])
    ratios = {wait: peer["p50_ms"] / milliseconds for wait, milliseconds in own[name].items()}
    line: Figures = {"status": "ok", "engine": name, "precision": precision, "want": MIN_SPEEDUP, **ratios}
    for engine, times in sound_engines(checks, "int8", library).items():
        line.setdefault("int8_beside_it", {})[engine] = peer["p50_ms"] / times["block"]
    if not ratios["block"] >= MIN_SPEEDUP:
        line.update(status="FAILED", error=f"{ratios['block']:.2f} times as fast, want {MIN_SPEEDUP}")
    return line


def sound_engines(
    checks: dict[str, Figures], precision: str, library: str | None
) -> dict[str, dict[str, float]]:
    """Name -> milliseconds by way of waiting, of the engines that are ok."""
    return {
        name: item["p50_ms"]
        for name, item in checks.items()
        if item["status"] == "ok"
        and name.endswith(f" {precision}")
        and (library is None or name == f"{library} {precision}")
    }
