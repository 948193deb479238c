"""A minimal W&B server on the loopback interface, which supports runs without artifacts."""

import gzip
import json
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Service:
    """The state of the server: what clients have sent.

    Attributes:
        url: Address of the server.
        runs: Ids of the runs that were started or resumed.
        history: History rows by run id.
        config: Configuration of the runs, merged.
        exit_codes: Exit codes of finished runs by run id.
        refuse: Whether to refuse all POST requests.
    """

    def __init__(self) -> None:
        self.url = ""
        self.runs: list[str] = []
        self.history: dict[str, list[dict[str, Any]]] = {}
        self.config: dict[str, Any] = {}
        self.exit_codes: dict[str, int] = {}
        self.refuse = False

    def graphql(self, name: str, values: dict[str, Any]) -> dict[str, Any]:
        if name == "RunResumeStatus":
            rows = self.history.get(values["name"])
            return {"model": rows and {"id": "m", "bucket": self._bucket(values["name"], rows)}}
        if name == "UpsertBucket":
            self.runs.append(values["name"])
            self.config.update(json.loads(values["config"] or "{}"))
            project = {"id": "p", "name": values["project"], "entity": {"id": "e", "name": "me"}}
            bucket = {"id": "b", "name": values["name"], "displayName": values["displayName"], "project": project}
            return {"upsertBucket": {"bucket": {**bucket, "historyLineCount": 0, "config": "{}"}, "inserted": True}}
        if name == "CreateRunFiles":
            files = [{"name": file, "uploadUrl": f"{self.url}/upload"} for file in values["files"]]
            return {"createRunFiles": {"runID": "b", "uploadHeaders": [], "files": files}}
        return {}

    @staticmethod
    def _bucket(name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": "b",
            "name": name,
            "historyLineCount": len(rows),
            "eventsLineCount": 0,
            "logLineCount": 0,
            "historyTail": json.dumps([json.dumps(rows[-1])]),
            "eventsTail": "[]",
            "summaryMetrics": "{}",
            "config": "{}",
            "wandbConfig": '{"t": 1}',
            "tags": [],
        }

    def stream(self, run: str, sent: dict[str, Any]) -> None:
        lines = sent.get("files", {}).get("wandb-history.jsonl", {}).get("content", [])
        self.history.setdefault(run, []).extend(json.loads(line) for line in lines)
        if sent.get("complete"):
            self.exit_codes[run] = sent["exitcode"]


@contextmanager
def service() -> Iterator[Service]:
    """Run the server while the context is open."""
    state = Service()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: Any) -> None:
            """Disable request logging."""

        def _handle(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
            code, answer = 200, {}
            if state.refuse and self.command == "POST":
                code = 403
            elif self.path.endswith("/graphql"):
                sent = json.loads(body)
                operation = re.search(r"(?:query|mutation)\s+(\w+)", sent["query"])
                answer = {"data": state.graphql(operation[1] if operation else "", sent.get("variables") or {})}
            elif self.path.endswith("/file_stream"):
                state.stream(self.path.split("/")[-2], json.loads(body))
            content = json.dumps(answer).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = _handle  # noqa: N815

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            if not isinstance(sys.exception(), ConnectionResetError):  # the client has exited
                super().handle_error(request, client_address)

    server = Server(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
