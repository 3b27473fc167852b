"""A first run on a machine that lives: a web site, a database, two colleagues, cron, fail2ban, ufw."""

import contextlib
import threading
import time
import urllib.request

import pytest

from labfab.local_state import keypair
from tests.rig import probes

pytestmark = pytest.mark.host

ENV = {"LABFAB_PYTHON": "venv", "LABFAB_UPDATE": "false"}
LIVES = """\
export DEBIAN_FRONTEND=noninteractive
apt-get update -q >/dev/null
apt-get install -qq -y --no-install-recommends nginx-light redis-server ufw fail2ban python3-systemd \
    cron >/dev/null
printf '[DEFAULT]\\nbackend = systemd\\nbanaction = ufw\\n' >/etc/fail2ban/jail.d/rig.local
systemctl restart fail2ban
useradd -m -s /bin/bash alice; echo alice:not-yours | chpasswd
useradd -m -s /bin/bash bob; install -d -m 700 -o bob -g bob /home/bob/.ssh
echo '* * * * * root date >>/var/log/rig-cron' >/etc/cron.d/rig
ufw allow 22/tcp >/dev/null; ufw allow 80/tcp >/dev/null; ufw --force enable >/dev/null
redis-cli set kept yes >/dev/null
sed -i 's/^#*PasswordAuthentication.*/PasswordAuthentication yes/' /etc/ssh/sshd_config
systemctl restart ssh
"""
# What the colleagues' work rests on.
THEIRS = (
    "getent passwd alice bob; sha256sum /home/bob/.ssh/authorized_keys /etc/cron.d/rig "
    "/etc/nginx/nginx.conf /etc/fail2ban/jail.d/rig.local | cut -c1-80; "
    "redis-cli get kept; systemctl is-active nginx redis-server fail2ban cron ufw"
)


@contextlib.contextmanager
def visited(address: str):
    """Visit the web site twice a second; yield a list that gets the times it did not answer."""
    missed: list[str] = []
    stop = threading.Event()

    def visit() -> None:
        while not stop.wait(0.5):
            try:
                with urllib.request.urlopen(f"http://{address}/", timeout=5) as page:
                    page.read()
            except OSError as error:
                missed.append(f"{time.strftime('%X')}: {error}")

    visitor = threading.Thread(target=visit)
    visitor.start()
    try:
        yield missed
    finally:
        stop.set()
        visitor.join()


def test_a_machine_in_use_serves_on_through_plan_setup_a_week_and_undo(
    host, fab, tmp_path, monkeypatch
):
    monkeypatch.setenv("no_proxy", "*")
    box = host("debian12")
    box.run(LIVES, timeout=300)
    paths = [keypair.generate(tmp_path / f"bob{n}", comment=f"bob{n}@desk") for n in range(40)]
    keys = "".join(f"{keypair.public_line(path)}\n" for path in paths)
    box.run("cat >/home/bob/.ssh/authorized_keys; chown bob: /home/bob/.ssh/*", input=keys)
    before, rules = box.run(THEIRS), box.run("ufw status | sort")
    with visited(box.address) as missed:
        planned = fab.on(box, "setup.plan", env=ENV).text
        assert "this will end: alice logs in with a password" in planned
        assert "fail2ban may ban you" in planned and "bob: 40 keys" in planned
        assert "bob logs in" not in planned
        agreed = ENV | {"LABFAB_ACCEPT": "passwords"}
        fab.on(box, "setup.full", env=agreed).ok()
        assert "nothing to change" in fab("-H", "homelab", "setup.full", env=agreed).ok().text
        (tmp_path / "work").mkdir()
        (tmp_path / "work" / "data.csv").write_text("1,2\n")
        for words in (
            ("lab.status",),
            ("files.push", str(tmp_path / "work")),
            ("lab.restart", "--yes"),
            ("ssh.change-port",),
            ("check.ssh",),
        ):
            fab("-H", "homelab", *words, env=agreed).ok()
        assert box.run(THEIRS) == before
        assert "Total failed:\t0" in box.run("fail2ban-client status sshd")
        assert probes.takes_key_file(box.address, "bob", 292, paths[39])
        fab("-H", "homelab", "setup.undo", "--force", "--yes", env=agreed).ok()
    assert missed == []
    assert box.run(THEIRS) == before and box.run("ufw status | sort") == rules
    assert probes.takes_key_file(box.address, "bob", 22, paths[0])
    assert probes.takes_password(box.address, "alice", 22, "not-yours")
