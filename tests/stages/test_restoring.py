import json
import os
from pathlib import Path

import pytest

from labfab.errors import SetupError
from labfab.laptop.transfer import Preview
from labfab.local_state import passwords, secrets
from labfab.settings import Settings
from labfab.stages.backup import restoring
from labfab.stages.jupyter import publishing

KEPT = {"alias": "old", "python": "venv", "python_version": "3.11.2"}


@pytest.fixture
def folder(alone) -> Path:
    """A backup of a published lab that had a socket, a certificate and options of its own."""
    hashed = passwords.hash("open")
    config = {
        "ServerApp": {
            "ip": "*",
            "port": 1,
            "sock": "/x",
            "certfile": "/old/cert.pem",
            "root_dir": "/old",
            "max_body_size": 7,
        },
        "KernelManager": {"transport": "ipc"},
        "IdentityProvider": {"hashed_password": hashed, "token": "abc"},
        "LabApp": {"x": 1},
    }
    place = alone / "backup/jupyter"
    place.mkdir(parents=True)
    (place / "jupyter_server_config.json").write_text(json.dumps(config))
    return place.parent


def restored(box, folder: Path) -> dict:
    box.add_account("lab")
    restoring.configure(box.c, Settings.of(box.c), folder, KEPT, False)
    return json.loads(box.file("jupyter", "config"))


def test_the_configuration_fits_its_new_host(fake, folder) -> None:
    config = restored(fake("lab"), folder)
    assert (
        config["ServerApp"]["max_body_size"] == 7
        and config["LabApp"] == {"x": 1}
        and len(config["IdentityProvider"]["token"]) == 48  # not that of the old host
    )
    assert (config["ServerApp"]["ip"], config["ServerApp"]["port"]) == ("127.0.0.1", 9999)
    assert config["ServerApp"]["root_dir"] == "/home/lab/notebooks"
    assert not {"sock", "certfile"} & set(config["ServerApp"])
    assert config["KernelManager"] == {"transport": "ipc"}


@pytest.mark.parametrize(("known", "kept"), [("open", "open"), ("another", None), (None, None)])
def test_the_password_on_the_laptop_is_that_of_the_backup(
    fake, folder, known, kept, capsys
) -> None:
    secrets.store("homelab", "jupyter-password", "of this host")
    if known:
        secrets.store("old", "jupyter-password", known)
    restored(fake("lab"), folder)
    found = secrets.load("homelab", "jupyter-password")
    assert (found.reveal() if found else None) == kept
    assert ("it is not kept on this laptop" in capsys.readouterr().out) is (kept is None)


def test_a_plan_keeps_the_password(fake, folder) -> None:
    secrets.store("homelab", "jupyter-password", "of this host")
    box = fake("lab", dry=True)
    box.add_account("lab")
    restoring.configure(box.c, Settings.of(box.c), folder, KEPT, False)
    assert "restore Jupyter's configuration and password" in box.planned
    assert secrets.load(
        "homelab", "jupyter-password"
    ).reveal() == "of this host" and not os.path.exists("labfab-backups")


def test_what_differs_is_named() -> None:
    with pytest.raises(
        SetupError,
        match=r"2 files there differ from those of the backup \(a, b\), nothing was changed",
    ):
        restoring.refuse_to_replace(
            "homelab",
            {"notebooks": Preview(replaced=("a",)), "kernels": Preview(replaced=("b",))},
            False,
        )
    restoring.refuse_to_replace("homelab", {"notebooks": Preview(replaced=("a",))}, True)
    restoring.refuse_to_replace("homelab", {"notebooks": Preview(new=("a",))}, False)


@pytest.mark.parametrize(
    ("there", "here", "ok"),
    [("venv", "venv", True), ("venv", "miniforge", False), ("miniconda", "miniforge", True)],
)
def test_packages_go_to_the_same_kind_of_python(fake, there, here, ok) -> None:
    box = fake("lab", python=here)
    if ok:
        restoring.refuse_another_python(Settings.of(box.c), "homelab", KEPT | {"python": there})
    else:
        with pytest.raises(SetupError, match="type LABFAB_PYTHON=venv in front"):
            restoring.refuse_another_python(Settings.of(box.c), "homelab", KEPT | {"python": there})


@pytest.mark.parametrize("known", ["open", None])
def test_a_short_or_unknown_password_is_not_restored_to_a_published_lab(
    fake, folder, known
) -> None:
    """Nor is the word of the backup taken for it; one that is known to be long is."""
    if known:
        secrets.store("old", "jupyter-password", known)
    config = json.loads((folder / "jupyter/jupyter_server_config.json").read_text())
    config["Labfab"] = {"long_password": publishing.hash_fingerprint(config), "publish": {}}
    (folder / "jupyter/jupyter_server_config.json").write_text(json.dumps(config))
    box = fake("lab", publish="https", names=["lab.example.org"])
    box.sections["https"]["pair"] = "yes"
    with pytest.raises(
        SetupError,
        match="at least 14 characters, .*: restore it with LABFAB_PUBLISH=tunnel, then jupyter.password",
    ):
        restored(box, folder)
    config["IdentityProvider"]["hashed_password"] = passwords.hash("fourteen letters")
    (folder / "jupyter/jupyter_server_config.json").write_text(json.dumps(config))
    secrets.store("old", "jupyter-password", "fourteen letters", replace=True)
    found = restored(box, folder)
    assert (
        found["Labfab"]["long_password"] == publishing.hash_fingerprint(found)
        and found["ServerApp"]["certfile"] != "/old/cert.pem"
    )
