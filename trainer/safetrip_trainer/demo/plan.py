"""What the demo does, as commands."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from safetrip_trainer.errors import TrainerError

__all__ = ["DemoPlan", "Step"]

LABEL = "demo: minutes of training on generated scenes; fit for looking at the chain, not for a robot"


@dataclass(frozen=True)
class Step:
    """One command of the chain."""

    title: str
    program: Literal["trainer", "safetrip"]
    words: tuple[str, ...]
    informs: bool = False
    """Its exit status 1 is a finding for the report, not a failure of the demo."""

    @property
    def command(self) -> str:
        """As one would type it."""
        return " ".join(
            (self.program, *(f"'{word}'" if set(word) & set("[]{} ") else word for word in self.words))
        )


@dataclass(frozen=True)
class DemoPlan:
    """Where the demo writes and how much of each it does.

    Args:
        out: folder for everything.
        scenes: generated scenes in all.
        epochs: of the student.
        teacher_epochs: of the teacher.
        seed: of scenes and training.
        workers: loading processes while training.
    """

    out: Path
    scenes: int = 208
    epochs: int = 12
    teacher_epochs: int = 3
    seed: int = 0
    workers: int = 2

    scene_size: str = "320x192"
    net_size: tuple[int, int] = (96, 160)

    @property
    def prepared(self) -> Path:
        return self.out / "prepared"

    @property
    def bundle(self) -> Path:
        return self.out / "sidewalk.bundle"

    @property
    def video(self) -> Path:
        return self.out / "walk.mp4"

    def _config(self, name: str) -> str:
        for folder in (Path("configs"), Path(__file__).resolve().parents[3] / "configs"):
            if (folder / name).is_file():
                return str(folder / name)
        raise TrainerError(f"configs/{name} is not here: run `trainer demo` from the project's folder")

    def _fit(self, config: str, run: str, epochs: int) -> tuple[str, ...]:
        height, width = self.net_size
        return (
            "fit", "--config", self._config(config), "--data.root", str(self.prepared),
            "--data.size", f"[{height}, {width}]", "--data.num_workers", str(self.workers),
            "--trainer.max_epochs", str(epochs), "--seed_everything", str(self.seed),
            "--out", str(self.out), "--run-name", run,
        )  # fmt: skip

    def steps(self) -> tuple[Step, ...]:
        """The chain, in order."""
        size = f"{self.net_size[0]}x{self.net_size[1]}"
        bundle, prepared, out = str(self.bundle), str(self.prepared), self.out
        checkpoint = str(out / "student" / "checkpoints" / "best.ckpt")
        teacher = str(out / "teacher" / "checkpoints" / "best.ckpt")
        images = str(out / "scenes" / "Polygon" / "Polygon_0001")
        budget = str(Path(self._config("demo.yaml")).parents[1] / "benchmarks" / "budgets" / "demo.yaml")

        def trainer(title: str, *words: str) -> Step:
            return Step(title, "trainer", words)

        def robot(title: str, *words: str) -> Step:
            return Step(title, "safetrip", words)

        return (
            trainer("Generate scenes", "synth", str(out / "scenes"), "--scenes", str(self.scenes),
                    "--seed", str(self.seed), "--size", self.scene_size, "--frames-per-folder", "4",
                    "--video", str(self.video)),
            trainer("Prepare the data set", "prepare", str(out / "scenes"), "--out", prepared,
                    "--seed", str(self.seed)),
            trainer("Train the teacher", *self._fit("demo_teacher.yaml", "teacher", self.teacher_epochs)),
            trainer("Label the depth samples", "pseudo-label", teacher, prepared, "--input-size", size),
            trainer("Train the student", *self._fit("demo.yaml", "student", self.epochs)),
            trainer("Evaluate the student", "evaluate", checkpoint, prepared,
                    "--json", str(out / "evaluate.json"), "--overlays", str(out / "overlays")),
            trainer("Export the deploy graph", "export", checkpoint, "--out", bundle, "--input-size", size,
                    "--note", LABEL),
            trainer("Calibrate FP16, INT8 and confidence", "calibrate", bundle, prepared,
                    "--precision", "fp16,int8", "--confidence", "--count", "64"),
            trainer("Build TensorRT-RTX engines", "build", bundle, "--target", "rtx", "--frame", "1080x1920"),
            # A precision that the comparison rejects is a finding: the robot then does not take it.
            Step("Compare precisions and backends", "trainer",
                 ("compare", bundle, prepared, "--json", str(out / "compare.json")), informs=True),
            robot("Run on a video", "run", bundle, "--source", str(self.video),
                  "--json", str(out / "run.jsonl"), "--video", str(out / "run.mp4")),
            robot("Run on a folder of images", "run", bundle, "--source", images,
                  "--json", str(out / "images.jsonl")),
            robot("Measure the latency", "bench", bundle, "--backend", "all", "--precision", "all",
                  "--frame", "360x640", "--frames", "50", "--json", str(out / "bench.json")),
            robot("Check the bundle", "info", bundle),
            robot("What would run here", "doctor"),
            trainer("Hold it against a budget", "budget", bundle, "--budget", budget,
                    "--json", str(out / "budget.json")),
        )  # fmt: skip
