"""A store of objects on loopback, as S3-compatible ones are, that tests may damage, empty and stop."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

BUCKET = "bucket"
SECRET = "canary-3f9b-secret"
"""What stands for a secret key: no file and no message may hold it."""


class Store:
    """A running server with one bucket."""

    def __init__(self) -> None:
        import boto3
        from moto.server import ThreadedMotoServer

        self._server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
        self._server.start()
        host, port = self._server.get_host_and_port()
        self.endpoint = f"http://{host}:{port}"
        requests.post(f"{self.endpoint}/moto-api/reset", timeout=10)  # one memory for all servers
        self.client: Any = boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id="canary-id",
            aws_secret_access_key=SECRET,
        )
        self.client.create_bucket(Bucket=BUCKET)

    @property
    def variables(self) -> dict[str, str]:
        """Return what a process needs to use the store."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "canary-id",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def names(self, part: str = "") -> list[str]:
        found = self.client.list_objects_v2(Bucket=BUCKET, Prefix=part)
        return [entry["Key"] for entry in found.get("Contents", [])]

    def read(self, name: str) -> bytes:
        data: bytes = self.client.get_object(Bucket=BUCKET, Key=name)["Body"].read()
        return data

    def write(self, name: str, data: bytes) -> None:
        self.client.put_object(Bucket=BUCKET, Key=name, Body=data)

    def harm(self, name: str, how: str) -> None:
        """Cut an object, flip a bit of it, or take it away."""
        if how == "gone":
            self.client.delete_object(Bucket=BUCKET, Key=name)
            return
        data = self.read(name)
        at = len(data) // 2
        cut = data[:at]
        self.write(name, cut if how == "cut" else cut + bytes([data[at] ^ 1]) + data[at + 1 :])

    def remove_bucket(self) -> None:
        """Remove the bucket, also while somebody goes on writing to it."""
        while True:
            for name in self.names():
                self.client.delete_object(Bucket=BUCKET, Key=name)
            try:
                self.client.delete_bucket(Bucket=BUCKET)
                return
            except self.client.exceptions.ClientError as error:
                if error.response["Error"]["Code"] != "BucketNotEmpty":
                    raise

    def stop(self) -> None:
        self._server.stop()


@contextmanager
def serving(patch: pytest.MonkeyPatch) -> Iterator[Store]:
    """Run a store, with what this process and those that it starts need to use it."""
    store = Store()
    for name, value in store.variables.items():
        patch.setenv(name, value)
    patch.setenv("NO_PROXY", "127.0.0.1")
    try:
        yield store
    finally:
        threading.Thread(target=store.stop).start()  # it looks twice a second whether it is to end
        _forget()


def _forget() -> None:
    """Let no later test meet a file system that fsspec made for this server."""
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()


def machine(patch: pytest.MonkeyPatch, folder: Path) -> Path:
    """Be on a machine of its own from here on: its cache folder is another."""
    patch.setenv("XDG_CACHE_HOME", str(folder))
    os.makedirs(folder, exist_ok=True)
    return folder
