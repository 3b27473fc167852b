"""setup.plan shows what setup.full does, and does none of it."""

import json

import pytest

from tests.rig.snapshot import snapshot

pytestmark = pytest.mark.host

ENV = {"LABFAB_PYTHON": "venv", "LABFAB_UPDATE": "false"}
OWN = {"/var/cache/labfab"}  # where the facts keep apt's verdict


def laptop(home):
    """Everything in the home but the host key, which was accepted."""
    return {
        path: path.read_bytes()
        for path in home.rglob("*")
        if path.is_file() and path.name != "known_hosts"
    }


def whys(plan) -> list[str]:
    return [change["why"] for stage in plan["stages"] for change in stage["changes"]]


def test_a_plan_changes_nothing_and_says_what_setup_full_does(fab, host):
    box = host("debian12", "plan")
    (fab.home / ".ssh" / "id_ed25519").unlink(), (fab.home / ".ssh" / "id_ed25519.pub").unlink()
    env = ENV | {
        "LABFAB_LOGIN_PASSWORD": "Biber-5-Teich",
        "LABFAB_JUPYTER_PASSWORD": "Kranich-7-Moor",
    }
    box.run(
        "echo root:Biber-5-Teich | chpasswd; echo PermitRootLogin yes >/etc/ssh/sshd_config.d/50-cloud-init.conf; systemctl reload ssh"
    )
    before, files = snapshot(box), laptop(fab.home)
    told = fab.on(box, "setup.plan", env=env)
    assert told.rc == 2, told.text
    assert (
        "keys:\n" in told.out
        and "+PermitRootLogin no" in told.out
        and "changes to make: setup.full" in told.out
    )
    plan = fab.on(box, "setup.plan", "--json", env=env)
    shown = json.loads(plan.out)
    assert plan.rc == 2 and shown["changes"] == len(whys(shown)) > 20
    assert shown["notes"] == [
        "fetch the package lists: which packages are upgraded is known only after that"
    ]
    made = [
        (change["path"], change["diff"] or "")
        for stage in shown["stages"]
        for change in stage["changes"]
    ]
    assert ("/home/lab/.jupyter/jupyter_server_config.json", "") in made  # secret
    assert any(
        path == "/etc/ssh/sshd_config.d/00-labfab.conf" and "+PermitEmptyPasswords no" in diff
        for path, diff in made
    )
    assert fab.on(box, "--dry", "setup.full", env=env).ok().out.count("] would ") >= len(
        whys(shown)
    )
    assert snapshot(box) - OWN == before and laptop(fab.home) == files

    # Half of it is done: the plan lists the other half.
    fab.on(box, "ssh.change-port", env=env).ok()
    rest = whys(json.loads(fab.on(box, "setup.plan", "--json", env=env).out))
    done = len(journal(fab, box, env))
    fab.on(box, "setup.full", env=env).ok()
    assert sorted(journal(fab, box, env)[done:]) == sorted(rest) and 10 < len(rest) < len(
        whys(shown)
    )
    last = fab("-H", "homelab", "setup.plan", "--json", env=ENV).ok()
    assert json.loads(last.out) | {"host": ""} == {
        "host": "",
        "changes": 0,
        "stages": [],
        "notes": [],
        "ends": [],
    }


def journal(fab, box, env) -> list[str]:
    return [
        row["why"]
        for row in json.loads(fab.on(box, "setup.journal", "--json", env=env).ok().out)["changes"]
    ]


def test_two_hosts_give_one_document_with_the_plan_of_each(fab, host):
    boxes = [host("debian12", "plan-a"), host("debian13", "plan-b")]
    env = ENV | {"LABFAB_ALIAS": "{host}"}
    alone = [
        json.loads(fab.on(box, "setup.plan", "--json", env=env).out) for box in boxes
    ]  # accepts the host key as well
    told = fab(
        "-H", ",".join(f"root@{box.address}" for box in boxes), "setup.plan", "--json", env=env
    )
    assert told.rc == 2, told.text
    together = [one["answer"] for one in json.loads(told.out)["hosts"]]
    for one in (*alone, *together):
        assert "room" in one.pop("survey")  # free space may differ a moment later
    assert sorted(together, key=str) == sorted(alone, key=str)
