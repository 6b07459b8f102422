"""A server on this machine, for tests of downloads."""

import threading
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer


class SilentHandler(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


class SilentServer(ThreadingHTTPServer):
    def handle_error(self, request, client_address):
        pass  # of a client that hangs up


@contextmanager
def served(folder, handler=SilentHandler):
    """Yields the URL of a server that hands out the files of a folder."""
    server = SilentServer(("127.0.0.1", 0), partial(handler, directory=folder))
    threading.Thread(target=partial(server.serve_forever, poll_interval=0.02), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
