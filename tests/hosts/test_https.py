"""JupyterLab that serves TLS itself, with the lab's own certificate: looked at from outside, renewed while it works, taken back."""

import random
import shutil
import ssl
import subprocess
from contextlib import closing

import httpx
import pytest

from labfab.certificates import certificate
from labfab.laptop import kernel

pytestmark = pytest.mark.host
PASSWORD, PORT, NAME = "correct horse battery", 9000, "lab.example.test"
FOLDER = "/home/lab/.jupyter/tls"


class Lab:
    """A booted host, the fab that set it up, and what both look like from outside."""

    def __init__(self, box, fab) -> None:
        self.box, self.fab = box, fab
        self.bare = box.checksums()
        self.env = {
            "LABFAB_PYTHON": "venv",
            "LABFAB_UPDATE": "false",
            "LABFAB_PUBLISH": "https",
            "LABFAB_LAB_PORT": str(PORT),
            "LABFAB_NAMES": f"{NAME},{box.address}",
            "LABFAB_JUPYTER_PASSWORD": PASSWORD,
        }

    def __call__(self, *words: str, **more: str):
        return self.fab("-H", "homelab", *words, env=self.env | more)

    @property
    def ca(self):
        return self.fab.home / ".config/labfab/homelab/ca.pem"

    @property
    def tls(self) -> ssl.SSLContext:
        """Trust in the lab's CA and in nobody else."""
        return ssl.create_default_context(cafile=self.ca)

    def served(self) -> certificate.Certificate:
        """The certificate that a stranger is shown."""
        return certificate.read(ssl.get_server_certificate((self.box.address, PORT)))

    def asks(self, name: str) -> str:
        """What openssl says of the way to this host under a name."""
        flag = "-verify_hostname" if name[-1].isalpha() else "-verify_ip"
        command = [
            "openssl",
            "s_client",
            "-connect",
            f"{self.box.address}:{PORT}",
            "-CAfile",
            str(self.ca),
            flag,
            name,
        ]
        done = subprocess.run(
            [*command, "-verify_return_error", "-x509_strict"],
            input="",
            capture_output=True,
            text=True,
            timeout=20,
        )
        return done.stdout + done.stderr

    def login(self) -> httpx.Client:
        return kernel.login(f"https://{self.box.address}:{PORT}/", PASSWORD, self.tls)

    def says(self, running: str, code: str) -> str:
        """What a kernel that runs already answers."""
        with closing(self.login()) as client:
            return kernel.run_cell(client, running, code, self.tls).strip()


@pytest.fixture(scope="module")
def lab(module_host, module_fab):
    box = module_host("debian12")
    if box.port != 22:
        pytest.skip("this engine shows the published ports only")
    found = Lab(box, module_fab)
    module_fab.on(box, "setup.full", env=found.env).ok()
    return found


@pytest.fixture
def running(lab) -> str:
    """A kernel that knows a number."""
    with closing(lab.login()) as client:
        answer = client.post(
            "api/kernels", headers={"X-XSRFToken": client.cookies.get("_xsrf", "")}
        ).json()
        kernel.run_cell(client, answer["id"], "kept = 4711", lab.tls)
        return answer["id"]


def test_the_certificate_is_good_for_every_name_and_for_no_other(lab):
    for name in (NAME, lab.box.address):
        assert "Verify return code: 0 (ok)" in lab.asks(name), name
    for name in ("example.com", "198.51.100.7"):
        assert "mismatch" in lab.asks(name), name
    assert httpx.get(
        f"https://{lab.box.address}:{PORT}/api", verify=lab.tls, trust_env=False
    ).json()["version"]
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(f"https://{lab.box.address}:{PORT}/api", trust_env=False)
    with pytest.raises(httpx.HTTPError):
        httpx.get(f"http://{lab.box.address}:{PORT}/api", trust_env=False)
    a, b = random.randint(10**6, 10**9), random.randint(10**6, 10**9)
    with closing(lab.login()) as client:
        assert int(kernel.execute(client, f"print({a} * {b})", lab.tls)) == a * b


def test_it_is_good_at_the_end_of_a_tunnel_too(lab):
    found = lab("tunnel.open").ok().out
    url = found[found.index("https://127.0.0.1:") :].split()[0].removesuffix("lab")
    assert httpx.get(f"{url}api", verify=lab.tls, trust_env=False).json()["version"]
    lab("tunnel.close").ok()


def test_the_key_is_its_accounts_alone(lab):
    assert lab.box.run(f"stat -c %a:%U {FOLDER} {FOLDER}/*.pem").split() == [
        "700:lab",
        "644:lab",
        "644:lab",
        "600:lab",
    ]
    assert "Permission denied" in lab.box.run(
        f"runuser -u nobody -- cat {FOLDER}/key.pem 2>&1 || true"
    )
    key = lab.box.run(f"cat {FOLDER}/key.pem").splitlines()[1]
    here = subprocess.run(["grep", "-rF", key, str(lab.fab.home)], capture_output=True, text=True)
    assert here.stdout == "" and "PRIVATE" not in lab.ca.read_text()
    assert "ca-key.pem" not in {path.name for path in lab.ca.parent.iterdir()}


def test_a_second_run_changes_nothing(lab):
    before, serial = lab.box.checksums(), lab.served().serial
    assert "nothing to change" in lab("setup.full").ok().out
    assert "nothing to change" in lab("https.issue").ok().out
    said = lab("https.status").ok().out
    assert NAME in said and "396 days left" in said
    assert (lab.box.checksums(), lab.served().serial) == (before, serial)


def test_a_second_laptop_learns_the_ca_from_the_host(lab):
    """As long as that CA can vouch for this lab alone."""
    ca, serial = lab.ca.read_text(), lab.served().serial
    lab.ca.unlink()
    lab("https.trust").fails("https.issue")
    assert "nothing to change" in lab("https.issue").ok().out
    assert (lab.ca.read_text(), lab.served().serial) == (ca, serial)


def test_a_plan_of_a_renewal_touches_neither_side(lab):
    before, ca = lab.box.checksums(), lab.ca.read_text()
    said = lab("--dry", "https.renew").ok().out
    assert "would issue a certificate" in said
    assert (lab.box.checksums(), lab.ca.read_text()) == (before, ca)


def test_renewed_while_a_kernel_works(lab, running):
    """The same JupyterLab serves the new certificate to the next one who connects."""
    before, pid = lab.served().serial, lab.box.run("pgrep -u lab -f bin/jupyter-lab | head -n 1")
    key = lab.box.run(f"cat {FOLDER}/key.pem")
    assert "https.trust" in lab("https.renew").ok().out
    assert lab.served().serial != before and lab.box.run(f"cat {FOLDER}/key.pem") != key
    assert lab.box.run("pgrep -u lab -f bin/jupyter-lab | head -n 1") == pid
    assert "Verify return code: 0 (ok)" in lab.asks(NAME)
    assert lab.says(running, "print(kept)") == "4711"


def test_other_names_come_with_another_certificate(lab, running):
    more = f"other.example.test,{NAME},{lab.box.address}"
    assert "the names have changed" in lab("https.issue", LABFAB_NAMES=more).ok().out
    assert lab.served().names == (
        "other.example.test",
        NAME,
        lab.box.address,
        "localhost",
        "127.0.0.1",
    )
    assert "Verify return code: 0 (ok)" in lab.asks("other.example.test")
    lab("https.issue").ok()
    assert (
        "other.example.test" not in lab.served().names
        and lab.says(running, "print(kept)") == "4711"
    )


def test_a_key_that_others_could_read_is_replaced(lab):
    lab.box.run(
        f"cp -p {FOLDER}/key.pem /tmp/stolen && chmod 644 {FOLDER}/key.pem && chmod 755 {FOLDER}"
    )
    assert "others could read its key" in lab("https.issue").ok().out
    assert (
        lab.box.run(
            f"cmp -s /tmp/stolen {FOLDER}/key.pem && echo same || echo another; rm /tmp/stolen"
        )
        == "another"
    )
    assert lab.box.run(f"stat -c %a:%U {FOLDER} {FOLDER}/key.pem").split() == ["700:lab", "600:lab"]
    assert "Verify return code: 0 (ok)" in lab.asks(NAME)


def test_a_ca_that_is_kept_signs_again(lab):
    locked = {"LABFAB_CA_PASSPHRASE": "an old lady's passphrase"}
    lab("https.renew", **locked).ok()
    serial, ca = lab.served().serial, lab.ca.read_text()
    lab("https.renew").fails("LABFAB_CA_PASSPHRASE")
    assert lab.served().serial == serial
    assert "https.trust" not in lab("https.renew", **locked).ok().out
    assert (
        lab.served().serial != serial
        and lab.ca.read_text() == ca
        and "Verify return code: 0 (ok)" in lab.asks(NAME)
    )
    assert locked["LABFAB_CA_PASSPHRASE"] not in "".join(
        path.read_text() for path in lab.ca.parent.iterdir() if path.is_file()
    )


def test_browsers_of_this_machine_learn_it(lab):
    if not shutil.which("certutil"):
        pytest.skip("no certutil here: install libnss3-tools")
    assert "Chromium" in lab("https.trust").ok().out and "already" in lab("https.trust").ok().out
    database = ["certutil", "-L", "-d", f"sql:{lab.fab.home}/.pki/nssdb"]
    assert "labfab homelab" in subprocess.run(database, capture_output=True, text=True).stdout


def test_what_is_published_no_longer_leaves_no_door_and_comes_back_with_a_long_password_only(lab):
    """The rule in the firewall goes, what the configuration said for strangers too; a short password stays private."""
    config, short = (
        "/home/lab/.jupyter/jupyter_server_config.json",
        {"LABFAB_PUBLISH": "tunnel", "LABFAB_JUPYTER_PASSWORD": "short"},
    )
    lab("lab.stop").ok()
    lab("firewall.enable", "jupyter.configure", **short).ok()
    assert str(PORT) not in lab.box.run("ufw status") and "local_hostnames" not in lab.box.run(
        f"cat {config}"
    )
    for given in ("", "short"):
        lab("jupyter.configure", LABFAB_JUPYTER_PASSWORD=given).fails("14 characters")
    assert f"open port {PORT}" in lab("firewall.enable", "lab.start").ok().out
    assert lab.box.run("ufw status | grep -c '# labfab'") == "2"  # for IPv4 and IPv6
    with closing(lab.login()) as client:
        assert kernel.execute(client, "print(6 * 7)", lab.tls) == "42"
    assert "nothing to change" in lab("setup.full", LABFAB_JUPYTER_PASSWORD="").ok().out


def test_what_is_served_is_not_deleted(lab):
    before = lab.served().serial
    lab("https.delete").fails("lab.stop")
    assert lab.served().serial == before


def test_all_is_taken_back(lab):
    """The host is as it was, and nobody on this machine trusts the lab any more."""
    lab("setup.undo", "--yes").ok()
    assert lab.box.checksums() == lab.bare
    assert [path.name for path in lab.ca.parent.parent.rglob("*.pem")] == []
    if shutil.which("certutil"):
        database = ["certutil", "-L", "-d", f"sql:{lab.fab.home}/.pki/nssdb"]
        assert "labfab" not in subprocess.run(database, capture_output=True, text=True).stdout
