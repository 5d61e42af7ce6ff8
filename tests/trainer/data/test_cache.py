"""The training cache: the same samples as the tree's, whatever happens while it is written."""

from __future__ import annotations

import functools
import http.server
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from safetrip_trainer.data.cache import CacheManifest, CacheSource, CacheSpec
from safetrip_trainer.data.cache.locate import find_cache, open_index
from safetrip_trainer.data.cache.raw import decode_raw, encode_raw, is_raw
from safetrip_trainer.data.cache.store import Store
from safetrip_trainer.data.datamodule import SafetripDataModule
from safetrip_trainer.data.i420 import halves
from safetrip_trainer.data.index import PreparedIndex
from safetrip_trainer.data.kitti import decode_depth, encode_depth
from safetrip_trainer.data.prepare import PrepareOptions, prepare
from safetrip_trainer.data.source import TreeSource
from safetrip_trainer.errors import DatasetError
from tests.trainer.data.small_tree import write_image, write_tree

QUIET = PrepareOptions(workers=1, progress=False)
SMALL = PrepareOptions(workers=1, progress=False, cache_size=(16, 16))


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tree and what was prepared of it: images of 48x32, the cache's 20x16."""
    folder = tmp_path_factory.mktemp("cache")
    prepare(write_tree(folder / "tree"), folder / "out", SMALL)
    return folder


@pytest.fixture
def tree(original: Path, tmp_path: Path) -> Path:
    """A copy's tree, to be changed; file times as they were, so that nothing counts as changed."""
    shutil.copytree(original, tmp_path, dirs_exist_ok=True)
    return tmp_path / "tree"


def _source(prepared: Path | str, wish: str = "auto") -> CacheSource:
    index = open_index(prepared)
    found = find_cache(prepared, index.header, wish)
    assert found is not None
    return CacheSource(index, *found)


def _shards(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.tar")}


def test_the_cache_holds_what_the_tree_holds_at_its_own_scale(original: Path) -> None:
    index = PreparedIndex.load(original / "out")
    cache, tree = _source(original / "out"), TreeSource(index)
    for sample in index.samples:
        small, full = cache.read(sample, 255), tree.read(sample, 255)
        assert small.bgr.shape == (16, 20, 3)
        for reduced, whole in ((small.labels, full.labels), (small.depth, full.depth)):
            assert (reduced is None) == (whole is None)
            if reduced is not None:
                expected = cv2.resize(whole, (20, 16), interpolation=cv2.INTER_NEAREST_EXACT)
                np.testing.assert_allclose(reduced, expected, atol=1 / 512)
        everything = cache.read(sample, 0)
        assert (everything.depth is None) or (everything.depth > 0).sum() > (small.depth > 0).sum()


def test_an_image_that_stays_as_large_keeps_its_bytes_as_a_jpeg(original: Path, tmp_path: Path) -> None:
    options = PrepareOptions(workers=1, progress=False, cache_codec="jpeg")
    index = prepare(original / "tree", tmp_path / "out", options).index
    (shard,) = (tmp_path / "out/cache").rglob("Surface_001/*.tar")
    with tarfile.open(shard) as tar:
        stored = tar.extractfile("0000.jpg").read()
    assert stored == (original / "tree" / index.split("all")[12].image).read_bytes()
    # A PNG of that size becomes one, as its name in the shard says.
    (shard,) = (tmp_path / "out/cache").rglob("Depth_001/*.tar")
    with tarfile.open(shard) as tar:
        assert tar.extractfile("0000.jpg").read(2) == b"\xff\xd8"


@pytest.mark.parametrize(
    ("image", "least", "factor", "kept"),
    [
        ((1920, 1080), (512, 512), 2, (540, 640)),
        ((1920, 1080), (1024, 1024), 1, (1080, 1280)),
        ((1920, 1080), (288, 512), 2, (360, 640)),
        ((1920, 1080), (128, 128), 8, (135, 160)),
        ((480, 360), (512, 512), 1, (360, 480)),
        ((1242, 375), (512, 512), 1, (375, 640)),
        ((1, 1), (512, 512), 1, (1, 1)),
    ],
)
def test_scales(image: tuple[int, int], least: tuple[int, int], factor: int, kept: tuple[int, int]) -> None:
    assert CacheSpec("", least).plan(*image) == (factor, kept)
    even = tuple(side - side % 2 or 1 for side in kept)
    assert CacheSpec("", least, raw=True).plan(*image) == (factor, even)


@pytest.mark.parametrize(
    ("place", "codec", "raw"),
    [(None, "auto", True), ("s3://b/f", "auto", False), (None, "jpeg", False), ("s3://b/f", "raw", True)],
)
def test_images_are_raw_on_a_disk_and_jpeg_on_an_object_store(
    place: str | None, codec: Any, raw: bool, tmp_path: Path
) -> None:
    spec = PrepareOptions(cache=place, cache_codec=codec).spec(tmp_path)
    assert spec is not None
    assert spec.raw == raw


def test_another_codec_writes_the_cache_again(original: Path, tree: Path, tmp_path: Path) -> None:
    options = PrepareOptions(workers=1, progress=False, cache_size=(16, 16), cache_codec="jpeg")
    report = prepare(tree, tmp_path / "out", options)
    assert report.reused == 0
    raw, jpeg = _source(original / "out"), _source(tmp_path / "out")
    for sample in report.index.samples:
        one, other = raw.read(sample, 1), jpeg.read(sample, 1)
        assert one.bgr.shape == other.bgr.shape
        # Noise, the worst case for both: the chroma at half size is of little worth.
        luma = [cv2.cvtColor(planes.bgr, cv2.COLOR_BGR2GRAY).astype(int) for planes in (one, other)]
        assert np.abs(luma[0] - luma[1]).mean() < 6
        for plane in ("labels", "depth"):
            np.testing.assert_array_equal(getattr(one, plane), getattr(other, plane))


def test_raw_images_lose_less_than_jpegs_and_know_their_size() -> None:
    ramp = np.add.outer(np.arange(34), np.arange(50)) * 2
    image = np.stack([ramp, 255 - ramp, ramp[::-1]], axis=-1).astype(np.uint8)
    data = encode_raw(image)
    assert is_raw(data)
    assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE).shape == (51, 50)
    decoded = decode_raw(memoryview(data), "a").bgr()
    assert decoded.shape == image.shape
    assert np.abs(decoded.astype(int) - image).mean() < 2
    for whole in (image, image[:33, :49]):
        smaller = decode_raw(encode_raw(whole, (20, 30)), "a").bgr()
        expected = cv2.resize(whole, (30, 20), interpolation=cv2.INTER_LINEAR)
        assert np.abs(smaller.astype(int) - expected).mean() < 4  # chroma steps of two pixels
    damaged = (data[:-1], data + b"0", data.replace(b"50 51", b"51 50", 1), b"P5\n0 0\n255\n", b"P5\n")
    for wrong in damaged:
        with pytest.raises(DatasetError, match=r"^a: damaged"):
            decode_raw(wrong, "a")
    assert not halves((375, 640))


def test_a_cache_of_the_first_version_is_still_read(tree: Path, tmp_path: Path) -> None:
    options = PrepareOptions(workers=1, progress=False, cache_size=(16, 16), cache_codec="jpeg")
    index = prepare(tree, tmp_path / "out", options).index
    (manifest,) = (tmp_path / "out/cache").glob("cache-*.json")
    manifest.write_text(manifest.read_text().replace('"version":2', '"version":1'))
    assert _source(tmp_path / "out").read(index.samples[0], 1).image.shape == (16, 20, 3)
    manifest.write_text(manifest.read_text().replace('"version":1', '"version":3'))
    with pytest.raises(DatasetError, match="cache version 3 is newer than 2; update safetrip"):
        _source(tmp_path / "out")


def test_another_size_writes_the_cache_again(tree: Path, tmp_path: Path) -> None:
    report = prepare(tree, tmp_path / "out", PrepareOptions(workers=1, progress=False, cache_size=(32, 32)))
    assert report.reused == 0
    planes = _source(tmp_path / "out").read(report.index.samples[0], 1)
    assert planes.image.shape[:2] == (32, 40)


def test_a_shard_is_webdatasets(original: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    shards = sorted(str(path) for path in (original / "out/cache").rglob("*.tar"))
    samples = list(webdataset.WebDataset(shards, shardshuffle=False, empty_check=False))
    ids = [json.loads(sample["json"])["id"] for sample in samples]
    assert sorted(ids) == [sample.id for sample in PreparedIndex.load(original / "out").samples]
    assert {key for sample in samples for key in sample if not key.startswith("__")} == {
        "i420.pgm", "json", "mask.png", "depth.png", "confidence.png",
    }  # fmt: skip


def test_the_bytes_do_not_depend_on_time_place_or_workers(original: Path, tree: Path, tmp_path: Path) -> None:
    for image in tree.rglob("*.jpg"):
        os.utime(image, ns=(1, 1))
    options = PrepareOptions(workers=2, progress=False, cache_size=(16, 16))
    prepare(tree, tmp_path / "other", options)
    assert _shards(tmp_path / "other/cache") == _shards(original / "out/cache")


def test_a_killed_run_goes_on_and_ends_in_the_same_bytes(original: Path, tmp_path: Path) -> None:
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from safetrip_trainer.data import units\n"
        "from safetrip_trainer.data.prepare import PrepareOptions, prepare\n"
        "save = units._save\n"
        "def slow(*args):\n"
        "    save(*args); print('unit', flush=True); time.sleep(0.5)\n"
        "units._save = slow\n"
        "prepare(sys.argv[1], sys.argv[2], PrepareOptions(workers=1, progress=False, cache_size=(16, 16)))\n"
    )
    words = [sys.executable, "-c", code, str(original / "tree"), str(tmp_path / "out")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        for _ in range(4):
            assert process.stdout is not None
            assert process.stdout.readline() == "unit\n"
        process.send_signal(signal.SIGKILL)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out/cache").rglob("*.tar")}
    assert len(before) == 4
    with pytest.raises(DatasetError, match="is incomplete"):
        PreparedIndex.load(tmp_path / "out")

    report = prepare(original / "tree", tmp_path / "out", SMALL)
    assert report.reused == 8
    assert _shards(tmp_path / "out/cache") == _shards(original / "out/cache")
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert report.index.data_hash == PreparedIndex.load(original / "out").data_hash


def test_a_run_that_finds_nothing_new_leaves_the_cache_as_it_was(tree: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in (tmp_path / "out/cache").rglob("*.*")}
    prepare(tree, tmp_path / "out", SMALL)
    assert {path: path.read_bytes() for path in (tmp_path / "out/cache").rglob("*.*")} == before


def test_another_image_of_the_same_size_in_bytes_is_another_shard(tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (before,) = (out / "cache").rglob("Depth_001/*.tar")
    write_image(tree / "Depth/Depth_001/d1_0_L.png", seed=7)
    prepare(tree, out, SMALL)
    (after,) = set((out / "cache").rglob("Depth_001/*.tar")) - {before}
    assert after.stat().st_size == before.stat().st_size
    assert after.read_bytes() != before.read_bytes()


@pytest.mark.parametrize("elsewhere", [False, True])
def test_added_changed_and_removed_folders_touch_their_own_shards_only(
    tree: Path, tmp_path: Path, elsewhere: bool
) -> None:
    out, cache, options = tmp_path / "out", tmp_path / "out/cache", SMALL
    if elsewhere:
        cache = tmp_path / "elsewhere"
        options = PrepareOptions(workers=1, progress=False, cache_size=(16, 16), cache=str(cache))
        prepare(tree, out, options)
    before, training = _shards(cache), _source(out)
    masks = set((out / "masks").rglob("*.png"))
    shutil.copytree(tree / "Surface/Surface_001", tree / "Surface/Surface_004")
    shutil.rmtree(tree / "Polygon/Polygon_0002")
    xml = tree / "Surface/Surface_002/Surface_002.xml"
    xml.write_text(xml.read_text().replace("20,20", "24,24"))
    samples = PreparedIndex.load(out).samples
    report = prepare(tree, out, options)
    assert report.reused == 14
    for sample in samples:  # what a training began with stays until prepare runs once more
        training.read(sample, 1)
    assert masks <= set((out / "masks").rglob("*.png"))

    prepare(tree, out, options)
    after = _shards(cache)
    changed = {name.split("/")[2] for name in set(before) ^ set(after)}
    assert changed == {"Surface_004", "Polygon_0002", "Surface_002"}
    named = {out / sample.mask for sample in report.index.samples if sample.mask}
    assert set((out / "masks").rglob("*.png")) == named
    if not elsewhere:
        assert len(list(cache.glob("cache-*.json"))) == 1
    source = _source(out)
    for sample in report.index.samples:
        source.read(sample, 1)


def test_a_full_disk_is_one_error_and_the_cache_before_stays(tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    before = _shards(out / "cache")
    xml = tree / "Surface/Surface_002/Surface_002.xml"
    xml.write_text(xml.read_text().replace("20,20", "24,24"))
    code = (
        "import resource, signal, sys\n"
        "from safetrip_trainer.cli import main\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))\n"  # the file system takes no more
        "sys.exit(main(['prepare', sys.argv[1], '--out', sys.argv[2], '--workers', '1',"
        " '--cache-size', '16x16']))\n"
    )
    words = [sys.executable, "-c", code, str(tree), str(out)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    last = done.stderr.strip().splitlines()[-1]
    assert "cannot be written" in last
    assert str(out) in last
    assert "free some space" in last
    assert _shards(out / "cache") == before
    _source(out)


def test_a_cache_of_other_data_is_refused(tree: Path, tmp_path: Path) -> None:
    shutil.copytree(tmp_path / "out", tmp_path / "old")
    shutil.rmtree(tree / "Depth/Depth_003")
    prepare(tree, tmp_path / "out", SMALL)
    shutil.rmtree(tmp_path / "old/.units")
    with pytest.raises(DatasetError, match="before the data last changed; run 'trainer prepare' again"):
        _source(tmp_path / "out", str(tmp_path / "old"))
    header = json.loads((tmp_path / "out/prepared.json").read_text())
    header["data_hash"] = "0" * 64
    (tmp_path / "out/prepared.json").write_text(json.dumps(header))
    module = SafetripDataModule(str(tmp_path / "out"), size=(16, 24), batch_size=3, num_workers=0)
    module.setup("fit")
    with pytest.raises(DatasetError, match="before the data last changed"):
        module.train_dataloader()


def test_without_a_cache_the_tree_is_read_and_that_is_said(
    tree: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):  # the second takes away what the first left to trainings
        prepare(tree, tmp_path / "out", PrepareOptions(workers=1, progress=False, cache_size=None))
    assert not _shards(tmp_path / "out")
    module = SafetripDataModule(str(tmp_path / "out"), size=(16, 24), batch_size=3, num_workers=0)
    module.setup("fit")
    with caplog.at_level("INFO"):
        batch = next(iter(module.train_dataloader()))
    assert batch["image"].shape == (3, 3, 16, 24)
    (record,) = [record for record in caplog.records if "no cache" in record.getMessage()]
    assert "\n" not in record.getMessage()


def test_a_cache_that_was_removed_is_none_and_the_tree_is_read(tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.rmtree(out / "cache")
    assert find_cache(out, open_index(out).header) is None
    with pytest.raises(DatasetError, match=r"out: no cache there; make it by 'trainer prepare .*--cache"):
        find_cache(out, {}, str(out))
    module = SafetripDataModule(str(out), size=(16, 24), batch_size=3, num_workers=0)
    module.setup("fit")
    assert next(iter(module.train_dataloader()))["image"].shape == (3, 3, 16, 24)


def test_a_cache_of_its_own_is_read_where_it_was_moved_to(tree: Path, tmp_path: Path) -> None:
    options = PrepareOptions(workers=1, progress=False, cache_size=(16, 16), cache=str(tmp_path / "cache"))
    samples = prepare(tree, tmp_path / "away", options).index.samples
    source = _source(shutil.move(tmp_path / "cache", tmp_path / "moved"))
    for sample in samples:
        source.read(sample, 1)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A web server on a folder `served`, as an object store answers to reads."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            pass

    (tmp_path / "served").mkdir()
    handler = functools.partial(Quiet, directory=str(tmp_path / "served"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}/cache"
        running.shutdown()
        thread.join()


def test_training_starts_from_a_folder_that_is_written_as_a_url(tree: Path, tmp_path: Path) -> None:
    place = f"file://{tmp_path}/cache"
    options = PrepareOptions(workers=1, progress=False, cache_size=(16, 16), cache=place)
    prepare(tree, tmp_path / "out", options)
    shutil.rmtree(tmp_path / "out")
    module = SafetripDataModule(place, size=(16, 24), batch_size=3, num_workers=0)
    module.prepare_data()
    module.setup("fit")
    assert next(iter(module.train_dataloader()))["image"].shape == (3, 3, 16, 24)
    assert open_index(place).samples


def test_a_damaged_copy_of_a_shard_is_fetched_again(tree: Path, tmp_path: Path, server: str) -> None:
    served, mirror = tmp_path / "served/cache", tmp_path / "mirror"
    options = PrepareOptions(workers=1, progress=False, cache_size=(16, 16), cache=f"file://{served}")
    index = prepare(tree, tmp_path / "out", options).index
    manifest = index.header["cache"]["manifest"]
    store = Store(server, mirror)
    source = CacheSource(index, store, CacheManifest.read(store, manifest))
    for sample in index.samples:
        before = source.read(sample, 1)
        for copy in mirror.rglob("*.tar"):
            copy.write_bytes(copy.read_bytes()[:700])
        assert str(source.read(sample, 1)) == str(before)
    for shard in [*mirror.rglob("*.tar"), *served.rglob("*.tar")]:
        shard.write_bytes(shard.read_bytes()[:700])
    with pytest.raises(DatasetError, match="truncated; run 'trainer prepare'"):
        source.read(sample, 1)


@pytest.mark.parametrize("workers", [0, 2])
def test_training_starts_from_a_url_alone(
    tree: Path, tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.setenv("SAFETRIP_CACHE", str(tmp_path / "mirror"))
    served = tmp_path / "served/cache"
    options = PrepareOptions(workers=1, progress=False, cache_size=(16, 16), cache=f"file://{served}")
    prepare(tree, tmp_path / "away", options)

    def batches(root: str, count: int) -> list[dict[str, Any]]:
        module = SafetripDataModule(root, size=(16, 24), batch_size=3, num_workers=count)
        module.setup("fit")
        return [*module.train_dataloader(), *module.val_dataloader()]

    local = batches(str(served), 0)
    shutil.rmtree(tree)
    shutil.rmtree(tmp_path / "away")
    remote = batches(server, workers)
    assert [batch["name"] for batch in remote] == [batch["name"] for batch in local]
    # Validation, too: where the tree is at hand a cache still has no masks of full size.
    for a, b in zip(remote, local):
        assert all(torch.equal(a[key], b[key]) for key in ("image", "labels", "depth"))
    assert all((batch["labels"] != 255).any() or (batch["depth"] > 0).any() for batch in local)
    shutil.rmtree(served / "shards")  # copied once, read from the copy ever after
    assert [batch["name"] for batch in batches(server, workers)] == [batch["name"] for batch in local]


def test_a_url_that_is_not_there_is_one_line(server: str, tmp_path: Path) -> None:
    for place in (f"{server}/nowhere", "nosuchscheme://bucket/folder"):
        with pytest.raises(DatasetError) as caught:
            open_index(place)
        assert place in str(caught.value)
        assert "\n" not in str(caught.value)


def _read_all(place: str) -> None:
    source = _source(place)
    for sample in open_index(place).samples:
        source.read(sample, 1)


def _rename(path: Path, *keys: str | int, name: str) -> None:
    value = whole = json.loads(path.read_text())
    for key in keys[:-1]:
        value = value[key]
    value[keys[-1]] = name
    path.write_text(json.dumps(whole))


@pytest.mark.parametrize("culprit", ["index", "manifest", "shard"])
@pytest.mark.parametrize("absolute", [True, False])
def test_a_remote_cache_writes_into_its_mirror_only(
    tree: Path,
    tmp_path: Path,
    server: str,
    monkeypatch: pytest.MonkeyPatch,
    culprit: str,
    absolute: bool,
) -> None:
    monkeypatch.setenv("SAFETRIP_CACHE", str(tmp_path / "mirror"))
    served = tmp_path / "served/cache"
    options = PrepareOptions(workers=1, progress=False, cache_size=(16, 16), cache=f"file://{served}")
    prepare(tree, tmp_path / "away", options)
    (tmp_path / "served/victim.py").write_text("from the server")
    victim = tmp_path / "mirror/victim.py"
    name = str(victim) if absolute else "../victim.py"
    if culprit == "index":
        _rename(served / "prepared.json", "index", name=name)
    elif culprit == "manifest":
        _rename(served / "prepared.json", "cache", "manifest", name=name)
    else:
        (manifest,) = served.glob("cache-*.json")
        _rename(manifest, "shards", 0, "name", name=name)
    with pytest.raises(DatasetError, match=r"victim\.py', which is not inside of it"):
        _read_all(server)
    assert not victim.exists()


@pytest.mark.parametrize("remote", [True, False])
def test_a_file_is_in_a_store_only_where_all_of_it_is(tmp_path: Path, server: str, remote: bool) -> None:
    (tmp_path / "served/cache").mkdir()
    (tmp_path / "served/cache/shard.tar").write_bytes(b"123")
    store = Store(server, tmp_path / "mirror") if remote else Store(tmp_path / "served/cache")
    assert store.exists("shard.tar", 3)
    assert not store.exists("shard.tar", 4)
    assert not store.exists("absent.tar", 3)


@pytest.mark.parametrize("remote", [True, False])
def test_a_store_touches_nothing_outside_of_it(tmp_path: Path, server: str, remote: bool) -> None:
    (tmp_path / "served/cache").mkdir()
    kept = tmp_path / "served/kept"
    kept.write_bytes(b"as it was")
    store = Store(server, tmp_path / "mirror") if remote else Store(tmp_path / "served/cache")
    for name in ("../kept", str(kept), "sub/../../kept", ""):
        for call in (
            store.read,
            store.refresh,
            store.remove,
            lambda name: store.exists(name, 9),
            lambda name: store.write(name, b"other"),
        ):
            with pytest.raises(DatasetError, match="not inside of it"):
                call(name)
    assert kept.read_bytes() == b"as it was"


@pytest.mark.parametrize("place", [[-1, 10], [512, -1], [512, 10**18], [10**18, 10], [512, 0], "no", None])
def test_a_manifest_that_points_elsewhere_is_damaged(tree: Path, tmp_path: Path, place: Any) -> None:
    out = tmp_path / "out"
    prepare(tree, out, SMALL)
    (manifest,) = (out / "cache").glob("cache-*.json")
    value = json.loads(manifest.read_text())
    members = value["shards"][0]["members"]
    next(iter(members.values()))["image"] = place
    manifest.write_text(json.dumps(value))
    with pytest.raises(DatasetError, match=r"cache-.*\.json: damaged"):
        _source(out)


@pytest.mark.parametrize("damage", ["truncate", "remove", "garble"])
def test_a_damaged_shard_names_the_sample(tree: Path, tmp_path: Path, damage: str) -> None:
    out = tmp_path / "out"
    (shard,) = (out / "cache").rglob("Depth_001/*.tar")
    data = shard.read_bytes()
    if damage == "remove":
        shard.unlink()
    else:
        shard.write_bytes(data[:600] if damage == "truncate" else data[:512] + bytes(len(data) - 512))
    source = _source(out)
    sample = next(sample for sample in PreparedIndex.load(out).samples if sample.folder == "Depth/Depth_001")
    with pytest.raises(DatasetError, match=r"Depth_001/0000-.*tar \(Depth/Depth_001/d1_0\)"):
        source.read(sample, 1)
    if damage != "garble":  # the same size counts as there
        prepare(tree, out, SMALL)
        assert shard.read_bytes() == data


@given(arrays.arrays(np.float32, (3, 4), elements=st.floats(0, 300, width=32) | st.just(np.nan)))
def test_depth_is_kept_to_half_a_step(depth: np.ndarray) -> None:
    stored = encode_depth(depth)
    back = decode_depth(stored)
    known = (depth >= 1 / 512 + 1e-4) & (depth < 255.99)
    assert np.abs(back[known] - depth[known]).max(initial=0) <= 1 / 512
    assert np.isnan(back[np.isnan(depth) | (depth > 256)]).all()
    np.testing.assert_array_equal(encode_depth(back), stored)
