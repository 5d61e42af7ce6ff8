"""The bundle: one folder from the workstation to the robot, every byte of it covered by a hash.

Reading never trusts the disk: `Bundle.read` returns the very bytes whose hash was checked. Changing is
all-or-nothing: a draft is a hard-linked sibling folder that takes the bundle's place in one rename.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from safetrip_sdk import atomic
from safetrip_sdk.errors import (
    BundleBusyError,
    BundleCorruptError,
    BundleError,
    BundleNotFoundError,
    ManifestError,
)
from safetrip_sdk.manifest import MANIFEST_FILE, FileInfo, Manifest, check_file_name

__all__ = ["Bundle", "BundleDraft"]

LOCK_TIMEOUT_S = 30.0


class Bundle:
    """A bundle on disk, opened for reading: `path` and a validated `manifest`.

    >>> bundle = Bundle.open("sidewalk.bundle")                     # doctest: +SKIP
    >>> onnx = bundle.read(bundle.manifest.precisions["fp32"].file)  # doctest: +SKIP
    """

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest

    def __repr__(self) -> str:
        return f"Bundle({str(self.path)!r}, precisions={list(self.manifest.precisions)})"

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Bundle:
        """Parse the manifest of the bundle at `path`; no other file is read.

        Raises:
            BundleNotFoundError: there is no folder with a manifest.json there.
            ManifestError: the manifest is malformed or newer than this SDK.
        """
        root = Path(path)
        return cls(root, _read_manifest(root))

    def read(self, name: str) -> bytes:
        """The content of one file, exactly the bytes whose SHA-256 was checked.

        Raises:
            BundleCorruptError: not listed, missing, or not the file that the manifest describes.
        """
        expected = self.manifest.files.get(name)
        if expected is None:
            raise BundleCorruptError(
                f"{self.path}: the manifest lists no file {name!r}", (f"{name}: unlisted",)
            )
        try:
            data = (self.path / name).read_bytes()
        except OSError as error:
            raise self._corrupt((f"{name}: {error.strerror}",)) from error
        difference = _difference(name, expected, len(data), hashlib.sha256(data).hexdigest())
        if difference:
            raise self._corrupt((difference,))
        return data

    def verify(self) -> None:
        """Hash every file; BundleCorruptError lists each that is missing, changed or not in the manifest."""
        differences: list[str] = []
        for name, expected in sorted(self.manifest.files.items()):
            try:
                size, digest = _hash_file(self.path / name)
            except OSError as error:
                differences.append(f"{name}: {error.strerror}")
                continue
            difference = _difference(name, expected, size, digest)
            if difference:
                differences.append(difference)
        unlisted = set(_files_under(self.path)) - set(self.manifest.files) - {MANIFEST_FILE}
        differences += [f"{name}: not in the manifest" for name in sorted(unlisted)]
        if differences:
            raise self._corrupt(tuple(differences))

    def _corrupt(self, differences: tuple[str, ...]) -> BundleCorruptError:
        """The error for `differences`; a bundle replaced since it was opened is not called damaged."""
        with contextlib.suppress(BundleError):
            if _read_manifest(self.path).files != self.manifest.files:
                return BundleCorruptError(
                    f"{self.path}: changed on disk since it was opened; open it again", differences
                )
        listing = "".join(f"\n  {difference}" for difference in differences)
        return BundleCorruptError(
            f"{self.path}: differs from its manifest; copy it again from where it was made:{listing}",
            differences,
        )

    @classmethod
    @contextmanager
    def create(
        cls, path: str | os.PathLike[str], manifest: Manifest, overwrite: bool = False
    ) -> Iterator[BundleDraft]:
        """Make a bundle: write files into the draft; it appears at `path` when the block ends well.

        Raises:
            BundleError: something is at `path` already (with `overwrite`: something that is no bundle), or
                nothing can be written there.
        """
        root = Path(path)
        _check_target(root, overwrite)
        if not root.absolute().parent.is_dir():
            raise BundleError(f"{root}: the folder {root.absolute().parent} does not exist; make it first")
        folder = atomic.sibling(root.absolute(), ".draft")
        with _writing(root):
            folder.mkdir()
        draft = BundleDraft(folder, replace(manifest, files={}), root)
        try:
            yield draft
            draft.finish()
            _check_target(root, overwrite)
            with _writing(root):
                if root.exists():
                    atomic.exchange(folder, root)
                else:
                    os.rename(folder, root)
                atomic.fsync_dir(root.absolute().parent)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    @classmethod
    @contextmanager
    def edit(cls, path: str | os.PathLike[str]) -> Iterator[BundleDraft]:
        """Change a bundle, all or nothing: an exception in the block leaves it as it was.

        Raises:
            BundleNotFoundError, ManifestError: as `open`.
            BundleBusyError: another process is changing it (after half a minute of waiting).
            BundleError: it cannot be written (disk full, no permission).
        """
        root = Path(path)
        with _locked(root):
            manifest = _read_manifest(root)
            folder = atomic.sibling(root.absolute(), ".draft")
            try:
                # A link stays one, so that nothing from outside comes in; through a folder's, writing would
                # leave the bundle.
                with _writing(root):
                    shutil.copytree(
                        root, folder, symlinks=True, ignore=_linked_folders, copy_function=_link_or_copy
                    )
                draft = BundleDraft(folder, manifest, root)
                yield draft
                draft.finish()
                with _writing(root):
                    atomic.exchange(folder, root)
                    atomic.fsync_dir(root.absolute().parent)
            finally:
                shutil.rmtree(folder, ignore_errors=True)


class BundleDraft:
    """A bundle in the making. Assign `manifest` to change it; hashes and sizes are filled in for you.

    Args:
        path: the draft's folder.
        manifest: what it starts with.
        target: what it becomes, for messages.
    """

    def __init__(self, path: Path, manifest: Manifest, target: Path) -> None:
        self._path = path
        self._target = target
        self._files = dict(manifest.files)
        self.manifest = manifest

    def write(self, name: str, data: bytes) -> None:
        """Add or replace the file `name` (relative POSIX path); BundleError where it cannot be written."""
        name = check_file_name(name)
        file = self._path / name
        with _writing(self._target):
            file.parent.mkdir(parents=True, exist_ok=True)
            # A new inode, never a write into the old one: that one is shared with the bundle by a hard link.
            atomic.write_bytes(file, data)
        self._files[name] = FileInfo(hashlib.sha256(data).hexdigest(), len(data))

    def read(self, name: str) -> bytes:
        """The content of a file as it stands in the draft, hash checked like `Bundle.read`."""
        return Bundle(self._path, replace(self.manifest, files=self._files)).read(name)

    def remove(self, name: str) -> None:
        """Take a file out; BundleError when there is none of that name."""
        if name not in self._files:
            raise BundleError(f"{name!r} is not in the bundle; there are: {', '.join(sorted(self._files))}")
        del self._files[name]
        (self._path / name).unlink(missing_ok=True)

    def finish(self) -> None:
        """Write the manifest for the files as they stand; called when the `with` block ends well."""
        for name, info in self._files.items():
            file = self._path / name
            if not file.is_file() or file.stat().st_size != info.size:
                raise BundleCorruptError(f"{name}: missing, or not of the size listed", (name,))
        manifest = replace(self.manifest, files=dict(sorted(self._files.items())))
        manifest.check_files()
        with _writing(self._target):
            atomic.write_text(self._path / MANIFEST_FILE, manifest.to_json())
            for folder in {file.parent for file in self._path.rglob("*")}:
                atomic.fsync_dir(folder)
        self.manifest = manifest


def _read_manifest(root: Path) -> Manifest:
    try:
        text = (root / MANIFEST_FILE).read_bytes()
    except OSError as error:
        if not root.exists():
            reason = "there is nothing at this path"
        elif not root.is_dir():
            reason = "this is a file; a bundle is a folder"
        else:
            reason = f"the folder has no readable {MANIFEST_FILE} ({error.strerror})"
        raise BundleNotFoundError(f"{root}: no bundle: {reason}") from error
    try:
        manifest = Manifest.from_json(text)
        manifest.check_files()
    except ManifestError as error:
        raise ManifestError(f"{root / MANIFEST_FILE}: {error}") from error
    return manifest


def _difference(name: str, expected: FileInfo, size: int, digest: str) -> str:
    if size != expected.size:
        return f"{name}: {size} bytes, the manifest says {expected.size}"
    if digest != expected.sha256:
        return f"{name}: sha256 {digest[:12]}..., the manifest says {expected.sha256[:12]}..."
    return ""


def _hash_file(path: Path) -> tuple[int, str]:
    digest = hashlib.sha256()
    size = 0
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
            size += len(chunk)
    return size, digest.hexdigest()


def _files_under(root: Path) -> Iterator[str]:
    for file in root.rglob("*"):
        if file.is_symlink() or not file.is_dir():
            yield file.relative_to(root).as_posix()


def _check_target(root: Path, overwrite: bool) -> None:
    if not root.exists():
        return
    if not overwrite:
        raise BundleError(f"{root}: exists already; choose another name or allow overwriting")
    # Replacing a folder removes what it holds: only ever do that to a bundle.
    if not (root / MANIFEST_FILE).is_file():
        raise BundleError(f"{root}: is no bundle, so it is not overwritten; choose another name")


@contextmanager
def _writing(target: Path) -> Iterator[None]:
    """What the system refuses is said of the bundle: nobody knows its draft."""
    try:
        yield
    except OSError as error:
        # Of all the files that could not be copied, the first tells why.
        reason = error.args[0][0][2] if isinstance(error, shutil.Error) else error.strerror or str(error)
        raise BundleError(f"{target}: cannot be written: {reason}; nothing was changed") from error


def _linked_folders(folder: str, names: list[str]) -> set[str]:
    paths = {name: os.path.join(folder, name) for name in names}
    return {name for name, path in paths.items() if os.path.islink(path) and os.path.isdir(path)}


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


@contextmanager
def _locked(root: Path) -> Iterator[None]:
    """Hold the bundle's folder for one change at a time, across processes (flock on the folder)."""
    deadline = time.monotonic() + LOCK_TIMEOUT_S
    while True:
        try:
            descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise BundleNotFoundError(f"{root}: no bundle: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # An editor that ended meanwhile has put a new folder in place: lock that one instead.
            if os.path.exists(root) and os.fstat(descriptor).st_ino == os.stat(root).st_ino:
                break
        except OSError as error:
            if time.monotonic() > deadline:
                os.close(descriptor)
                raise BundleBusyError(f"{root}: another process is changing it; try again later") from error
        os.close(descriptor)
        time.sleep(0.02)
    try:
        yield
    finally:
        os.close(descriptor)
