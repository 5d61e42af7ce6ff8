"""MCAP files: the one module that imports mcap. Written chunk by chunk, read as far as they go."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from safetrip_sdk import atomic
from safetrip_sdk.errors import BackendUnavailableError, SafetripError, SourceError

__all__ = ["McapWriter", "RecordedMessage", "read_mcap", "recover_mcap"]

log = logging.getLogger(__name__)

CHUNK_BYTES = 1 << 20
"""Of messages: what is lost at most when the power goes."""

MAX_RECORD = 1 << 30
_KEEP = "2147483647"
# What rosbag2 writes for a topic, in the notation of all its versions up to Iron.
_QOS = """- history: 3
  depth: 0
  reliability: 1
  durability: {durability}
  deadline: {{sec: {far}, nsec: {far}}}
  lifespan: {{sec: {far}, nsec: {far}}}
  liveliness: 1
  liveliness_lease_duration: {{sec: {far}, nsec: {far}}}
  avoid_ros_namespace_conventions: false"""
_TRANSIENT_LOCAL, _VOLATILE = 1, 2


def _import(name: str) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise BackendUnavailableError(f"mcap: not installed ({error}); pip install mcap rosbags") from error


class McapWriter:
    """A ROS 2 recording in the making: profile ros2, CDR, schemas as ros2msg, chunks with LZ4.

    Each finished chunk is handed to the operating system at once: after a crash of the process the file can
    be read up to there, and `close` adds the index that makes it complete.

    Args:
        path: must not exist.

    Raises:
        SafetripError: there is something at the path, or its folder is not there.
        BackendUnavailableError: mcap is not installed.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        writing = _import("mcap.writer")
        self.path = Path(path)
        try:
            self._file: IO[bytes] = open(self.path, "xb")  # noqa: SIM115 (closed by `close`)
        except FileExistsError:
            raise SafetripError(f"{self.path}: exists already; choose another name, or remove it") from None
        except OSError as error:
            raise SafetripError(f"{self.path}: cannot be written: {error.strerror}") from error
        self._writer = writing.Writer(
            self._file, chunk_size=CHUNK_BYTES, compression=writing.CompressionType.LZ4
        )
        self._writer.start(profile="ros2", library="safetrip")
        self._channels: dict[str, int] = {}
        self._schemas: dict[str, int] = {}
        self._closed = False

    def add_metadata(self, name: str, values: dict[str, str]) -> None:
        """A record of names and values, in the file at once."""
        self._writer.add_metadata(name, values)
        self._file.flush()

    def add_topic(self, topic: str, kind: str, definition: str, latched: bool = False) -> None:
        """Declare a topic; `latched`: its last message is for those who come later, too."""
        if kind not in self._schemas:
            self._schemas[kind] = self._writer.register_schema(kind, "ros2msg", definition.encode())
        qos = _QOS.format(durability=_TRANSIENT_LOCAL if latched else _VOLATILE, far=_KEEP)
        self._channels[topic] = self._writer.register_channel(
            topic, "cdr", self._schemas[kind], {"offered_qos_profiles": qos}
        )

    def write(self, topic: str, stamp_ns: int, data: bytes, sequence: int) -> None:
        """Add a message of a declared topic; nanoseconds since 1970."""
        self._writer.add_message(self._channels[topic], stamp_ns, data, stamp_ns, sequence)

    def flush(self) -> None:
        """Hand finished chunks to the operating system."""
        self._file.flush()

    def close(self) -> None:
        """Complete the file; idempotent."""
        if not self._closed:
            self._closed = True
            self._writer.finish()
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()


class RecordedMessage(NamedTuple):
    """One message, or a metadata record: `kind` is then empty, and `metadata` holds its values."""

    topic: str
    kind: str
    stamp_ns: int
    data: bytes
    metadata: dict[str, str]


def read_mcap(path: Path) -> Iterator[RecordedMessage]:
    """Messages and metadata records in the order in which they were written.

    A file that breaks off (its writer was killed) is read up to its last whole chunk; that is logged.

    Raises:
        SourceError: no such file, no MCAP file, or one not recorded for ROS 2.
    """
    records = _import("mcap.records")
    topics: dict[int, tuple[str, str, str]] = {}
    schemas: dict[int, str] = {}
    for record in _records(path):
        if isinstance(record, records.Header) and record.profile != "ros2":
            raise SourceError(f"{path}: profile {record.profile!r}; only ROS 2 recordings can be read")
        if isinstance(record, records.Schema):
            schemas[record.id] = record.name
        elif isinstance(record, records.Channel):
            kind = schemas.get(record.schema_id, "")
            topics[record.id] = (record.topic, kind, record.message_encoding)
        elif isinstance(record, records.Metadata):
            yield RecordedMessage(record.name, "", 0, b"", dict(record.metadata))
        elif isinstance(record, records.Message) and record.channel_id in topics:
            topic, kind, encoding = topics[record.channel_id]
            if encoding == "cdr":
                yield RecordedMessage(topic, kind, record.log_time, bytes(record.data), {})


def recover_mcap(path: Path, target: Path) -> int:
    """Write what can be read of a recording into a new, whole file, atomically; the number of messages.

    Raises:
        SourceError: no such file, or no MCAP file.
        SafetripError: there is something at `target`.
    """
    records, writing = _import("mcap.records"), _import("mcap.writer")
    if target.exists():
        raise SafetripError(f"{target}: exists already; choose another name, or remove it")
    schemas: dict[int, int] = {0: 0}
    channels: dict[int, int] = {}
    count = 0
    with atomic.open_atomic(target) as file:
        writer = writing.Writer(file, chunk_size=CHUNK_BYTES, compression=writing.CompressionType.LZ4)
        for record in _records(path):
            if isinstance(record, records.Header):
                writer.start(profile=record.profile, library=record.library)
            elif isinstance(record, records.Schema) and record.id not in schemas:
                schemas[record.id] = writer.register_schema(record.name, record.encoding, record.data)
            elif isinstance(record, records.Channel) and record.id not in channels:
                described = (record.topic, record.message_encoding, schemas[record.schema_id])
                channels[record.id] = writer.register_channel(*described, dict(record.metadata))
            elif isinstance(record, records.Metadata):
                writer.add_metadata(record.name, dict(record.metadata))
            elif isinstance(record, records.Message):
                times = (record.log_time, record.data, record.publish_time, record.sequence)
                writer.add_message(channels[record.channel_id], *times)
                count += 1
        writer.finish()
    return count


def _records(path: Path) -> Iterator[Any]:
    """A file's records, from its header to the end of its data or to where it breaks off."""
    streaming, records = _import("mcap.stream_reader"), _import("mcap.records")
    try:
        file = open(path, "rb")  # noqa: SIM115 (closed below)
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror}") from error
    with file:
        reader = streaming.StreamReader(file, validate_crcs=True, record_size_limit=MAX_RECORD)
        for record in _until_broken(reader.records, path):
            if isinstance(record, records.DataEnd):
                return  # what follows is the index
            yield record


def _until_broken(records: Iterator[Any], path: Path) -> Iterator[Any]:
    """The records of a file up to its end, or to where it breaks off."""
    count = 0
    while True:
        try:
            record = next(records)
        except StopIteration:
            return
        except Exception as error:  # mcap's own, struct's, and those of two compressors
            if count == 0:
                raise SourceError(f"{path}: no MCAP file ({str(error) or type(error).__name__})") from error
            log.warning(
                "%s: breaks off (%s); reading what is there, up to the last whole chunk",
                path,
                str(error) or type(error).__name__,
            )
            return
        count += 1
        yield record
