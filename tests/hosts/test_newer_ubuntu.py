"""Ubuntu's newer ways, as far as Debian has them: sudo and the core utilities written in Rust."""

import pytest

pytestmark = pytest.mark.host

# Ubuntu 25.10 and later put these in the place of the usual programs by links.
IN_RUST = """\
apt-get update -q >/dev/null
apt-get install -qq -y --no-install-recommends sudo-rs rust-coreutils >/dev/null
for program in /usr/lib/cargo/bin/coreutils/*; do
  ln -sf "$program" "/usr/bin/${program##*/}"
done
ln -sf /usr/lib/cargo/bin/sudo /usr/bin/sudo; ln -sf /usr/lib/cargo/bin/visudo /usr/sbin/visudo
"""
ENV = {"LABFAB_PYTHON": "venv", "LABFAB_UPDATE": "false"}


def test_the_whole_road_with_sudo_and_core_utilities_in_rust(host, fab):
    box = host("ubuntu-like")
    box.run(IN_RUST, timeout=300)
    assert "GNU" not in box.run("cp --version") and "sudo-rs" in box.run("sudo --version 2>&1")
    before = box.run("id; ls /home")
    said = fab.on(box, "setup.full", env=ENV).ok().text
    assert "http://127.0.0.1:" in said
    assert "nothing to change" in fab("-H", "homelab", "setup.full", env=ENV).ok().text
    fab("-H", "homelab", "check.all", env=ENV).ok()
    fab("-H", "homelab", "setup.undo", "--force", "--yes", env=ENV).ok()
    assert box.run("id; ls /home") == before
