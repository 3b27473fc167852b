"""A squatter: another account of a host takes JupyterLab's port or socket and writes down all that it hears."""

import shlex

from .host import Host

HEARD = "/tmp/heard"
# Answers as JupyterLab would: a version to everybody, a login page, 403 to a stranger.
PROGRAM = """\
import http.server, os, socketserver, sys
if len(sys.argv) > 3:
    open("/proc/self/comm", "w").write(sys.argv[3])
class Squatter(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        length = int(self.headers.get("Content-Length") or 0)
        with open(sys.argv[2], "ab") as heard:
            heard.write(f"{self.command} {self.path}\\n{self.headers}\\n".encode())
            heard.write(self.rfile.read(length) + b"\\n")
        code = 403 if "status" in self.path else 200
        text = b'{"version": "2.21.1"}'
        self.send_response(code)
        self.send_header("Content-Length", str(len(text)))
        self.send_header("Set-Cookie", "_xsrf=x")
        self.end_headers()
        self.wfile.write(text)
    do_POST = do_PUT = do_DELETE = do_GET
    def log_message(self, *_):
        pass
if sys.argv[1].isdigit():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Squatter)
else:
    server = socketserver.ThreadingUnixStreamServer(sys.argv[1], Squatter)
    os.chmod(sys.argv[1], 0o777)
server.serve_forever()
"""
TAKE = """
rm -f %(heard)s
cat >/tmp/squatter.py
chmod 644 /tmp/squatter.py
for i in $(seq 100); do ss -Hltn 'sport = :%(port)d' | grep -q . || break; sleep 0.1; done
runuser -u %(account)s -- python3 /tmp/squatter.py %(port)d %(heard)s %(name)s >/dev/null 2>&1 </dev/null &
for i in $(seq 100); do curl -s http://127.0.0.1:%(port)d/api >/dev/null && exit 0; sleep 0.1; done
exit 1
"""
PLANT = """
rm -f %(heard)s
cat >/tmp/squatter.py
chmod 644 /tmp/squatter.py
runuser -u %(account)s -- sh -c 'rm -f %(path)s; exec python3 /tmp/squatter.py %(path)s %(heard)s' \
  >/dev/null 2>&1 </dev/null &
for i in $(seq 100); do
  curl -s --unix-socket %(path)s http://localhost/api >/dev/null && exit 0; sleep 0.1
done
exit 1
"""
LEAVE = "pkill -u %s -f [s]quatter.py; rm -f %s"


def take(host: Host, account: str, port: int = 9999, name: str = "") -> None:
    """Let an account listen at a port, once nobody else does. name: what the program calls itself."""
    given = {
        "account": account,
        "port": port,
        "heard": HEARD,
        "name": shlex.quote(name) * bool(name),
    }
    host.run(TAKE % given, input=PROGRAM)


def plant(host: Host, account: str, path: str) -> None:
    """Let an account listen at a Unix socket, in the place of one that is there."""
    host.run(PLANT % {"account": account, "path": path, "heard": HEARD}, input=PROGRAM)


def leave(host: Host, account: str) -> None:
    """End the squatter."""
    host.run(LEAVE % (account, HEARD))


def heard(host: Host) -> str:
    """All that was said to the squatter."""
    return host.run(f"cat {HEARD}")
