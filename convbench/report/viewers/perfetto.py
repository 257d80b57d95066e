"""A page on loopback that hands a trace to the Perfetto viewer by postMessage: the file never leaves the machine.

The viewer itself comes from the network; the page says so, and offers the file for other viewers. Never imports torch.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from convbench.measure.traces import trace
from convbench.report.viewers.loopback import LOOPBACK, port_error

VIEWER = "https://ui.perfetto.dev"
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{name}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 40rem; margin: 3rem auto; padding: 0 1rem }}
button {{ font: inherit; padding: .4rem 1rem }}</style></head>
<body><h1>{name}</h1>
<p><button id="open">Open in Perfetto</button> loads the viewer from {viewer}; the trace goes from this page to that
tab and nowhere else.</p>
<p id="state" role="status">Offline? <a href="trace" download="{name}">Download the trace</a> for a viewer of your
own.</p>
<script>
const viewer = {viewer_json}, name = {name_json}, state = document.getElementById("state");
async function hand_over() {{
  const tab = window.open(viewer);
  if (!tab) {{ state.textContent = "The browser blocked the new tab: allow it for this page."; return; }}
  const buffer = await (await fetch("trace")).arrayBuffer();
  state.textContent = "Waiting for the viewer ...";
  const ping = setInterval(() => tab.postMessage("PING", viewer), 50);
  window.addEventListener("message", (message) => {{
    if (message.origin !== viewer || message.data !== "PONG") return;
    clearInterval(ping);
    tab.postMessage({{ perfetto: {{ buffer, title: name, fileName: name }} }}, viewer);
    state.textContent = "The trace is open in the other tab.";
  }});
}}
document.getElementById("open").addEventListener("click", hand_over);
</script></body></html>
"""


@contextmanager
def server(path: Path, port: int) -> Iterator[tuple[ThreadingHTTPServer, str]]:
    """Yield a server of the page and of the trace at ``path`` on loopback, and its address; it serves nothing else.

    Raises ConvbenchError for a trace that cannot be read, or a port that cannot be used.
    """
    trace.refuse_broken(path)
    try:
        http_server = _Server((LOOPBACK, port), partial(_Handler, path))
    except OSError as error:
        raise port_error(port, error) from error
    with http_server:
        yield http_server, f"http://{LOOPBACK}:{http_server.server_address[1]}/"


def page(name: str) -> str:
    """Return the page for a trace with that name, which may contain any characters."""
    name_json = json.dumps(name).replace("<", "\\u003c")
    return PAGE.format(
        name=html.escape(name, quote=True), name_json=name_json, viewer=VIEWER, viewer_json=json.dumps(VIEWER)
    )


class _Server(ThreadingHTTPServer):
    def handle_error(self, *args: object) -> None:
        """Print nothing: a browser that goes away, or a removed trace, is no error for the terminal."""


class _Handler(BaseHTTPRequestHandler):
    def __init__(self, path: Path, *args: object) -> None:
        self.file = path
        super().__init__(*args)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        if not self._is_ours():
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST)
            return
        match self.path:
            case "/":
                self._answer(page(self.file.name).encode(), "text/html; charset=utf-8")
            case "/trace":
                self._answer(self.file.read_bytes(), "application/octet-stream")
            case _:
                self.send_error(HTTPStatus.NOT_FOUND)

    def _is_ours(self) -> bool:
        """Whether the browser asked for this very address: a foreign name that resolves to loopback is an attack."""
        port = self.connection.getsockname()[1]
        return self.headers.get("Host", "") in {f"{name}:{port}" for name in (LOOPBACK, "localhost")}

    def _answer(self, content: bytes, kind: str) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        """Print nothing: the terminal belongs to the command line."""
