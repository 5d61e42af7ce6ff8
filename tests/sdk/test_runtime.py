"""The runtime over the real CPU backends: the right answer from every door, a clear error for bad input."""

from __future__ import annotations

import copy
import multiprocessing
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from safetrip_sdk import Bundle, CpuOptions, Runtime
from safetrip_sdk.errors import (
    BackendUnavailableError,
    BundleCorruptError,
    BundleError,
    BundleNotFoundError,
    FrameError,
    FrameSizeError,
    RuntimeClosedError,
    SafetripError,
)
from safetrip_sdk.prediction import Prediction, Timing
from tests.sdk.conftest import FRAME_SIZE, NET_SIZE, deploy_graph, expected, make_bundle

Frame = NDArray[np.uint8]


def assert_right(prediction: Prediction, frame: Frame) -> None:
    reference = expected(frame)
    top = np.sort(reference, axis=-1)
    clear = top[..., 2] - top[..., 1] > 0.01
    assert clear.mean() > 0.5
    np.testing.assert_array_equal(prediction.labels[clear], reference.argmax(-1)[clear])
    np.testing.assert_allclose(prediction.depth, reference.mean(-1) * 80 / 255, rtol=1e-4, atol=1e-3)
    assert prediction.confidence is not None
    assert np.abs(prediction.confidence - reference.max(-1)).max() <= 1


def test_call(tiny_bundle: Path, backend: str, frame: Frame) -> None:
    with Runtime(tiny_bundle, backend=backend, precision="fp32") as runtime:
        prediction = runtime(frame)
        assert_right(prediction, frame)
        assert prediction.classes == ("sidewalk", "roadway", "person")
        assert prediction.labels.shape == NET_SIZE
        timing = prediction.timing
        stages = timing.wait + timing.upload + timing.compute + timing.download
        assert timing.total == pytest.approx(stages, abs=0.5)
        assert runtime.backend is not None
        assert runtime.backend.name == backend
        assert runtime.precision == "fp32"


def test_predictions_do_not_share_memory(tiny_bundle: Path, backend: str, frame: Frame) -> None:
    with Runtime(tiny_bundle, backend=backend, slots=1) as runtime:
        first = runtime(frame)
        kept = first.labels.copy()
        runtime(255 - frame)
        np.testing.assert_array_equal(first.labels, kept)
        assert [runtime(frame).frame_id for _ in range(3)] == [2, 3, 4]


def test_frames_that_are_not_contiguous(tiny_bundle: Path, backend: str, frame: Frame) -> None:
    with Runtime(tiny_bundle, backend=backend, precision="fp32") as runtime:
        flipped = frame[:, ::-1]
        assert_right(runtime(flipped), np.ascontiguousarray(flipped))


def test_frames_that_cannot_be_written_to(tiny_bundle: Path, backend: str, frame: Frame) -> None:
    with Runtime(tiny_bundle, backend=backend) as runtime:
        for given in (frame, np.frombuffer(frame.tobytes(), np.uint8).reshape(frame.shape), frame):
            assert_right(runtime(given), frame)
        assert_right(runtime(frame), frame)


def test_submitted_frames_may_be_changed_at_once(tiny_bundle: Path, backend: str, frame: Frame) -> None:
    with Runtime(tiny_bundle, backend=backend, precision="fp32", slots=3) as runtime:
        scratch = np.empty_like(frame)
        tickets, frames = [], []
        for shift in range(20):
            scratch[:] = np.roll(frame, shift * 5, axis=1)
            frames.append(scratch.copy())
            tickets.append(runtime.submit(scratch))
            scratch[:] = 0
        for ticket, sent in zip(tickets, frames):
            assert_right(ticket.result(timeout=30), sent)
        assert [ticket.result().frame_id for ticket in tickets] == list(range(20))


def test_several_threads(tiny_bundle: Path, backend: str, frame: Frame) -> None:
    wrong: list[BaseException] = []

    def work(runtime: Runtime, seed: int) -> None:
        try:
            for step in range(15):
                mine = np.ascontiguousarray(np.roll(frame, seed * 7 + step, axis=1))
                assert_right(runtime(mine) if step % 2 else runtime.submit(mine).result(30), mine)
        except BaseException as error:
            wrong.append(error)

    with Runtime(tiny_bundle, backend=backend, precision="fp32", slots=2) as runtime:
        threads = [threading.Thread(target=work, args=(runtime, seed)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong
        assert runtime.stats().frames == 60


@pytest.mark.parametrize(
    "bad",
    [
        None,
        "street.jpg",
        np.zeros((96, 128), np.uint8),
        np.zeros((96, 128, 4), np.uint8),
        np.zeros((96, 127, 3), np.uint8),
        np.zeros((96, 128, 3), np.float32),
        np.zeros((1, 96, 128, 3), np.uint8),
    ],
)
def test_bad_frames(tiny_bundle: Path, frame: Frame, bad: Any) -> None:
    with Runtime(tiny_bundle, backend="onnxruntime", frame_size=FRAME_SIZE) as runtime:
        with pytest.raises(FrameError, match="want"):
            runtime(bad)
        with pytest.raises(FrameError, match="want"):
            runtime.submit(bad)
        assert runtime.usable
        runtime(frame)
    with Runtime(tiny_bundle, backend="onnxruntime") as runtime:
        first = runtime(frame)
        with pytest.raises(FrameError, match="want"):
            runtime(bad)
        assert first.frame_id == 0


def test_first_frame_must_be_one(tiny_bundle: Path, backend: str, frame: Frame) -> None:
    """Nothing is compiled for a wrong one: OpenVINO ends the process over a size of 0."""
    with Runtime(tiny_bundle, backend=backend) as runtime:
        for bad in (
            None,
            np.zeros((4, 4), np.uint8),
            np.zeros((4, 4, 3), np.float32),
            np.zeros((0, 4, 3), np.uint8),
            frame.transpose(2, 0, 1),
        ):
            with pytest.raises(FrameError, match="want"):
                runtime(bad)  # type: ignore[arg-type]
            with pytest.raises(FrameError, match="want"):
                list(runtime.stream([bad]))  # type: ignore[list-item]
            assert runtime.backend is None
        runtime(frame)


def test_streamed_frames_may_change_size(tiny_bundle: Path, backend: str, frame: Frame) -> None:
    small = np.ascontiguousarray(frame[:80, :100])
    with Runtime(tiny_bundle, backend=backend, precision="fp32") as runtime:
        first, second = runtime.stream([frame, small], follow_size=True)
        assert_right(first, frame)
        assert_right(second, small)
        assert [first.frame_id, second.frame_id] == [0, 1], "counting goes on in the runtime opened anew"
        with pytest.raises(FrameSizeError, match=r"frames: .*reopen"):
            list(runtime.stream([frame]))


def test_forked_process_is_told(tiny_bundle: Path, frame: Frame) -> None:
    """Threads do not survive a fork: without a word the call would wait for ever."""

    def call(runtime: Runtime, answers: Any) -> None:
        try:
            runtime(frame)
        except SafetripError as error:
            runtime.close()
            answers.put(str(error))

    context = multiprocessing.get_context("fork")
    with Runtime(tiny_bundle, backend="onnxruntime") as runtime:
        runtime(frame)
        answers = context.Queue()
        child = context.Process(target=call, args=(runtime, answers))
        child.start()
        try:
            assert "open a Runtime in the process that calls it" in answers.get(timeout=30)
        finally:
            child.kill()
            child.join()
        runtime(frame)


def test_predictions_can_be_copied(tiny_bundle: Path, frame: Frame) -> None:
    with Runtime(tiny_bundle, backend="onnxruntime") as runtime:
        prediction = runtime(frame)
    # A queue of multiprocessing takes a prediction apart in the same way.
    other = copy.deepcopy(prediction)
    np.testing.assert_array_equal(other.labels, prediction.labels)
    assert other.classes.infos == prediction.classes.infos
    assert [item.name for item in other.hazards()] == [item.name for item in prediction.hazards()]


def test_another_frame_size_by_reopening(tiny_bundle: Path, backend: str, frame: Frame) -> None:
    with Runtime(tiny_bundle, backend=backend, precision="fp32") as runtime:
        assert_right(runtime(frame), frame)
        small = np.ascontiguousarray(frame[:80, :100])
        with pytest.raises(FrameError, match="reopen"):
            runtime(small)
        runtime.reopen(frame_size=(80, 100))
        assert_right(runtime(small), small)
        runtime.reopen()
        assert runtime.backend is not None, "opened at once, not at the next frame"
        assert runtime.backend.spec.frame.shape[1:3] == (80, 100), "for the size it was open for"


def test_auto_takes_openvino_and_the_best_accepted_precision(tmp_path: Path, frame: Frame) -> None:
    path = make_bundle(tmp_path / "a.bundle", {"fp32": deploy_graph(), "int8": deploy_graph()})
    with Runtime(path, frame_size=FRAME_SIZE) as runtime:
        assert runtime.precision == "int8"
        assert runtime.backend is not None
        assert runtime.backend.name == "openvino"
    with Bundle.edit(path) as draft:
        precisions = dict(draft.manifest.precisions)
        precisions["int8"] = replace(precisions["int8"], accepted=False)
        draft.manifest = replace(draft.manifest, precisions=precisions)
    with Runtime(path, frame_size=FRAME_SIZE) as runtime:
        assert runtime.precision == "fp32"


def test_what_cannot_be_had_is_said_at_once(tiny_bundle: Path) -> None:
    with pytest.raises(BackendUnavailableError, match=r"int8.*fp32.*fp16"):
        Runtime(tiny_bundle, precision="int8")
    with pytest.raises(BackendUnavailableError, match=r"no backend 'tpu'.*openvino"):
        Runtime(tiny_bundle, backend="tpu")
    with pytest.raises(BundleNotFoundError):
        Runtime("nowhere.bundle")
    for wrong in (
        {"slots": 0},
        {"slots": "2"},
        {"wait": "sleep"},
        {"hang_after": -1},
        {"hang_after": "soon"},
        {"device": "cuda:0"},
        {"device": -1},
        {"cpu": 2},
        {"frame_size": (0, 5)},
        {"frame_size": 640},
        {"frame_size": "640x480"},
        {"frame_size": (480.5, 640)},
        {"cpu": CpuOptions(threads=1, bf16=False), "slots": -1},
    ):
        with pytest.raises(ValueError, match="want"):
            Runtime(tiny_bundle, **wrong)
    with pytest.raises(ValueError, match="threads"):
        CpuOptions(threads=0)


@pytest.mark.parametrize(
    ("backend_name", "module"),
    [("openvino", "openvino"), ("onnxruntime", "onnxruntime"), ("tensorrt", "tensorrt")],
)
def test_missing_backend_says_what_to_install(
    tiny_bundle: Path, backend_name: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(BackendUnavailableError, match=rf"{module}.*(pip install|JetPack)"):
        Runtime(tiny_bundle, backend=backend_name)


def test_flipped_bit_is_never_compiled(tmp_path: Path, backend: str, frame: Frame) -> None:
    path = make_bundle(tmp_path / "a.bundle", {"fp32": deploy_graph()})
    model = path / "model.fp32.onnx"
    data = bytearray(model.read_bytes())
    data[len(data) // 2] ^= 1
    model.write_bytes(data)
    with pytest.raises(BundleCorruptError, match=r"model\.fp32\.onnx"):
        Runtime(path, backend=backend, frame_size=FRAME_SIZE)


def test_a_model_of_another_size_than_the_manifest_says(tmp_path: Path, backend: str) -> None:
    path = make_bundle(tmp_path / "a.bundle", {"fp32": deploy_graph()}, (NET_SIZE[0] + 1, NET_SIZE[1]))
    with pytest.raises(BundleError, match=f"says a net of {NET_SIZE[0] + 1}x.*gives {NET_SIZE[0]}x"):
        Runtime(path, backend=backend, frame_size=FRAME_SIZE)


def test_model_that_is_no_deploy_graph(tmp_path: Path, backend: str) -> None:
    path = make_bundle(tmp_path / "a.bundle", {"fp32": b"no onnx at all"})
    with pytest.raises(BackendUnavailableError, match="refuses the model"):
        Runtime(path, backend=backend, precision="fp32", frame_size=FRAME_SIZE)


def test_closed(tiny_bundle: Path, backend: str, frame: Frame) -> None:
    runtime = Runtime(tiny_bundle, backend=backend, frame_size=FRAME_SIZE)
    ticket = runtime.submit(frame)
    runtime.close()
    runtime.close()
    assert ticket.result(1).labels.shape == NET_SIZE, "a frame in flight is finished"
    assert not runtime.usable
    for call in (runtime, runtime.submit):
        with pytest.raises(RuntimeClosedError):
            call(frame)
    with pytest.raises(RuntimeClosedError):
        runtime.reopen()


def test_an_infinite_timeout_is_none(tiny_bundle: Path, backend: str, frame: Frame) -> None:
    with Runtime(tiny_bundle, backend=backend, slots=1, precision="fp32") as runtime:
        for endless in (float("inf"), 1e300):
            assert_right(runtime(frame, timeout=endless), frame)
            assert_right(runtime.submit(frame, timeout=endless).result(timeout=endless), frame)
        ticket = runtime.submit(frame)
        for call in (runtime, runtime.submit):
            with pytest.raises(ValueError, match="timeout: want seconds"):
                call(frame, timeout=float("nan"))
        with pytest.raises(ValueError, match="timeout: want seconds"):
            ticket.result(float("nan"))
        assert_right(ticket.result(30), frame)


def test_threads_end_with_the_runtime(tiny_bundle: Path, backend: str, frame: Frame) -> None:
    with Runtime(tiny_bundle, backend=backend) as runtime:
        runtime(frame)
        runtime.submit(frame).result(30)
        list(runtime.stream([frame] * 3))
        assert any(thread.name.startswith("safetrip") for thread in threading.enumerate())
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("safetrip")]


def test_fp16_agrees(tiny_bundle: Path, backend: str, frame: Frame) -> None:
    with Runtime(tiny_bundle, backend=backend, precision="fp16") as half:
        prediction = half(frame)
    reference = expected(frame)
    np.testing.assert_allclose(prediction.depth, reference.mean(-1) * 80 / 255, rtol=5e-3, atol=0.05)


def test_threads_option_and_spin(tiny_bundle: Path, backend: str, frame: Frame) -> None:
    with Runtime(
        tiny_bundle, backend=backend, precision="fp32", wait="spin", cpu=CpuOptions(threads=1)
    ) as runtime:
        assert_right(runtime(frame), frame)
        opened: Any = runtime.backend
        if backend == "openvino":
            assert opened._compiled.get_property("INFERENCE_NUM_THREADS") == 1
        else:
            assert opened._session.get_session_options().intra_op_num_threads == 1


def test_what_a_backend_says_it_took_is_no_more_than_there_was(tmp_path: Path, backend: str) -> None:
    """Frames run one behind another: waiting for the others is no computing."""
    path = make_bundle(tmp_path / "a.bundle", {"fp32": deploy_graph((384, 512), work=24)}, (384, 512))
    picture = np.zeros((384, 512, 3), np.uint8)
    with Runtime(path, backend=backend, slots=4, frame_size=(384, 512)) as runtime:
        runtime(picture, timeout=2.4)  # seconds, of whatever the library counts in
        began = time.perf_counter()
        tickets = [runtime.submit(picture) for _ in range(4)]
        taken = [ticket.result(60).timing.compute for ticket in tickets]
        passed_ms = (time.perf_counter() - began) * 1e3
    assert min(taken) > 0
    assert sum(taken) < 1.1 * passed_ms


def test_bf16_where_the_processor_has_it(tiny_bundle: Path, frame: Frame) -> None:
    openvino = pytest.importorskip("openvino")
    options = {
        "backend": "openvino",
        "precision": "fp32",
        "cpu": CpuOptions(bf16=True),
        "frame_size": FRAME_SIZE,
    }
    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        with pytest.raises(BackendUnavailableError, match="bfloat16"):
            Runtime(tiny_bundle, **options)
        return
    with Runtime(tiny_bundle, **options) as runtime:
        opened: Any = runtime.backend
        assert "bf" in str(opened._compiled.get_property("INFERENCE_PRECISION_HINT"))
        np.testing.assert_allclose(
            runtime(frame).depth, expected(frame).mean(-1) * 80 / 255, rtol=0.02, atol=0.3
        )


def test_a_reason_that_holds_for_every_precision_is_given_once(
    tiny_bundle: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("onnxruntime")
    with pytest.raises(BackendUnavailableError) as caught:
        Runtime(tiny_bundle, backend="onnxruntime", cpu=CpuOptions(bf16=True), frame_size=FRAME_SIZE)
    assert str(caught.value) == "onnxruntime: computes no bfloat16 on a CPU; use backend='openvino'"
    # Nothing was passed over: the error says it all.
    assert not caplog.records


def test_prediction_checks_its_shapes() -> None:
    labels, depth = np.zeros((4, 6), np.uint8), np.zeros((4, 6), np.float32)
    timing = Timing(0, 0, 0, 0, 0)

    def make(**changes: Any) -> Prediction:
        fields = {"labels": labels, "depth": depth, "confidence": None, "classes": ("a",), "frame_id": 0}
        return Prediction(**{**fields, "captured_at": 0, "timing": timing, **changes})

    make(confidence=labels)
    for wrong in (
        {"labels": depth},
        {"depth": depth[:2]},
        {"depth": depth.astype(np.float64)},
        {"confidence": labels[:, :2]},
        {"labels": labels[None], "depth": depth[None]},
    ):
        with pytest.raises(ValueError, match="prediction"):
            make(**wrong)
    with pytest.raises(AttributeError):
        make().frame_id = 3  # type: ignore[misc]


def test_errors_share_one_base(tiny_bundle: Path) -> None:
    with pytest.raises(SafetripError):
        Runtime(tiny_bundle, precision="mixed")
