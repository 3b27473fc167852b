"""A copy of a finished lab is known to its new home by its new address."""

import os

from tests.rig import finished


def test_a_home_moves_with_its_host(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    (old / ".ssh").mkdir(parents=True)
    new.mkdir()
    config = f"HostName 10.2.3.4\nIdentityFile {old}/.ssh/id\nOther 10.2.3.45 110.2.3.4\n"
    (old / ".ssh" / "config").write_text(config)
    (old / ".ssh" / "config").chmod(0o600)
    (old / "link").symlink_to("/nowhere")
    os.mkfifo(old / ".ssh" / "pipe")
    finished.write_home(old, tmp_path / "kept", "10.2.3.4")

    (new / ".ssh").mkdir()
    (new / ".ssh" / "config").write_text("of another host")
    finished.move_in(tmp_path / "kept", new, "10.2.3.9")
    moved = f"HostName 10.2.3.9\nIdentityFile {new}/.ssh/id\nOther 10.2.3.45 110.2.3.4\n"
    assert (new / ".ssh" / "config").read_text() == moved
    assert (new / ".ssh" / "config").stat().st_mode & 0o777 == 0o600
    assert (new / "link").is_symlink()
    assert sorted(path.name for path in (new / ".ssh").iterdir()) == ["config"]
