"""The bundle: hashes before use, all-or-nothing changes, one error that names everything that differs."""

from __future__ import annotations

import errno
import fcntl
import multiprocessing
import os
import re
import resource
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from safetrip_sdk import atomic, bundle
from safetrip_sdk.bundle import Bundle
from safetrip_sdk.errors import (
    BundleBusyError,
    BundleCorruptError,
    BundleError,
    BundleNotFoundError,
    ManifestError,
)
from safetrip_sdk.manifest import PrecisionInfo
from tests.sdk.test_manifest import make_manifest


@pytest.fixture
def path(tmp_path: Path) -> Path:
    root = tmp_path / "a.bundle"
    with Bundle.create(root, make_manifest()) as draft:
        draft.write("model.fp32.onnx", b"abc")
        draft.write("engines/one.plan", b"plan")
    return root


def leftovers(root: Path) -> list[str]:
    return [item.name for item in root.parent.iterdir() if item != root]


def test_create_then_open(path: Path) -> None:
    opened = Bundle.open(path)
    opened.verify()
    assert opened.read("model.fp32.onnx") == b"abc"
    assert set(opened.manifest.files) == {"model.fp32.onnx", "engines/one.plan"}
    assert opened.manifest.files["engines/one.plan"].size == 4
    assert leftovers(path) == []


def test_mode_follows_umask(path: Path) -> None:
    umask = os.umask(0)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o777 & ~umask
    assert (path / "model.fp32.onnx").stat().st_mode & 0o777 == 0o666 & ~umask


def test_create_refuses_what_exists(path: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="exists already"), Bundle.create(path, make_manifest()):
        pass
    other = tmp_path / "photos"
    other.mkdir()
    (other / "holiday.jpg").write_bytes(b"x")
    with pytest.raises(BundleError, match="no bundle"), Bundle.create(other, make_manifest(), overwrite=True):
        pass
    assert (other / "holiday.jpg").exists()
    with pytest.raises(BundleError, match="does not exist"), Bundle.create(tmp_path / "a/b", make_manifest()):
        pass


def test_overwrite_replaces_as_a_whole(path: Path) -> None:
    with Bundle.create(path, make_manifest(name="second"), overwrite=True) as draft:
        draft.write("model.fp32.onnx", b"new")
    opened = Bundle.open(path)
    opened.verify()
    assert opened.manifest.name == "second"
    assert set(opened.manifest.files) == {"model.fp32.onnx"}
    assert leftovers(path) == []


def test_failed_create_leaves_nothing(tmp_path: Path) -> None:
    def interrupted() -> None:
        with Bundle.create(tmp_path / "b", make_manifest()) as draft:
            draft.write("model.fp32.onnx", b"abc")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_create_without_the_listed_model(tmp_path: Path) -> None:
    with (
        pytest.raises(ManifestError, match=r"model\.fp32\.onnx"),
        Bundle.create(tmp_path / "b", make_manifest()),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_edit(path: Path) -> None:
    with Bundle.edit(path) as draft:
        assert draft.read("model.fp32.onnx") == b"abc"
        draft.write("model.int8.onnx", b"12345")
        draft.remove("engines/one.plan")
        precisions = {**draft.manifest.precisions, "int8": PrecisionInfo("model.int8.onnx")}
        draft.manifest = replace(draft.manifest, precisions=precisions)
        assert draft.read("model.int8.onnx") == b"12345"
    opened = Bundle.open(path)
    opened.verify()
    assert opened.manifest.precisions["int8"].file == "model.int8.onnx"
    assert set(opened.manifest.files) == {"model.fp32.onnx", "model.int8.onnx"}
    assert leftovers(path) == []


@pytest.mark.parametrize("exchange", ["renameat2", "renames"])
def test_failed_edit_changes_nothing(path: Path, exchange: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if exchange == "renames":
        monkeypatch.setattr(atomic, "_renameat2", lambda first, second: False)
    before = Bundle.open(path)

    def interrupted() -> None:
        with Bundle.edit(path) as draft:
            draft.write("model.fp32.onnx", b"half a mod")
            draft.remove("engines/one.plan")
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power"):
        interrupted()
    before.verify()
    assert leftovers(path) == []


def test_edit_with_two_renames(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atomic, "_renameat2", lambda first, second: False)
    with Bundle.edit(path) as draft:
        draft.write("model.fp32.onnx", b"longer than before")
    assert Bundle.open(path).read("model.fp32.onnx") == b"longer than before"
    assert leftovers(path) == []


def test_second_rename_failing_is_undone(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atomic, "_renameat2", lambda first, second: False)
    real, calls = os.rename, []

    def rename(source: Path, target: Path) -> None:
        calls.append(source)
        if len(calls) == 2:
            raise OSError("no")
        real(source, target)

    monkeypatch.setattr(atomic.os, "rename", rename)
    with (
        pytest.raises(BundleError, match=r"a\.bundle: cannot be written: no; nothing was changed"),
        Bundle.edit(path) as draft,
    ):
        draft.write("model.fp32.onnx", b"new")
    Bundle.open(path).verify()
    assert Bundle.open(path).read("model.fp32.onnx") == b"abc"
    assert leftovers(path) == []


def test_edit_of_a_copy_without_hard_links(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_link(source: str, target: str) -> None:
        raise OSError("not on this file system")

    monkeypatch.setattr(bundle.os, "link", no_link)
    with Bundle.edit(path) as draft:
        draft.write("new", b"n")
    Bundle.open(path).verify()


def test_flipped_bit(path: Path) -> None:
    (path / "model.fp32.onnx").write_bytes(b"abb")
    opened = Bundle.open(path)
    with pytest.raises(BundleCorruptError, match=r"model\.fp32\.onnx: sha256") as caught:
        opened.read("model.fp32.onnx")
    assert len(caught.value.differences) == 1


def test_verify_lists_every_difference(path: Path) -> None:
    (path / "model.fp32.onnx").write_bytes(b"longer")
    (path / "engines/one.plan").unlink()
    (path / "stray").write_bytes(b"")
    with pytest.raises(BundleCorruptError) as caught:
        Bundle.open(path).verify()
    text = str(caught.value)
    assert str(path) in text
    assert "model.fp32.onnx: 6 bytes" in text
    assert "engines/one.plan: No such file" in text
    assert "stray: not in the manifest" in text
    assert len(caught.value.differences) == 3


def test_edit_takes_nothing_in_through_a_link_and_writes_nothing_out(path: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "large").write_bytes(b"x" * 1000)
    (path / "plans").symlink_to(outside)
    (path / "notes").symlink_to(outside / "large")
    with Bundle.edit(path) as draft:
        draft.write("plans/two.plan", b"two")
    assert (path / "notes").is_symlink()
    assert [item.name for item in (path / "plans").iterdir()] == ["two.plan"]
    assert [item.name for item in outside.iterdir()] == ["large"]


def test_a_copy_that_fails_leaves_nothing_behind(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: str, target: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", target)

    monkeypatch.setattr(bundle, "_link_or_copy", full)
    with pytest.raises(BundleError, match=r"cannot be written: .*No space"), Bundle.edit(path):
        pass
    assert leftovers(path) == []
    Bundle.open(path).verify()


@pytest.mark.parametrize("name", ["model.fp32.onnx", "model.int8.onnx"])
def test_a_disk_that_is_full_changes_nothing_and_is_said_of_the_bundle(path: Path, name: str) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))  # the file system takes no more
    try:
        with pytest.raises(BundleError, match=r"a\.bundle: cannot be written: .*; nothing was changed"):
            write_into(path, name, bytes(200))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert leftovers(path) == []
    Bundle.open(path).verify()


def write_into(path: Path, name: str, data: bytes) -> None:
    with Bundle.edit(path) as draft:
        draft.write(name, data)


def test_edit_keeps_damage_visible(path: Path) -> None:
    (path / "engines/one.plan").write_bytes(b"nalp")
    with Bundle.edit(path) as draft:
        draft.write("notes.txt", b"hello")
    with pytest.raises(BundleCorruptError, match=r"one\.plan"):
        Bundle.open(path).verify()


@pytest.mark.parametrize("damage", [Path.unlink, lambda file: file.write_bytes(b"pl")])
def test_edit_with_a_file_missing_or_cut_off(path: Path, damage: Callable[[Path], object]) -> None:
    damage(path / "engines/one.plan")
    with pytest.raises(BundleCorruptError, match=r"one\.plan"), Bundle.edit(path) as draft:
        draft.write("notes.txt", b"hello")


def test_read_after_somebody_changed_it(path: Path) -> None:
    opened = Bundle.open(path)
    with Bundle.edit(path) as draft:
        draft.write("model.fp32.onnx", b"new")
    with pytest.raises(BundleCorruptError, match="open it again"):
        opened.read("model.fp32.onnx")


def test_unlisted_and_unknown(path: Path) -> None:
    (path / "stray").write_bytes(b"x")
    with pytest.raises(BundleCorruptError, match="lists no file 'stray'"):
        Bundle.open(path).read("stray")
    with pytest.raises(BundleError, match="not in the bundle"), Bundle.edit(path) as draft:
        draft.remove("stray")
    with pytest.raises(ManifestError), Bundle.edit(path) as draft:
        draft.write("../outside", b"")
    assert not (path.parent / "outside").exists()


def test_a_link_to_a_folder_is_named(path: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (path / "more").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BundleCorruptError, match="more: not in the manifest"):
        Bundle.open(path).verify()


def test_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleNotFoundError, match="nothing at this path"):
        Bundle.open(tmp_path / "nowhere")
    with pytest.raises(BundleNotFoundError, match=r"no readable manifest\.json"):
        Bundle.open(tmp_path)
    file = tmp_path / "x.onnx"
    file.write_bytes(b"")
    with pytest.raises(BundleNotFoundError, match="a bundle is a folder"):
        Bundle.open(file)
    with pytest.raises(BundleNotFoundError), Bundle.edit(tmp_path / "nowhere"):
        pass


def test_malformed_manifest_names_its_path(path: Path) -> None:
    (path / "manifest.json").write_text("{")
    with pytest.raises(ManifestError, match=r"a\.bundle/manifest\.json"):
        Bundle.open(path)


def test_busy(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "LOCK_TIMEOUT_S", 0.05)
    with Bundle.edit(path), pytest.raises(BundleBusyError), Bundle.edit(path):
        pass


def test_a_folder_replaced_while_its_lock_was_waited_for_is_not_taken_for_the_bundle(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two would change it at once: one holds the lock of the old folder, one that of the new."""
    monkeypatch.setattr(bundle, "LOCK_TIMEOUT_S", 0.05)
    real, waiting = fcntl.flock, [True]

    def flock(descriptor: int, how: int) -> None:
        if waiting:
            waiting.clear()
            _add(path, "meanwhile")
        real(descriptor, how)

    monkeypatch.setattr(bundle.fcntl, "flock", flock)
    with Bundle.edit(path) as draft:
        draft.write("later", b"")
        with pytest.raises(BundleBusyError):
            _add(path, "second")
    assert {"meanwhile", "later"} <= set(Bundle.open(path).manifest.files)


def test_what_appears_while_a_bundle_is_made_is_not_overwritten(tmp_path: Path) -> None:
    root = tmp_path / "b"
    with (  # noqa: PT012
        pytest.raises(BundleError, match="exists already"),
        Bundle.create(root, make_manifest()) as draft,
    ):
        draft.write("model.fp32.onnx", b"abc")
        root.mkdir()
        (root / "holiday.jpg").write_bytes(b"x")
    assert [item.name for item in root.iterdir()] == ["holiday.jpg"]
    assert leftovers(root) == []


def test_a_change_is_on_the_disk_before_it_takes_the_bundles_place(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a power cut leaves a bundle of empty files, or a manifest without them."""
    steps: list[str] = []
    fsync, replace_file, exchange = os.fsync, os.replace, atomic.exchange

    def name_of(file: object) -> str:
        name = Path(os.readlink(f"/proc/self/fd/{file}") if isinstance(file, int) else str(file)).name
        return re.sub(r"^\.(.+)\.[0-9a-f]{12}\..*$", r"\1~", name)

    def synced(descriptor: int) -> None:
        steps.append(f"sync {name_of(descriptor)}")
        fsync(descriptor)

    def replaced(source: object, target: object) -> None:
        steps.append(f"rename {name_of(target)}")
        replace_file(source, target)  # type: ignore[type-var]

    def exchanged(first: Path, second: Path) -> None:
        steps.append(f"rename {name_of(second)}")
        exchange(first, second)

    monkeypatch.setattr(atomic.os, "fsync", synced)
    monkeypatch.setattr(atomic.os, "replace", replaced)
    monkeypatch.setattr(atomic, "exchange", exchanged)
    with Bundle.edit(path) as draft:
        draft.write("engines/two.plan", b"two")
    assert steps[:3] == ["sync two.plan~", "rename two.plan", "sync engines"]
    assert steps[3:6] == ["sync manifest.json~", "rename manifest.json", "sync a.bundle~"]
    # Every folder of the draft, in any order; the bundle's place; the folder that it stands in.
    assert sorted(steps[6:8]) == ["sync a.bundle~", "sync engines"]
    assert steps[8:] == ["rename a.bundle", f"sync {path.parent.name}"]


def _add(path: Path, name: str) -> None:
    with Bundle.edit(path) as draft:
        draft.write(name, name.encode())


def test_changes_from_many_threads_and_processes_all_survive(path: Path) -> None:
    names = [f"t{index}" for index in range(6)]
    threads = [threading.Thread(target=_add, args=(path, name)) for name in names]
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_add, args=(path, "p0"))
    process.start()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    process.join()
    opened = Bundle.open(path)
    opened.verify()
    assert {*names, "p0"} <= set(opened.manifest.files)


def test_atomic_write_keeps_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "f"
    atomic.write_text(target, "old")

    def interrupted() -> None:
        with atomic.open_atomic(target, "w") as file:
            file.write("ne")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        interrupted()
    assert target.read_text() == "old"
    assert [item.name for item in tmp_path.iterdir()] == ["f"]
    with pytest.raises(ValueError, match="mode"), atomic.open_atomic(target, "a"):
        pass


def test_atomic_write_names_the_file_where_the_system_does_not(tmp_path: Path) -> None:
    target = tmp_path / "f"

    def full() -> None:
        with atomic.open_atomic(target):
            raise OSError(errno.ENOSPC, "No space left on device")  # as a write says it

    with pytest.raises(OSError, match="No space") as caught:
        full()
    assert caught.value.filename == str(target)
