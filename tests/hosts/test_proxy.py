"""JupyterLab behind Apache, beside sites that are there already: they lose nothing, it is whole, and it goes again without a trace."""

import base64
import hashlib
import http.client
import json
import os
import random
import re
import socket
import ssl
import time
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import quote

import pytest
import websocket

from labfab.errors import SetupError
from labfab.laptop import bounded, kernel
from tests.rig import Host, probes
from tests.rig.fab import Fab, Run
from tests.rig.snapshot import snapshot

pytestmark = pytest.mark.host

NAME, URL = "lab.example.test", "https://lab.example.test/jupyter/"
ENV = {"LABFAB_PYTHON": "venv", "LABFAB_UPDATE": "false", "LABFAB_NAMES": NAME}
ALONE = {"LABFAB_PUBLISH": "apache", "LABFAB_BASE_URL": "/jupyter/"}
IMPATIENT = 4  # seconds after which the Apache of the test gives up on a silent line, but for ours
# Debian's page, a site by name, a site with TLS by name, and a challenge of a certificate authority.
SITES = rf"""
set -eu; export DEBIAN_FRONTEND=noninteractive
apt-get update -qq && apt-get install -y -qq --no-install-recommends apache2 openssl >/dev/null 2>&1
mkdir -p /srv/shop /srv/secure /var/www/html/.well-known/acme-challenge /etc/ssl/secure
echo 'the shop' >/srv/shop/index.html; echo 'the bank' >/srv/secure/index.html
echo token >/var/www/html/.well-known/acme-challenge/token
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 9 -subj /CN=secure.example.test \
  -keyout /etc/ssl/secure/key.pem -out /etc/ssl/secure/cert.pem 2>/dev/null
site() {{
  printf '<VirtualHost *:%s>\n%s\nDocumentRoot %s\n<Directory %s>\nRequire all granted\n</Directory>\n</VirtualHost>\n' \
    "$2" "$4" "$3" "$3" >/etc/apache2/sites-available/$1.conf
}}
site shop 80 /srv/shop 'ServerName shop.example.test'
site secure 443 /srv/secure 'ServerName secure.example.test
SSLEngine on
SSLCertificateFile /etc/ssl/secure/cert.pem
SSLCertificateKeyFile /etc/ssl/secure/key.pem'
printf 'Timeout {IMPATIENT}\nRequestReadTimeout header=3 body=3,MinRate=500\n' >/etc/apache2/conf-enabled/impatient.conf
a2enmod -q ssl; a2ensite -q shop secure; systemctl restart apache2
"""
# No address of this host: Apache's test of its configuration passes, its start fails.
BIND = "printf '\\n<IfModule proxy_http_module>\\nListen 198.51.100.7:8444\\n</IfModule>\\n' >>/etc/apache2/ports.conf"


class Answer(NamedTuple):
    """What a web server says to a visitor who looks at no certificate."""

    status: int
    body: str
    certificate: str  # its SHA-256
    location: str


def ask(box: Host, name: str, path: str = "/", tls: bool = False, sni: str = "") -> Answer:
    """Ask for a path under a name, whatever name servers say of it."""
    line = socket.create_connection((box.address, 443 if tls else 80), timeout=10)
    shown = ""
    if tls:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        line = context.wrap_socket(line, server_hostname=sni or None)
        shown = hashlib.sha256(line.getpeercert(binary_form=True)).hexdigest()
    with closing(http.client.HTTPConnection(name)) as web:
        web.sock = line
        web.request("GET", path)
        found = web.getresponse()
        return Answer(
            found.status,
            found.read().decode(errors="replace"),
            shown,
            found.headers.get("location", ""),
        )


def answers(box: Host) -> dict[str, Answer]:
    """What the sites that are not ours say, by name, by a name that nobody knows, by address, and ours at its root."""
    plain = [
        ("shop.example.test", "/"),
        ("shop.example.test", "/jupyter/"),
        (NAME, "/"),
        ("who.example.test", "/jupyter/lab"),
    ]
    plain += [(box.address, "/"), (NAME, "/.well-known/acme-challenge/token")]
    found = {f"http://{name}{path}": ask(box, name, path) for name, path in plain}
    for name, sni in (("secure.example.test",) * 2, ("who.example.test",) * 2, (box.address, "")):
        found[f"https://{name}/"] = ask(box, name, "/", tls=True, sni=sni)
    return found


@dataclass
class Web:
    """A machine with sites of its own, and what it was like before we came."""

    host: Host
    fab: Fab
    before: set[str]
    said: dict[str, Answer]

    def run(self, *words: str, **env: str) -> Run:
        """Type a command with the recipe, to the host as it is known at first."""
        return self.fab.on(self.host, "-f", "config/apache.yaml", *words, env=ENV | env)

    def later(self, *words: str, **env: str) -> Run:
        return self.fab("-f", "config/apache.yaml", "-H", "homelab", *words, env=ENV | env)

    @property
    def tls(self) -> ssl.SSLContext:
        """Trust the CA of this lab and no other."""
        return ssl.create_default_context(
            cafile=str(self.fab.home / ".config/labfab/homelab/ca.pem")
        )

    @contextmanager
    def visitor(self):
        """Log in as a browser does, with the certificate looked at."""
        password = (self.fab.home / ".config/labfab/homelab/jupyter-password").read_text().strip()
        with closing(kernel.login(URL, password, self.tls, self.host.address)) as client:
            yield client

    def socket(self, client, path: str):
        return kernel.connect(client, path, tls=self.tls, address=self.host.address)

    def computes(self, client) -> bool:
        a, b = random.randrange(10**6, 10**9), random.randrange(10**6, 10**9)
        return kernel.execute(client, f"{a} * {b}", self.tls, self.host.address) == str(a * b)


@pytest.fixture(scope="module")
def web(module_host, module_fab):
    """Boot a machine and give it its sites."""
    box = module_host("debian12", "web")
    if box.port != 22:
        pytest.skip("this engine shows the published ports only, and 80 and 443 are none of them")
    box.run(SITES)
    said = answers(box)
    assert (
        said["http://shop.example.test/"].body == "the shop\n"
        and said["https://secure.example.test/"].body == "the bank\n"
    )
    return Web(box, module_fab, snapshot(box), said)


@pytest.fixture(scope="module")
def lab(web):
    """The same machine, set up by the recipe."""
    web.run("setup.full").ok()
    return web


def header(client) -> dict[str, str]:
    return {"X-XSRFToken": client.cookies["_xsrf"]}


# What would not work, or would hurt another site, is refused ------------------------------------------

ONE_LINE = re.compile(r"root@[0-9.]+: .*\n?\Z")
IN_PORTS = "sed -i 's/Listen 443/#Listen 443/' /etc/apache2/ports.conf"
GUIDE = "printf '<Location /jupyter>\\nProxyPass http://localhost:8888/jupyter\\n</Location>\\n' >/etc/apache2/conf-enabled/jupyter.conf"
FAULTS = {
    "nothing to publish": ("true", {"LABFAB_PUBLISH": "tunnel"}, "set publish: apache"),
    "a name of somebody else": (
        "true",
        {"LABFAB_NAMES": "secure.example.test"},
        "secure.conf:1 serves secure.example.test at 443",
    ),
    "an address": (
        "true",
        {"LABFAB_NAMES": ""},
        "reach /etc/apache2/sites-enabled/secure.conf:1 at 443",
    ),
    "a fault of before": (
        "echo Foo bar >/etc/apache2/conf-enabled/bad.conf",
        {},
        "Invalid command 'Foo'",
    ),
    "the lines of the guide": (
        f"{GUIDE}; a2enmod -q proxy_http",
        {},
        "conf-enabled/jupyter.conf:2 passes requests to port 8888",
    ),
    "no Listen": (IN_PORTS, {}, "add the line `Listen 443`"),
    "no certificate": ("true", {}, "https.issue"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_what_would_not_work_is_refused_and_nothing_is_touched(web, case):
    """Before a single change, in one line that says what to do."""
    spoil, env, words = FAULTS[case]
    web.host.run(f"cp -a /etc/apache2 /srv/apache2; ({spoil}) >/dev/null")
    files = web.host.checksums()
    try:
        said = web.run("proxy.apache", **env).fails(words)
        assert ONE_LINE.search(said.err) and web.host.checksums() == files
    finally:
        web.host.run("rm -rf /etc/apache2 && mv /srv/apache2 /etc/apache2")


def test_a_port_of_somebody_else_stops_the_whole_setup_at_once(web):
    """Apache, told to listen where it cannot, would end with all its sites."""
    web.host.run(
        "systemctl stop apache2; cd /srv/shop; nohup python3 -m http.server 80 >/dev/null 2>&1 & echo $! >/run/holder; sleep 1"
    )
    files = web.host.checksums()
    said = web.run("setup.full").fails("port 80 is held by python3")
    assert ONE_LINE.search(said.err) and web.host.checksums() == files
    web.host.run("kill $(cat /run/holder); systemctl start apache2")


# The lab, used ---------------------------------------------------------------------------------------


def test_a_browser_logs_in_through_apache_and_every_cookie_is_kept_to_https(lab):
    with lab.visitor() as client:
        assert client.cookies and all(
            cookie.secure and cookie.path == "/jupyter/" for cookie in client.cookies.jar
        )
        assert lab.computes(client)


def test_a_wrong_password_opens_nothing(lab):
    with pytest.raises(SetupError, match="refuses the password"):
        kernel.login(URL, "wrong-password-wrong", lab.tls, lab.host.address)


def test_every_websocket_reaches_jupyter(lab):
    """A terminal answers, events open, any other path gets its answer from Jupyter; none without the password."""
    with lab.visitor() as client:
        name = client.post("api/terminals", headers=header(client)).json()["name"]
        with closing(lab.socket(client, f"terminals/websocket/{name}")) as terminal:
            assert typed(terminal, "echo $((6 * 7))$((6 * 7))", "4242")
        lab.socket(client, "api/events/subscribe").close()
        with pytest.raises(websocket.WebSocketBadStatusException) as error:
            lab.socket(client, f"some/extension/ws/{random.randrange(10**6)}")
        assert error.value.status_code == 404 and error.value.resp_headers["server"].startswith(
            "TornadoServer"
        )
        client.cookies.clear()
        for path in (f"terminals/websocket/{name}", "api/events/subscribe"):
            with pytest.raises(websocket.WebSocketBadStatusException) as error:
                lab.socket(client, path)
            assert error.value.status_code == 403


def typed(terminal, line: str, awaited: str) -> bool:
    """Type into a terminal and read until it says what is awaited."""
    terminal.settimeout(20)
    terminal.send(json.dumps(["stdin", f"{line}\n"]))
    said = ""
    while awaited not in said:
        said += "".join(str(part) for part in json.loads(terminal.recv())[1:])
    return True


def test_a_silent_terminal_stays_open(lab):
    """This Apache gives up on silent lines soon; on ours it does not."""
    with lab.visitor() as client:
        name = client.post("api/terminals", headers=header(client)).json()["name"]
        with closing(lab.socket(client, f"terminals/websocket/{name}")) as terminal:
            assert typed(terminal, "echo $((6 * 7))$((6 * 7))", "4242")
            time.sleep(2 * IMPATIENT)
            assert typed(terminal, "echo $((6 * 8))$((6 * 8))", "4848")


def test_files_of_any_name_and_many_megabytes_come_and_go_unharmed(lab, monkeypatch):
    monkeypatch.setattr(bounded, "LARGEST", 2**27)  # labfab itself never asks for that much
    name, data = quote("100% #1? ä; b+c.bin"), os.urandom(40 * 2**20)
    with lab.visitor() as client:
        model = {"type": "file", "format": "base64", "content": base64.b64encode(data).decode()}
        assert (
            client.put(f"api/contents/{name}", headers=header(client), json=model).status_code
            == 201
        )
        assert (
            client.get(f"files/{name}", params={"_xsrf": client.cookies["_xsrf"]}).content == data
        )
        assert client.delete(f"api/contents/{name}", headers=header(client)).status_code == 204
    assert lab.host.run("ls /home/jupyter/notebooks") == ""


def test_after_a_restart_of_jupyterlab_nobody_waits(lab):
    """Apache forgets at once that nobody answered."""
    lab.later("lab.stop").ok()
    assert ask(lab.host, NAME, "/jupyter/api", tls=True, sni=NAME).status == 503
    lab.later("lab.start").ok()
    assert ask(lab.host, NAME, "/jupyter/api", tls=True, sni=NAME).status == 200


# Beside the other sites ------------------------------------------------------------------------------


def test_the_other_sites_answer_as_before_and_their_files_are_the_same(lab):
    assert answers(lab.host) == lab.said
    changed = {
        found[0]
        for line in snapshot(lab.host) ^ lab.before
        if (found := re.search(r"etc/apache2/\S+", line))
    }
    ours = re.compile(
        r"etc/apache2/(sites-\w+/zz-labfab\.conf|mods-enabled/(headers|proxy|proxy_http)\.(load|conf))"
    )
    assert changed and [path for path in changed if not ours.fullmatch(path)] == []


def test_plain_http_leads_to_https_and_shows_nothing_of_jupyter(lab):
    for path in ("/jupyter", "/jupyter/lab?a=b%20c", "/jupyter/api"):
        found = ask(lab.host, NAME.upper(), path)
        assert (found.status, found.location) == (302, f"https://{NAME}{path}")
        for other in ("shop.example.test", lab.host.address, "who.example.test"):
            assert ask(lab.host, other, path).status == 404


def test_under_its_name_there_is_the_lab_and_nothing_else(lab):
    bare = ask(lab.host, NAME, "/jupyter", tls=True, sni=NAME)
    assert (bare.status, bare.location) == (302, URL)
    for path in ("/", "/jupyterx", "/index.html", "/server-status"):
        assert ask(lab.host, NAME, path, tls=True, sni=NAME).status == 404
    for name in ("secure.example.test", "who.example.test"):  # nor is it under another name
        assert ask(lab.host, name, "/jupyter/api", tls=True, sni=name).status == 404
        assert "jupyter" not in ask(lab.host, name, "/jupyter/api", tls=True, sni=NAME).body.lower()


def test_old_tls_is_refused(lab):
    context = lab.tls
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    with socket.create_connection((lab.host.address, 443)) as line:
        context.wrap_socket(line, server_hostname=NAME).close()
    script = f"openssl s_client -connect 127.0.0.1:443 -servername {NAME} -tls1_1 -cipher 'ALL:@SECLEVEL=0' </dev/null 2>&1 || true"
    assert "New, (NONE)" in lab.host.run(script)


def test_only_ssh_and_the_web_are_open(lab):
    ports = [*range(1, 1025), 292, *range(8000, 9000, 8), 8888, *range(9990, 10010)]
    assert probes.answering(lab.host.address, ports) == [80, 292, 443]


def test_the_log_holds_no_token(lab):
    assert ask(lab.host, NAME, "/jupyter/api?token=s3cret-t0ken", tls=True, sni=NAME).status == 200
    logs = lab.host.run("cat /var/log/apache2/*.log")
    assert "GET /jupyter/api" in logs and "s3cret" not in logs


def test_the_same_command_again_changes_nothing(lab):
    files = lab.host.checksums()
    assert "nothing to change" in lab.later("setup.full").ok().out
    assert "nothing to change" in lab.later("proxy.apache").ok().out
    assert lab.host.checksums() == files


# What happens later ----------------------------------------------------------------------------------


def test_a_new_certificate_is_served_and_the_kernel_goes_on(lab):
    with lab.visitor() as client:
        made = client.post("api/kernels", headers=header(client)).json()["id"]
        with closing(lab.socket(client, f"api/kernels/{made}/channels")) as channel:
            assert cell(channel, "x = 6 * 7") == ""
            old = ask(lab.host, NAME, tls=True, sni=NAME).certificate
            lab.later("https.renew").ok()
            assert ask(lab.host, NAME, tls=True, sni=NAME).certificate != old
            assert cell(channel, "x") == "42"
        with closing(lab.socket(client, f"api/kernels/{made}/channels")) as channel:
            assert cell(channel, "x + 1") == "43"
    assert "nothing to change" in lab.later("proxy.apache").ok().out


def cell(channel, code: str) -> str:
    request = kernel.execute_request(code)
    channel.send(json.dumps(request))
    return kernel.collect(channel, request["header"]["msg_id"])


def test_another_publish_shuts_this_door(lab):
    """The setup without Apache leaves no site of ours behind; the one with it brings it back."""
    lab.later("setup.full", LABFAB_PUBLISH="tunnel").ok()
    assert answers(lab.host) == lab.said
    assert "jupyter" not in ask(lab.host, NAME, "/jupyter/login", tls=True, sni=NAME).body.lower()
    lab.later("proxy.apache").ok()
    assert ask(lab.host, NAME, "/jupyter", tls=True, sni=NAME).location == URL


def test_an_apache_that_does_not_come_back_is_brought_back_without_us(lab):
    """Its test passes and its start fails once our modules are there: all is as before, and the next run mends it."""
    lab.later("setup.undo", "--yes", "--to", "proxy").ok()
    assert answers(lab.host) == lab.said
    lab.host.run(f"cp -a /etc/apache2/ports.conf /root && {BIND}")
    modules = lab.host.run("ls /etc/apache2/*-enabled")
    said = lab.later("proxy.apache").fails(
        "could not serve JupyterLab through Apache", "could not bind to address 198.51.100.7:8444"
    )
    assert re.fullmatch(r"homelab: .*\n", said.err)
    assert (
        lab.host.run("ls /etc/apache2/*-enabled") == modules
        and lab.host.run("systemctl is-active apache2") == "active"
    )
    assert answers(lab.host) == lab.said
    lab.host.run("mv /root/ports.conf /etc/apache2/ports.conf")
    lab.later("proxy.apache").ok()
    assert ask(lab.host, NAME, "/jupyter", tls=True, sni=NAME).location == URL


def test_a_module_that_somebody_uses_meanwhile_stays(lab):
    """Undo leaves no site of the user without what it needs, and brings all else back."""
    lab.host.run(
        "sleep 1; echo 'Header set X-Mine yes' >/etc/apache2/conf-enabled/mine.conf; systemctl reload apache2"
    )
    said = lab.later("setup.undo", "--yes").ok().out
    assert "module headers stays: /etc/apache2/conf-enabled/mine.conf needs it" in " ".join(
        said.split()
    )
    assert answers(lab.host) == lab.said
    lab.host.run(
        "rm /etc/apache2/conf-enabled/mine.conf; a2dismod -q headers; systemctl reload apache2"
    )
    assert (
        snapshot(lab.host) - {"/var/backups/labfab"} == lab.before
    )  # where the home went, for somebody worked in it


def test_a_host_without_apache_gets_it_and_loses_it_again(host, fab):
    """By its address alone, which is all that its user knows; the plan before says so and does nothing.

    Apache stays as long as it serves a site that somebody has added.
    """
    box = host("debian13", "bare")
    before = snapshot(box)
    env = ALONE | {"LABFAB_NAMES": ""}
    assert (
        "install apache2" in fab.on(box, "--dry", "https.issue", "proxy.apache", env=env).ok().out
    )
    assert snapshot(box) - {"/var/cache/labfab"} == before
    fab.on(box, "https.issue", "proxy.apache", env=env).ok()
    assert "nothing to change" in fab.on(box, "proxy.apache", env=env).ok().out
    if box.port == 22:
        context = ssl.create_default_context(cafile=str(fab.home / ".config/labfab/homelab/ca.pem"))
        with socket.create_connection((box.address, 443)) as line:
            context.wrap_socket(line, server_hostname=box.address).close()
        assert ask(box, box.address, "/jupyter/", tls=True).status == 503  # nobody is behind it yet
        assert ask(box, box.address, "/jupyter/").location == f"https://{box.address}/jupyter/"
        env = ALONE | {
            "LABFAB_NAMES": NAME,
            "LABFAB_BASE_URL": "/",
        }  # a name that is the lab's alone
        fab.on(box, "https.issue", "proxy.apache", env=env).ok()
        assert (
            ask(box, NAME).location == f"https://{NAME}/"
            and ask(box, NAME, "/lab?x=1").location == f"https://{NAME}/lab?x=1"
        )
        assert (
            ask(box, NAME, "/.well-known/acme-challenge/x").status == 404
            and ask(box, box.address).status == 200
        )
        assert ask(box, NAME, tls=True, sni=NAME).status == 503
    box.run(
        "cp /etc/apache2/sites-available/000-default.conf /etc/apache2/sites-available/mine.conf; a2ensite -q mine"
    )
    fab.on(box, "setup.undo", "--yes", "--to", "proxy", env=env).fails(
        "Apache: it serves mine.conf by now"
    )
    assert box.run("systemctl is-active apache2") == "active"
    box.run("a2dissite -q -p mine; rm /etc/apache2/sites-available/mine.conf")
    fab.on(box, "setup.undo", "--yes", env=env).ok()
    assert snapshot(box) == before
