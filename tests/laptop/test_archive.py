import json
import os
from pathlib import Path

import pytest

from labfab.errors import SetupError
from labfab.laptop import archive


@pytest.fixture
def backup(home) -> Path:
    folder = archive.unfinished("homelab")
    (folder / "notebooks/empty").mkdir(parents=True)
    (folder / "notebooks/new\nline").write_text("one")
    (folder / "notebooks/link").symlink_to("/no/where")
    (folder / "notebooks" / os.fsdecode(b"latin \xe4")).write_text("two")
    return archive.finish(folder, {"alias": "homelab", "host": "203.0.113.5", "python": "venv"})


def test_a_whole_backup_is_known(backup, home) -> None:
    manifest = archive.verify(backup)
    assert (
        manifest["entries"]["notebooks/link"] == "link /no/where"
        and manifest["entries"]["notebooks/empty"] == "folder"
    )
    assert len(manifest["entries"]) == 5 and manifest["alias"] == "homelab"
    assert archive.backups() == archive.backups("homelab") == [backup] and not archive.backups(
        "another"
    )
    for place in (backup, backup.parent, backup.parent.parent):
        assert place.stat().st_mode & 0o777 == 0o700
    assert (backup / "manifest.json").stat().st_mode & 0o777 == 0o600
    assert archive.summary(backup)["files"] == 3 and archive.summary(backup)["whole"]


def change(backup: Path) -> None:
    (backup / "notebooks/new\nline").write_text("two")


def lose(backup: Path) -> None:
    (backup / "notebooks/new\nline").unlink()


def gain(backup: Path) -> None:
    (backup / "notebooks/more").write_text("")


def turn(backup: Path) -> None:
    (backup / "notebooks/link").unlink()
    (backup / "notebooks/link").symlink_to("/etc/passwd")


def empty(backup: Path) -> None:
    (backup / "notebooks/empty").rmdir()


def edit(backup: Path) -> None:
    manifest = json.loads((backup / "manifest.json").read_text())
    (backup / "manifest.json").write_text(json.dumps(manifest | {"python": "miniforge"}))


def truncate(backup: Path) -> None:
    (backup / "manifest.json").write_text('{"seal":')


def other(backup: Path) -> None:
    (backup / "manifest.json").write_text("[]")


@pytest.mark.parametrize("damage", [change, lose, gain, turn, empty, edit, truncate, other])
def test_damage_is_seen(backup, damage) -> None:
    damage(backup)
    with pytest.raises(SetupError, match="damaged"):
        archive.verify(backup)


def test_a_backup_is_found_by_name_path_or_age(backup, home, tmp_path) -> None:
    assert (
        archive.find("", "homelab")
        == archive.find(f"homelab/{backup.name}", "x")
        == archive.find(backup.name, "homelab")
        == backup
    )
    assert (
        archive.find(str(backup), "x")
        == archive.find(f"~/labfab-backups/homelab/{backup.name}", "x")
        == backup
    )
    for name in ("", "nothing"):
        with pytest.raises(SetupError, match="backup.list"):
            archive.find(name, "another")
    with pytest.raises(SetupError, match="is not a backup"):
        archive.verify(tmp_path)


def test_one_that_is_not_whole_goes_on(home) -> None:
    folder = archive.unfinished("homelab")
    (folder / "half").write_text("")
    assert not archive.backups() and (archive.unfinished("homelab") / "half").exists()
