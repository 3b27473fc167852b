"""Back to work with one word: lab.open, lab.url and lab.close against a real JupyterLab, with a browser that does what browsers do."""

import json
import re
import statistics
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest

from labfab.laptop import kernel
from tests.conftest import lent_fab
from tests.rig import ending, probes
from tests.rig.fab import Fab, Run
from tests.rig.slow_line import slow_line

pytestmark = pytest.mark.host

ENV = {"LABFAB_PYTHON": "venv", "LABFAB_UPDATE": "false", "LABFAB_CONNECT_TIMEOUT": "3"}
PACE = 0.1  # seconds of a round trip, from a train; next to the host, the start of Python alone takes longer than ssh
# Reads the page that it is called with and sends its form, as a browser does that runs the page's script.
BROWSER = """\
#!%s
import html, json, os, re, sys
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit
import httpx
page = Path(unquote(urlsplit(sys.argv[1]).path))
text = page.read_text()
form = {name: html.unescape(value) for name, value in re.findall(r'name="(\\w+)" value="(.*?)"', text)}
action = html.unescape(re.search(r'action="(.*?)"', text)[1])
with httpx.Client(trust_env=False, follow_redirects=True, timeout=30) as client:
    shown = client.post(action, data=form, headers={"Origin": "null"})
    seen = {
        "address": sys.argv[1], "modes": [oct(path.stat().st_mode & 0o777) for path in (page, page.parent)],
        "history": [str(one.url) for one in (*shown.history, shown)], "lab": "jupyter-config-data" in shown.text,
        "status": client.get(urljoin(action, "api/status")).status_code, "token": form["token"],
        "environment": [name for name in os.environ if name.startswith("LABFAB_")],
    }
Path(os.environ["HOME"], "seen.new").write_text(json.dumps(seen))
Path(os.environ["HOME"], "seen.new").rename(Path(os.environ["HOME"], "seen"))
"""


class Desk:
    """A laptop with a browser."""

    def __init__(self, fab: Fab, *words: str):
        self.fab, self.words = fab, words
        self.browser = fab.home / "browser"
        self.browser.write_text(BROWSER % sys.executable)
        self.browser.chmod(0o755)

    def __call__(self, task: str, *words: str, **env: str) -> Run:
        return self.fab(*self.words, task, *words, env=ENV | env)

    def open(self, **env: str) -> Run:
        """Type lab.open on a desktop."""
        (self.fab.home / "seen").unlink(missing_ok=True)
        return self("lab.open", BROWSER=str(self.browser), **env)

    def seen(self) -> dict:
        """What the browser saw; it starts after the command has ended."""
        wait_for((self.fab.home / "seen").exists, 30)
        return json.loads((self.fab.home / "seen").read_text())

    def pages(self) -> list[Path]:
        return list(self.fab.home.rglob("labfab-open-*"))


def wait_for(condition, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def host(module_lab, module_fab):
    """A host that was set up, its tunnel closed again."""
    host = module_lab("debian12", "open", env=ENV)
    module_fab("-H", "homelab", "tunnel.close").ok()
    return host


@pytest.fixture(scope="module")
def desk(host, module_fab) -> Desk:
    return Desk(module_fab, "-H", "homelab")


def server(host) -> str:
    """The one process that listens at the Lab's port."""
    found = set(re.findall(r"pid=(\d+)", host.run("ss -Hltnp 'sport = :9999'")))
    assert len(found) == 1
    return found.pop()


def logins(host) -> int:
    return int(host.run("journalctl -q -u ssh --no-pager | grep -c 'Accepted publickey' || true"))


def test_one_word_opens_the_browser_logged_in(host, desk):
    """The token reaches the form and nothing else: no argument, address, output or environment."""
    pid = server(host)
    with probes.watching(host) as told:
        run = desk.open(
            LABFAB_SUDO_PASSWORD=(desk.fab.home / ".config/labfab/homelab/sudo-password")
            .read_text()
            .strip()
        ).ok()
        seen = desk.seen()
        assert desk.pages()  # it is the one that was read
        wait_for(lambda: not desk.pages(), 70)
    token = seen.pop("token")
    assert re.search(r"in your browser: http://127\.0\.0\.1:\d+/lab", run.out)
    assert seen["modes"] == ["0o600", "0o700"] and seen["address"].startswith("file:///")
    assert seen["lab"] and seen["status"] == 200 and seen["history"][-1].endswith("/lab")
    assert token in host.run("cat /home/lab/.jupyter/jupyter_server_config.json")
    assert token not in run.text + str(seen) and "file:///" in str(told) and token not in str(told)
    assert not [name for name in seen["environment"] if name.endswith(("PASSWORD", "TOKEN"))]
    assert token not in host.run("cat /home/lab/.jupyter/lab.log")
    assert server(host) == pid  # never a second server


def test_again_nothing_is_dialled(host, desk):
    """What runs is used: the same tunnel, the same server, no login at all."""
    before, pid = logins(host), server(host)
    first = desk("lab.url").ok().out
    assert "lab" in desk.open().ok().out and desk.seen()["status"] == 200
    assert (logins(host), server(host), desk("lab.url").ok().out) == (before, pid, first)


def test_the_address_with_and_without_the_token(desk):
    """Programs get one line; the token on request only."""
    plain, full = desk("lab.url").ok().out.strip(), desk("lab.url", "--with-token").ok().out.strip()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/lab", plain)
    address, _, token = full.partition("?token=")
    assert address == plain.removesuffix("lab") and token == desk.seen()["token"]
    ask = {"trust_env": False, "headers": {"Authorization": f"token {token}"}}
    assert httpx.get(f"{address}api/status", **ask).status_code == 200


def test_without_a_browser_the_address_is_told(desk):
    """On a machine without a screen nothing waits and no page is written."""
    before = desk.pages()
    said = desk("lab.open", BROWSER="", DISPLAY="", WAYLAND_DISPLAY="").ok().out
    assert re.search(
        r"no browser can be opened here; JupyterLab is at http://127\.0\.0\.1:\d+/lab:", said
    )
    assert set(desk.pages()) <= set(before)


def test_a_server_that_does_not_run_is_started(host, desk):
    """After lab.stop and lab.close one word brings both back."""
    desk("lab.close").ok()
    desk("lab.stop").ok()
    desk("lab.url").fails("no tunnel is open", "lab.open")
    assert "start JupyterLab" in desk.open().ok().out and desk.seen()["status"] == 200
    assert server(host)


def test_a_new_token_is_found_out(host, desk):
    """One kept here that no longer serves is fetched anew."""
    place = desk.fab.home / ".config/labfab/homelab/jupyter-token"
    token = place.read_text()
    place.write_text("f" * 48 + "\n")
    assert desk.open().ok() and desk.seen()["status"] == 200
    assert place.read_text() == token and place.stat().st_mode & 0o777 == 0o600


def test_a_second_laptop_over_a_slow_line_attaches_as_quickly_as_ssh(host, desk, fab_log):
    """It reads the token over SSH and finds the same server; again it takes at most twice `ssh box true`."""
    with (
        contextmanager(lent_fab)(fab_log) as fab,
        slow_line(host.address, host.next_port, PACE) as port,
    ):
        desk("keys.copy", LABFAB_PUBLIC_KEYS=str(fab.home / ".ssh/id_ed25519.pub")).ok()
        pid, trusted = (
            server(host),
            {"LABFAB_HOST_KEY": host.host_key_fingerprint(), "LABFAB_SSH_PORT": str(port)},
        )
        Desk(fab, "-H", f"lab@127.0.0.1:{port}").open(**trusted).ok()
        second = Desk(fab)  # the host has its name now
        assert second.seen()["status"] == 200 and server(host) == pid
        config = [
            "-F",
            str(fab.home / ".ssh/config"),
            "-o",
            f"UserKnownHostsFile={fab.home / '.ssh/known_hosts'}",
        ]
        pairs = [
            (took(["ssh", *config, "homelab", "true"], fab), took(opening(second), fab, second))
            for _ in range(5)
        ]
        ssh, opened = (statistics.median(one) for one in zip(*pairs, strict=True))
        # One question more than before: whose the port is that the token goes to.
        assert opened <= 2 * ssh, f"lab.open {opened:.2f} s, ssh {ssh:.2f} s: {pairs}"


def opening(desk: Desk) -> list[str]:
    return [str(Path(sys.executable).parent / "fab"), "lab.open"]


def took(command: list[str], fab: Fab, desk: Desk | None = None) -> float:
    """Seconds that a command takes from beginning to end."""
    env = fab.environment(ENV | ({"BROWSER": str(desk.browser)} if desk else {}))
    cwd = Path(__file__).parent.parent.parent
    began = time.monotonic()
    done = subprocess.run(
        command,
        env=env,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    passed = time.monotonic() - began
    assert done.returncode == 0, done.stderr
    return passed


def test_with_the_host_asleep_one_line_says_what_to_do(host, desk):
    """Wake it, or tell where it went; closing works all the same."""
    host.pause()
    try:
        for task in ("lab.open", "lab.url --with-token"):
            said = (
                desk(*task.split(), BROWSER=str(desk.browser))
                .fails("If it sleeps, wake it", "HostName of homelab")
                .err.strip()
            )
            assert "\n" not in said
        assert "no tunnel was open" in desk("lab.close").ok().out
    finally:
        host.resume()
    assert desk.open().ok() and desk.seen()["status"] == 200
    address = desk("lab.url").ok().out.strip()
    desk("lab.close").ok()
    with pytest.raises(httpx.ConnectError):
        httpx.get(address, trust_env=False)


CONFIG = "sha256sum /home/lab/.jupyter/jupyter_server_config.json"
# A program of another account that answers at JupyterLab's port as it would, and writes down who shows it a token.
IMPOSTOR = """\
from http.server import BaseHTTPRequestHandler as Base, HTTPServer
class Caught(Base):
    def do_GET(self):
        print(self.path, self.headers.get("Authorization"), file=open("/tmp/caught", "a"), flush=True)
        self.send_response(200), self.end_headers(), self.wfile.write(b'{"version": "2.21.0"}')
HTTPServer(("127.0.0.1", 9999), Caught).serve_forever()
"""


def test_a_laptop_with_other_settings_leaves_the_lab_as_it_is(host, desk):
    """Running or stopped, with sudo's password at hand: one line names what the lab has, and nothing is written or started."""
    desk.open().ok()
    config, pid = host.run(CONFIG), server(host)
    password = (desk.fab.home / ".config/labfab/homelab/sudo-password").read_text().strip()
    strange = {"LABFAB_LAB_PORT": "8888", "LABFAB_SUDO_PASSWORD": password}
    desk("lab.close").ok()
    said = (
        desk("lab.open", **strange)
        .fails(
            "other settings (port 9999 of 127.0.0.1, http, /", "yours: port 8888", "recipe with -f"
        )
        .err
    )
    assert "\n" not in said.strip() and (host.run(CONFIG), server(host)) == (config, pid)
    desk("lab.stop").ok()
    desk("lab.open", **strange).fails("other settings", "LABFAB_RECIPE")
    assert (
        host.run(CONFIG) == config
        and host.run("ss -Hltn 'sport = :8888'; pgrep -u lab -f bin/jupyter-lab || true") == ""
    )


def test_who_took_the_port_gets_no_token(host, desk):
    """As after a reboot: JupyterLab does not run, and another account listens where it did."""
    desk("lab.close").ok()
    desk("lab.stop").ok()
    host.run(
        "id stranger >/dev/null 2>&1 || useradd -m stranger; cat >/tmp/impostor.py <<'END'\n"
        + IMPOSTOR
        + "END"
    )
    host.run("systemd-run -q --unit=impostor -p User=stranger python3 /tmp/impostor.py")
    wait_for(lambda: host.run("ss -Hltn 'sport = :9999'"), 20)
    try:
        desk("lab.open", BROWSER=str(desk.browser)).fails("is taken by", "of stranger")
        desk("lab.url", "--with-token").fails("of stranger")
        assert "token" not in host.run("cat /tmp/caught 2>/dev/null || true")
    finally:
        host.run("systemctl stop impostor")
    assert desk.open().ok() and desk.seen()["status"] == 200


SOCKET = "/home/lab/.jupyter/lab.sock"
STRANGER = "runuser -u stranger -- curl -s -m 5 --unix-socket %s http://127.0.0.1/api; echo $?"


def test_on_a_socket_it_listens_at_no_port(host, desk):
    """One word and a restart; the browser, a kernel's websocket and check.lab work through it, and no other account gets in."""
    on = {"LABFAB_LISTEN": "socket"}
    desk("lab.start", **on).fails("old configuration", "lab.stop")
    desk("lab.restart", "--yes", **on).ok()
    assert (
        host.run(f"stat -c '%a %U' {SOCKET}") == "600 lab"
        and host.run("ss -Hltn 'sport = :9999'") == ""
    )
    assert host.run(STRANGER % SOCKET).splitlines()[-1] == "7"  # curl's word for: could not connect
    assert desk.open(**on).ok() and desk.seen()["status"] == 200
    password = (desk.fab.home / ".config/labfab/homelab/jupyter-password").read_text().strip()
    with closing(
        kernel.login(desk("lab.url", **on).ok().out.strip().removesuffix("lab"), password)
    ) as client:
        assert kernel.execute(client, "print(6 * 7)") == "42"
    assert f"answers on ~/{SOCKET.removeprefix('/home/lab/')}" in desk("lab.status", **on).ok().out
    assert "mode 600" in desk("check.lab", **on).ok().out
    assert "nothing to change" in desk("lab.start", **on).ok().out


def test_back_to_a_port_with_the_next_restart(host, desk):
    desk("lab.restart", "--yes").ok()
    assert host.run("ss -Hltn 'sport = :9999'") and "sock" not in host.run(
        "cat /home/lab/.jupyter/jupyter_server_config.json"
    )
    assert desk.open().ok() and desk.seen()["status"] == 200


@pytest.fixture
def slow_end(host, desk):
    """A JupyterLab whose process takes seconds to end; afterwards one that does not."""
    ending.restart_to_end_slowly(host, lambda: desk("lab.restart", "--yes").ok())
    yield
    desk("lab.start")


@pytest.mark.parametrize("task", ["lab.start", "lab.open"])
def test_started_right_after_file_shut_down(host, desk, slow_end, task):
    """The one that is ending is waited for; then a new one is started and answers."""
    desk.open().ok()
    password = (desk.fab.home / ".config/labfab/homelab/jupyter-password").read_text().strip()
    url = desk("lab.url").ok().out.strip().removesuffix("lab")
    before = ending.shut_down(host, url, password)
    run = desk.open() if task == "lab.open" else desk(task)
    assert "start JupyterLab" in run.ok().out
    assert server(host) != before
