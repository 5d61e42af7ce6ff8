"""The models that something was made or measured from: what a bundle is told of them is of no others.

Calibrating, comparing and measuring take minutes, and the bundle is not locked meanwhile: another command may
replace its models. What was found then belongs to files that are gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from safetrip_calibration.errors import BundleChangedError
from safetrip_sdk.bundle import Bundle, BundleDraft
from safetrip_sdk.manifest import FileInfo, Manifest

__all__ = ["ModelsRead"]


@dataclass(frozen=True)
class ModelsRead:
    """Models of a bundle as its manifest had them when it was opened: the very ones that `Bundle.read` gives.

    Attributes:
        path: of the bundle.
        files: precision -> hash and size of its model.
    """

    path: Path
    files: Mapping[str, FileInfo]

    @classmethod
    def of(cls, bundle: Bundle, precisions: Iterable[str]) -> ModelsRead:
        """Those of `precisions`, which the bundle holds."""
        manifest = bundle.manifest
        return cls(bundle.path, {name: manifest.files[manifest.precisions[name].file] for name in precisions})

    @contextmanager
    def edit(self) -> Iterator[BundleDraft]:
        """`Bundle.edit`, refused where the bundle no longer holds these models.

        Raises:
            BundleChangedError: one of them was replaced or removed; nothing is written.
            BundleError: as `Bundle.edit`.
        """
        with Bundle.edit(self.path) as draft:
            self.check(draft.manifest)
            yield draft

    def check(self, manifest: Manifest) -> None:
        """BundleChangedError unless `manifest`, the bundle's of now, still has these models."""
        changed = []
        for name, expected in self.files.items():
            info = manifest.precisions.get(name)
            if info is None or manifest.files[info.file] != expected:
                changed.append(f"its {name} model was {'removed' if info is None else 'replaced'}")
        if changed:
            raise BundleChangedError(
                f"{self.path}: {' and '.join(changed)} after this command had read it; what it found is of "
                "no use and was not written: run it again"
            )
