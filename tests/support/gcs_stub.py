"""A server that speaks the part of Google Cloud Storage's XML API that obstore uses.

`python gcs_stub.py PORT UNAVAILABLE LOST SEED`: with which probability a request is answered by
503, and with which a request that changes something is done and its answer is lost.
"""

from __future__ import annotations

import email.utils
import hashlib
import itertools
import random
import sys
import threading
import time
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType
from typing import Any
from xml.sax.saxutils import escape

PAGE = 100
"""Keys in one answer to a listing: few, so that every listing of a run has several pages."""


@dataclass(frozen=True)
class Stored:
    data: bytes
    generation: int
    time: float

    @property
    def etag(self) -> str:
        return f'"{hashlib.md5(self.data).hexdigest()}"'

    @property
    def headers(self) -> dict[str, str]:
        return {
            "ETag": self.etag,
            "x-goog-generation": str(self.generation),
            "Last-Modified": email.utils.formatdate(self.time, usegmt=True),
            "Content-Type": "application/octet-stream",
        }


class Bucket:
    """All objects, and the uploads in parts that are not complete."""

    def __init__(self, unavailable: float, lost: float, seed: int) -> None:
        self.lock = threading.Lock()
        self.objects: dict[str, Stored] = {}
        self.uploads: dict[str, dict[int, bytes]] = {}
        self.generations = itertools.count(1)
        self.unavailable, self.lost = unavailable, lost
        self.random = random.Random(seed)

    def store(self, key: str, data: bytes, wanted: str | None) -> Stored | None:
        """Store an object if its generation is the wanted one."""
        with self.lock:
            now = self.objects.get(key)
            if wanted is not None and int(wanted) != (now.generation if now else 0):
                return None
            made = self.objects[key] = Stored(data, next(self.generations), time.time())
            return made


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    bucket: Bucket

    def log_message(self, *arguments: Any) -> None:
        return None

    # -- faults

    def parse_request(self) -> bool:
        parsed = super().parse_request()
        if parsed and self.bucket.random.random() < self.bucket.unavailable:
            self._body()
            self._answer(503, lose=False)
            return False
        return parsed

    def _answer(
        self,
        code: int,
        body: bytes = b"",
        headers: Mapping[str, str] = MappingProxyType({}),
        *,
        lose: bool = True,
    ) -> None:
        changes = self.command in ("PUT", "POST", "DELETE")
        if lose and changes and self.bucket.random.random() < self.bucket.lost:
            self.close_connection = True
            self.connection.shutdown(2)
            return
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        if "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    # -- requests

    def _parts(self) -> tuple[str, dict[str, str]]:
        split = urllib.parse.urlsplit(self.path)
        _, _, key = split.path.lstrip("/").partition("/")
        query = urllib.parse.parse_qsl(split.query, keep_blank_values=True)
        return urllib.parse.unquote(key), dict(query)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while length := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(length))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def do_PUT(self) -> None:
        key, query = self._parts()
        data = self._body()
        if "uploadId" in query:
            self.bucket.uploads[query["uploadId"]][int(query["partNumber"])] = data
            self._answer(200, headers={"ETag": f'"{hashlib.md5(data).hexdigest()}"'})
            return
        made = self.bucket.store(key, data, self.headers.get("x-goog-if-generation-match"))
        if made is None:
            self._answer(412)
        else:
            self._answer(200, headers=made.headers)

    def do_POST(self) -> None:
        key, query = self._parts()
        self._body()
        if "uploads" in query:
            upload = hashlib.md5(f"{key}{next(self.bucket.generations)}".encode()).hexdigest()
            self.bucket.uploads[upload] = {}
            self._answer(
                200,
                f"<InitiateMultipartUploadResult><Key>{escape(key)}</Key>"
                f"<UploadId>{upload}</UploadId></InitiateMultipartUploadResult>".encode(),
            )
            return
        parts = self.bucket.uploads.get(query["uploadId"])
        if parts is None:
            self._answer(404)
            return
        made = self.bucket.store(key, b"".join(parts[number] for number in sorted(parts)), None)
        assert made is not None
        self._answer(
            200,
            f"<CompleteMultipartUploadResult><ETag>{made.etag}</ETag>"
            "</CompleteMultipartUploadResult>".encode(),
            {"x-goog-generation": str(made.generation)},
        )

    def do_GET(self) -> None:
        key, query = self._parts()
        if not key:
            self._list(query)
            return
        stored = self.bucket.objects.get(key)
        if stored is None:
            self._answer(404)
            return
        size = len(stored.data)
        wanted = self.headers.get("Range")
        if self.command == "HEAD":
            self._answer(200, headers={**stored.headers, "Content-Length": str(size)})
        elif wanted:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start, end = int(first), min(int(last or size), size - 1)
            self._answer(
                206,
                stored.data[start : end + 1],
                {**stored.headers, "Content-Range": f"bytes {start}-{end}/{size}"},
            )
        else:
            self._answer(200, stored.data, stored.headers)

    do_HEAD = do_GET  # noqa: N815

    def do_DELETE(self) -> None:
        key, query = self._parts()
        if "uploadId" in query:
            self.bucket.uploads.pop(query["uploadId"], None)
            self._answer(204)
        else:
            self._answer(204 if self.bucket.objects.pop(key, None) else 404)

    def _list(self, query: dict[str, str]) -> None:
        prefix, after = query.get("prefix", ""), query.get("continuation-token", "")
        with self.bucket.lock:
            keys = sorted(key for key in self.bucket.objects if key.startswith(prefix))
            page = [key for key in keys if key > after]
            more, page = len(page) > PAGE, page[:PAGE]
            rows = [(key, self.bucket.objects[key]) for key in page]
        text = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{len(each.data)}</Size>"
            f"<ETag>{escape(each.etag)}</ETag><Generation>{each.generation}</Generation>"
            f"<LastModified>{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(each.time))}.000Z"
            "</LastModified></Contents>"
            for key, each in rows
        )
        if more:
            text += f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>"
        self._answer(200, f"<ListBucketResult>{text}</ListBucketResult>".encode())


if __name__ == "__main__":
    port, unavailable, lost, seed = sys.argv[1:]
    Handler.bucket = Bucket(float(unavailable), float(lost), int(seed))
    ThreadingHTTPServer(("127.0.0.1", int(port)), Handler).serve_forever()
