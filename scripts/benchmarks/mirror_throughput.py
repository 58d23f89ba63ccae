"""How fast a checkpoint goes to an object store and back, beside the client alone.

    .venv/bin/python scripts/benchmarks/mirror_throughput.py [--megabytes 250] [--rounds 5]

The server is one of the tests', on loopback, so the figures compare only with each other. The same
bytes are sent in turn by `obstore.put` and by an upload of ckptkit with its claims and its commit,
and fetched in turn by four threads of ranges and by ckptkit, which also computes the digest and
syncs. Printed are medians of the wall time and of this process's CPU time in seconds, and the
largest memory that this process has used.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import obstore  # noqa: E402
from obstore.store import GCSStore, S3Store  # noqa: E402

from ckptkit.clock import SystemClock  # noqa: E402
from ckptkit.layout import RunLayout  # noqa: E402
from ckptkit.mirror.checkpoint_fetch import fetch_files  # noqa: E402
from ckptkit.mirror.obstore_client import CONNECTIONS, PART_BYTES, ObstoreObjects  # noqa: E402
from ckptkit.mirror.store_claim import StoreClaimHolder  # noqa: E402
from ckptkit.mirror.store_url import parse_store_url  # noqa: E402
from ckptkit.mirror.stored_commits import StoredCommits  # noqa: E402
from ckptkit.run.commit import begin_writing, commit  # noqa: E402
from ckptkit.run.manifest import Manifest  # noqa: E402
from ckptkit.storage.files import FileSystem  # noqa: E402
from tests.support.store_servers import (  # noqa: E402
    BUCKET,
    StoreServer,
    environment,
    gcs_server,
    s3_server,
)

Timed = tuple[float, float]


def timed(action: Callable[[], object]) -> Timed:
    wall, cpu = time.monotonic(), time.process_time()
    action()
    return time.monotonic() - wall, time.process_time() - cpu


def make_checkpoint(directory: Path, step: int, size_bytes: int) -> Path:
    files, layout = FileSystem(), RunLayout(directory)
    written = begin_writing(files, layout, 1)
    with (written / f"ckpt-{step}.data-00000-of-00001").open("wb") as file:
        for start in range(0, size_bytes, PART_BYTES):
            file.write(os.urandom(min(PART_BYTES, size_bytes - start)))
    (written / f"ckpt-{step}.index").write_bytes(b"index")
    manifest = Manifest(
        step=step, epoch=0, batch=0, attempt=1, saved_at=time.time(), trigger="benchmark",
        states=(), tensors=(),
    )  # fmt: skip
    return layout.checkpoint(commit(files, layout, manifest).name)


def fetch_alone(store: S3Store | GCSStore, key: str, size_bytes: int, target: Path) -> None:
    """Fetch an object with ranges in parallel, as fast as the client can."""
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)

    def part(start: int) -> None:
        data = obstore.get_range(store, key, start=start, end=min(start + PART_BYTES, size_bytes))
        os.pwrite(descriptor, data, start)

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        list(pool.map(part, range(0, size_bytes, PART_BYTES)))
    os.fsync(descriptor)
    os.close(descriptor)


def measure(
    server: StoreServer, directory: Path, size_bytes: int, rounds: int
) -> dict[str, list[Timed]]:
    place = parse_store_url(server.url(f"runs/{uuid.uuid4().hex}"))
    objects, clock, files = ObstoreObjects(place, server.options), SystemClock(), FileSystem()
    make: Any = S3Store if server.scheme == "s3" else GCSStore
    bare = make(BUCKET, prefix=f"bare/{uuid.uuid4().hex}", **server.options)
    holder = StoreClaimHolder(objects, 1, clock, 60.0)
    holder.take(0)
    commits = StoredCommits(objects, holder, clock)
    found: dict[str, list[Timed]] = {
        "put alone": [], "upload": [], "get alone": [], "fetch": [],
    }  # fmt: skip
    for step in range(1, rounds + 1):
        checkpoint = make_checkpoint(directory / "run", step, size_bytes)
        data = checkpoint / f"ckpt-{step}.data-00000-of-00001"

        def put(key: str = f"{step}", data: Path = data) -> None:
            obstore.put(bare, key, data, chunk_size=PART_BYTES, max_concurrency=CONNECTIONS)

        def upload(checkpoint: Path = checkpoint) -> None:
            commits.upload(checkpoint)

        def get(key: str = f"{step}") -> None:
            fetch_alone(bare, key, size_bytes, directory / "alone")

        def fetch(step: int = step) -> None:
            target = directory / f"fetched-{step}"
            target.mkdir()
            fetch_files(objects, commits.commits[-1], target, files)

        # In turn, and the other way round in every second round.
        pairs: list[tuple[tuple[str, Callable[[], None]], ...]] = [
            (("put alone", put), ("upload", upload)),
            (("get alone", get), ("fetch", fetch)),
        ]
        for pair in pairs:
            for name, action in pair if step % 2 else reversed(pair):
                found[name].append(timed(action))
        obstore.delete(bare, f"{step}")
        commits.remove(commits.commits[-1].name.checkpoint)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=250)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--server", choices=("s3", "gcs"), default="s3")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        directory = Path(made)
        start = s3_server if arguments.server == "s3" else gcs_server
        with start(directory) as server, environment(server.env):
            found = measure(server, directory, arguments.megabytes * 10**6, arguments.rounds)
    medians = {}
    for name, times in found.items():
        wall, cpu = (statistics.median(each) for each in zip(*times, strict=True))
        medians[name] = wall
        print(f"{name:10} {wall:7.2f} s wall {cpu:7.2f} s CPU")
    for alone, ours in (("put alone", "upload"), ("get alone", "fetch")):
        print(f"{ours}: {medians[alone] / medians[ours]:.2f} of the speed of the client alone")
    print(f"memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000:.0f} MB at most")


if __name__ == "__main__":
    main()
