"""An object store on 127.0.0.1: moto's server of S3, a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import pytest
from pyarrow import fs

from tests.servers import HOST, free_port

BUCKET = "bucket"
LONGEST_WAIT_S = 60
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "someone",
    "AWS_SECRET_ACCESS_KEY": "something",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


class ObjectStore(NamedTuple):
    """A running server, with one bucket.

    Attributes:
        endpoint: Its address.
        files: The file system of pyarrow.
    """

    endpoint: str
    files: fs.S3FileSystem

    def url(self, prefix: str) -> str:
        """The URL of a prefix of the bucket, as the setting has it."""
        return f"s3a://{BUCKET}/{prefix}?endpoint_override={self.endpoint}"

    def names(self, prefix: str) -> list[str]:
        """The names of the objects below a prefix."""
        chosen = fs.FileSelector(f"{BUCKET}/{prefix}", recursive=True, allow_not_found=True)
        found = self.files.get_file_info(chosen)
        whole = [info.path for info in found if info.type == fs.FileType.File]
        return [path.removeprefix(f"{BUCKET}/{prefix}/") for path in whole]

    def read(self, prefix: str, name: str) -> bytes:
        """The content of an object."""
        with self.files.open_input_stream(f"{BUCKET}/{prefix}/{name}") as stream:
            return bytes(stream.read())

    def write(self, prefix: str, name: str, content: bytes) -> None:
        """Store an object."""
        with self.files.open_output_stream(f"{BUCKET}/{prefix}/{name}") as stream:
            stream.write(content)


@contextmanager
def object_store() -> Iterator[ObjectStore]:
    """A server, ended at the end."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", HOST, "-p", str(port)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        files = fs.S3FileSystem(
            access_key=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            secret_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
            region=CREDENTIALS["AWS_DEFAULT_REGION"],
            endpoint_override=f"http://{HOST}:{port}",
            allow_bucket_creation=True,
            connect_timeout=2,
        )
        until = time.monotonic() + LONGEST_WAIT_S
        while True:
            try:
                files.create_dir(BUCKET)
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > until:
                    raise
        yield ObjectStore(f"http://{HOST}:{port}", files)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture(scope="session")
def store() -> Iterator[ObjectStore]:
    """A server for all tests, each of which has its own prefix."""
    with object_store() as running:
        yield running
