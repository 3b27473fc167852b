"""An ACME server on a machine of its own: Debian's pebble, and a DNS in which a test can point any name anywhere."""

import json

from . import Host

NAME = "acme.example.test"
# What Let's Encrypt answers when somebody asks too often; everything else goes on to pebble.
LIMITED = """\
import http.client, http.server, json, ssl
TOLD = "too many certificates (5) already issued for these identifiers in the last 168h0m0s, retry after 2031-01-02 03:04:05 UTC"
class Request(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        there = http.client.HTTPSConnection("127.0.0.1", 14000, context=ssl._create_unverified_context())
        there.request(self.command, self.path, body, dict(self.headers))
        answer = there.getresponse()
        status, headers, text = answer.status, answer.getheaders(), answer.read()
        if self.path.startswith("/order"):
            status, text = 429, json.dumps({"type": "urn:ietf:params:acme:error:rateLimited", "status": 429, "detail": TOLD}).encode()
            headers = [(k, v) for k, v in headers if k == "Replay-Nonce"] + [("Content-Type", "application/problem+json")]
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in ("content-length", "transfer-encoding"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(b"" if self.command == "HEAD" else text)
    do_HEAD = do_POST = do_GET
server = http.server.ThreadingHTTPServer(("", 14429), Request)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("srv.pem", "srv.key")
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""
CONFIG = {
    "listenAddress": "0.0.0.0:14000",
    "managementListenAddress": "127.0.0.1:15000",
    "certificate": "srv.pem",
    "privateKey": "srv.key",
    "httpPort": 80,
    "tlsPort": 443,
    "ocspResponderURL": "",
    "externalAccountBindingRequired": False,
    "domainBlocklist": ["blocked.example.test"],
    "certificateValidityPeriod": 90 * 86400,
}
# The resolver knows the names of the tests from the mock DNS, and asks for all others where this machine does.
START = """\
set -eu
apt-get -qq update >/dev/null
DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends pebble dnsmasq-base openssl >/dev/null 2>&1
key() { openssl req "$@" -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes 2>/dev/null; }
key -x509 -keyout ca.key -out ca.pem -days 30 -subj "/CN=labfab test CA" -addext basicConstraints=critical,CA:TRUE \
  -addext keyUsage=critical,keyCertSign,cRLSign
key -keyout srv.key -out srv.csr -subj /CN=acme
printf 'subjectAltName=DNS:NAME\\nauthorityKeyIdentifier=keyid\\nextendedKeyUsage=serverAuth\\n' >extensions
openssl x509 -req -in srv.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile extensions -out srv.pem 2>/dev/null
start() { unit=$1; shift; systemd-run -q --unit=$unit --working-directory=/srv/acme "$@"; }
start names pebble-challtestsrv -defaultIPv4 '' -defaultIPv6 '' -dns01 127.0.0.1:8053 -http01 '' -https01 '' -tlsalpn01 '' -doh '' \
  -management 127.0.0.1:8055
start pebble -E PEBBLE_VA_NOSLEEP=1 -E PEBBLE_WFE_NONCEREJECT=0 -E PEBBLE_AUTHZREUSE=0 pebble -config pebble.json -dnsserver 127.0.0.1:8053
start resolver dnsmasq --keep-in-foreground --no-hosts --cache-size=0 --user=root --server=/example.test/127.0.0.1#8053
start limited python3 limited.py
for try in $(seq 50); do [ "$(ss -Hltn | grep -cE ':(14000|14429|8055|53) ')" -ge 4 ] && exit 0; sleep 0.2; done
systemctl --no-pager status names pebble resolver limited; exit 1
""".replace("NAME", NAME)
TELL = """\
import json, sys, urllib.request
for path, body in json.load(sys.stdin):
    urllib.request.urlopen("http://127.0.0.1:8055/" + path, json.dumps(body).encode())
"""
ROOT = """\
import ssl, urllib.request
print(urllib.request.urlopen("https://127.0.0.1:15000/roots/0", context=ssl._create_unverified_context()).read().decode())
"""


class Acme:
    """The server, its names and the authority that its certificates lead to."""

    url = f"https://{NAME}:14000/dir"
    limited = f"https://{NAME}:14429/dir"  # the same, but it gives no certificate for now

    def __init__(self, host: Host) -> None:
        self.host = host
        host.run(
            "mkdir -p /srv/acme && cat >/srv/acme/pebble.json", input=json.dumps({"pebble": CONFIG})
        )
        host.run("cat >/srv/acme/limited.py", input=LIMITED)
        host.run(f"cd /srv/acme && {START}", timeout=180)
        self.ca = host.run("cat /srv/acme/ca.pem") + "\n"
        self.point(NAME, host.address)

    def point(self, name: str, *addresses: str) -> None:
        """Let a name lead to these addresses and to no other."""
        steps = [("clear-a", {"host": f"{name}."})] + [
            ("add-a", {"host": f"{name}.", "addresses": addresses})
        ] * bool(addresses)
        self.host.run(f"python3 -c '{TELL}'", input=json.dumps(steps))

    def is_known_to(self, box: Host) -> None:
        """Let a machine trust this server and ask this DNS, as the internet's machines do with the real ones."""
        box.run(
            "cat >/usr/local/share/ca-certificates/acme.crt && update-ca-certificates >/dev/null 2>&1",
            input=self.ca,
        )
        box.run(f"echo nameserver {self.host.address} >/etc/resolv.conf")

    def root(self) -> str:
        """The authority that a browser would know: a new one with each start of the server."""
        return self.host.run(f"python3 -c '{ROOT}'")
