"""A hostile account, or a hostile host, against the files that go to the host and come from it."""

import shlex

import pytest

pytestmark = pytest.mark.host

ENV = {"LABFAB_PYTHON": "venv", "LABFAB_UPDATE": "false", "LABFAB_LAB_USER": "jupyter"}
HOME = "/home/jupyter"
# rsync's remote shell: waits for pipes that its account may open, and calls what is behind them.
JOIN = """\
#!/bin/sh
shift 2
end=$(($(date +%s) + 90))
while [ "$(date +%s)" -lt $end ]; do
  for p in /run/labfab-files-*; do
    [ -O "$p/called" ] || continue
    echo "$p" >>~/found
    cd "$p" && [ -p end ] || continue
    printf '%s\\n' "$@" >called
    exec 3<&0 4>in 5<out
    chmod 0 called in out
    cat <&3 >&4 &
    exec 4>&-
    exec cat <&5
  done
done
exit 9
"""


@pytest.fixture(scope="module")
def box(module_lab):
    box = module_lab("debian12", "box", env=ENV)
    box.run("useradd -m -s /bin/bash nb")
    return box


def plant(box, path: str, text: str, mode: str = "644") -> None:
    """Write a file of jupyter's."""
    box.run(f"printf %s {shlex.quote(text)} >{path}; chown jupyter: {path}; chmod {mode} {path}")


def test_lab_user_runs_rsync_as_nobody_else(box, module_fab, tmp_path):
    """JupyterLab's account waits for a transfer to another account, to put its own files there."""
    (tmp_path / "mine").write_text("mine")
    module_fab("-H", "homelab", "files.push", str(tmp_path / "mine"), env=ENV).ok()
    plant(box, f"{HOME}/join", JOIN, "755")
    plant(box, f"{HOME}/evil", "echo jupyter was here\n")
    for account, setting in (("lab", ""), ("nb", "nb")):
        evil = f"rsync -s --rsh={HOME}/join {HOME}/evil x:/home/{account}/.bash_aliases"
        box.run(f"cd /; setsid runuser -u jupyter -- sh -c 'cd; {evil}' >/dev/null 2>&1 &")
        try:
            run = module_fab(
                *("-H", "homelab", "files.push", str(tmp_path / "mine"), "--to", "~/arrived"),
                env={**ENV, "LABFAB_LAB_USER": setting},
                timeout=60,
            )
        finally:
            box.run("pkill -u jupyter -f '[h]ome/jupyter/join' || true")
        assert box.run(f"cat /home/{account}/.bash_aliases 2>/dev/null || true") == ""
        assert box.run(f"cat {HOME}/found 2>/dev/null || true") == ""
        run.ok()
        assert box.run(f"stat -c %U /home/{account}/arrived/mine") == account


def test_a_host_replaces_nothing_that_runs_on_the_laptop(box, module_fab, tmp_path):
    """The folder of the fabfile is where fab is run, and the host chooses the names in results/."""
    results, here = f"{HOME}/notebooks/results", tmp_path / "project"
    box.run(f"mkdir -p {results}; touch {results}/fabfile.py {results}/numbers.csv")
    box.run(f"cp -r {results} {HOME}/notebooks/email; cp {results}/* {HOME}/notebooks")
    box.run(f"chown -R jupyter: {HOME}/notebooks")
    here.mkdir()
    (here / "fabfile.py").write_text("from labfab import ns\n")

    def pull(*words: str):
        return module_fab("-H", "homelab", "files.pull", *words, env=ENV, cwd=here)

    for words in (
        ("results/",),
        ("results/", "--to", "."),
        ("results/.", "--to", str(tmp_path)),
        ("", "--to", str(module_fab.home)),
        ("fabfile.py",),
        ("email",),
    ):
        run = pull(*words).fails("--to results")
        assert len(run.err.strip().splitlines()) == 1, run.err
    assert [path.name for path in here.iterdir()] == ["fabfile.py"]
    assert (here / "fabfile.py").read_text() == "from labfab import ns\n"
    pull("results/", "--to", "results").ok()
    pull("results").ok()
    assert "nothing to pull" in pull("results").ok().out
    (here / "results/numbers.csv").write_text("mine")
    pull("results").fails("results/numbers.csv", "--yes")
    # The host shows one thing and sends another.
    (here / "new").mkdir()
    (here / "new/numbers.csv").write_text("mine")
    box.run(f"mv {results}/numbers.csv {HOME}; rm -f /tmp/called; mv /usr/bin/rsync /usr/bin/real")
    box.run("cat >/usr/bin/rsync; chmod 755 /usr/bin/rsync", input=SWAP)
    try:
        pull("results/", "--to", "new").ok()
    finally:
        box.run("mv /usr/bin/real /usr/bin/rsync")
    assert (here / "new/numbers.csv").read_text() == "mine"
    pull("results", "--yes").ok()
    assert (here / "results/numbers.csv").read_text() == ""


SWAP = """\
#!/bin/sh
[ ! -e /tmp/called ] || mv ~/numbers.csv ~/notebooks/results
touch /tmp/called; exec /usr/bin/real "$@"
"""
