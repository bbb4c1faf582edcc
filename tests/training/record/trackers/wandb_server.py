"""As much of a W&B server as its client needs to send runs to: it keeps their history."""

import contextlib
import gzip
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Sent:
    """A run as it was sent.

    Attributes:
        about: The variables of the last mutation: names, W&B group, configuration.
        history: The rows, each as it was sent last.
        exit_code: None until the run has ended.
    """

    about: dict[str, Any] = field(default_factory=dict)
    history: dict[int, dict[str, Any]] = field(default_factory=dict)
    exit_code: int | None = None

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows in the order of the lines that the client says they are."""
        return [self.history[line] for line in sorted(self.history)]


class _Server(ThreadingHTTPServer):
    runs: dict[str, Sent]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        answer: dict[str, Any] = {}
        if self.path == "/graphql":
            answer = {"data": self._answer(**json.loads(body))}
        elif self.path.endswith("/file_stream"):
            self._keep(self.path.split("/")[-2], json.loads(body))
        content = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_PUT(self) -> None:
        self.do_POST()

    def log_message(self, *_: Any) -> None:
        pass

    def _answer(
        self, query: str, variables: dict[str, Any] | None = None, **_: Any
    ) -> dict[str, Any]:
        variables = variables or {}
        if "upsertBucket" in query:
            about = {name: variables[name] for name in variables if variables[name] is not None}
            self.server.runs.setdefault(variables["name"], Sent()).about.update(about)
            project = {"id": "p", "name": variables["project"], "entity": {"id": "e", "name": "me"}}
            names = {name: variables[name] for name in ("name", "displayName", "config")}
            return {"upsertBucket": {"bucket": {"id": "b", "project": project, **names}}}
        if "RunResumeStatus" in query:
            return {"model": {"id": "p", "name": "p", "bucket": self._resumed(variables["name"])}}
        if "createRunFiles" in query:
            url = f"http://127.0.0.1:{self.server.server_port}/upload"
            files = [{"name": name, "uploadUrl": url} for name in variables["files"]]
            return {"createRunFiles": {"runID": "b", "uploadHeaders": [], "files": files}}
        viewer = {"id": "v", "entity": "me", "username": "me", "flags": "{}"}
        return {"viewer": viewer, "serverInfo": {"features": []}}

    def _resumed(self, name: str) -> dict[str, Any] | None:
        if name not in self.server.runs:
            return None
        run = self.server.runs[name]
        return {
            "id": "b",
            "name": name,
            "summaryMetrics": "{}",
            "displayName": run.about["displayName"],
            "logLineCount": 0,
            "historyLineCount": len(run.history),
            "eventsLineCount": 0,
            "historyTail": json.dumps([json.dumps(run.rows[-1])]),
            "eventsTail": "[]",
            "config": run.about["config"],
            "tags": [],
            "wandbConfig": "{}",
        }

    def _keep(self, name: str, sent: dict[str, Any]) -> None:
        run = self.server.runs[name]
        lines = sent.get("files", {}).get("wandb-history.jsonl")
        if lines:
            for number, line in enumerate(lines["content"], lines["offset"]):
                run.history[number] = json.loads(line)
        if sent.get("complete"):
            run.exit_code = sent["exitcode"]


@contextlib.contextmanager
def serving() -> Iterator[tuple[str, dict[str, Sent]]]:
    """Serves as long as it lasts; gives the address, and {id: run} of what was sent."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.runs = {}
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", server.runs
    server.shutdown()
    server.server_close()
