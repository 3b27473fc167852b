"""Certificates by a real ACME server: issued, served, renewed under a running kernel, refused in words, taken back."""

import socket
import ssl
from contextlib import closing, contextmanager

import pytest
from cryptography import x509

from labfab.laptop import kernel
from tests.rig import installer, network, probes
from tests.rig.acme import Acme

pytestmark = pytest.mark.host

NAME = "lab.example.test"
PASSWORD = "correct horse 52 battery"
ENV = {
    "LABFAB_PYTHON": "venv",
    "LABFAB_UPDATE": "false",
    "LABFAB_PUBLISH": "https",
    "LABFAB_LAB_PORT": "8888",
    "LABFAB_NAMES": NAME,
    "LABFAB_CERTIFICATE": "letsencrypt",
    "LABFAB_EMAIL": "ada@example.org",
    "LABFAB_ACME_SERVER": Acme.url,
    "LABFAB_JUPYTER_PASSWORD": PASSWORD,
}
TLS = "/home/lab/.jupyter/tls"
# What somebody has on the machine already: a certbot, and a certificate by it.
INSTALL = "DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends"
MINE = (
    f"apt-get -qq update >/dev/null; {INSTALL} certbot openssl >/dev/null 2>&1; "
    f"certbot certonly -q -n --standalone --agree-tos -m me@example.org --server {Acme.url} -d mine.example.test"
)


@pytest.fixture(scope="module")
def acme(module_host):
    return Acme(module_host("debian13", "acme"))


@pytest.fixture(scope="module")
def box(module_host, acme):
    """A machine whose owner uses certbot already."""
    host = module_host("debian13", "lab")
    if host.port != 22:
        pytest.skip("this engine shows the published ports only")
    acme.is_known_to(host)
    for name in (NAME, "mine.example.test", "second.example.test", "blocked.example.test"):
        acme.point(name, host.address)
    host.run(MINE, timeout=180)
    return host


@pytest.fixture(scope="module")
def bare(module_host, acme):
    """A bare machine, as guide 003 begins with."""
    host = module_host("debian12", "cloud")
    acme.is_known_to(host)
    acme.point("cloud.example.test", host.address)
    return host


@pytest.fixture(scope="module")
def lab(box, module_fab):
    """Its lab, set up after a first try with a name that led elsewhere."""
    before = box.checksums()
    module_fab.on(box, "setup.full", env=ENV).ok()
    return before


def trusting(acme) -> ssl.SSLContext:
    """What a browser trusts whose vendor has taken the server's authority up."""
    return ssl.create_default_context(cadata=acme.root())


def served(host, acme, name: str = NAME, port: int = 8888) -> x509.Certificate:
    """The certificate of a fresh handshake, with its chain and name verified."""
    tls = trusting(acme)
    with (
        socket.create_connection((host.address, port), timeout=10) as line,
        tls.wrap_socket(line, server_hostname=name) as secured,
    ):
        return x509.load_der_x509_certificate(secured.getpeercert(binary_form=True))


def certbot_runs(host) -> str:
    return host.run("cat /var/log/letsencrypt/*.log* 2>/dev/null | wc -l")


def in_lab(fab, *words: str, **more: str):
    """Run fab with the name that the host has after setup."""
    return fab("-H", "homelab", *words, env=ENV | more)


def test_a_first_try_that_fails_leaves_the_way_free(box, module_fab, acme):
    acme.point(NAME)
    module_fab.on(box, "https.letsencrypt", env=ENV).fails(f"{NAME} has no address in the DNS")
    module_fab.on(
        box, "https.letsencrypt", env={k: v for k, v in ENV.items() if k != "LABFAB_EMAIL"}
    ).fails("set email")
    runs = certbot_runs(box)
    acme.point(NAME, acme.host.address)
    said = module_fab.on(box, "https.letsencrypt", env=ENV).fails(
        f"{NAME} leads to {acme.host.address}, and the host is {box.address}"
    )
    assert len(said.err.strip().splitlines()) == 1
    assert certbot_runs(box) != runs
    acme.point(NAME, box.address)
    module_fab.on(box, "setup.undo", "--yes").ok()


def test_it_is_issued_served_and_computes(box, lab, module_fab, acme, tmp_path):
    found = served(box, acme)
    assert found.extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    ).value.get_values_for_type(x509.DNSName) == [NAME]
    tls = trusting(acme)
    with closing(kernel.login(f"https://{NAME}:8888", PASSWORD, tls, box.address)) as client:
        assert kernel.execute(client, "print(6 * 7)", tls, box.address).strip() == "42"
    assert "certbot.timer renews it" in in_lab(module_fab, "https.status").ok().out
    (tmp_path / "roots.pem").write_text(acme.root())
    in_lab(module_fab, "check.https", SSL_CERT_FILE=str(tmp_path / "roots.pem")).ok()
    assert box.run(f"stat -c '%a %U' {TLS} {TLS}/key.pem {TLS}/cert.pem").splitlines() == [
        "700 lab",
        "600 lab",
        "644 lab",
    ]


def test_a_second_run_changes_nothing_and_runs_no_certbot(box, lab, module_fab):
    runs = certbot_runs(box)
    assert "nothing to change" in in_lab(module_fab, "setup.full").ok().out
    assert "nothing to change" in in_lab(module_fab, "https.letsencrypt").ok().out
    assert certbot_runs(box) == runs


def unreadable(host, *paths: str) -> bool:
    """Whether another account can read none of these files."""
    return all(
        host.run(f"runuser -u nobody -- cat {path} 2>&1 || echo refused").endswith("refused")
        for path in paths
    )


def test_a_renewal_is_served_at_once_and_kernels_go_on(box, lab, module_fab, acme):
    old = served(box, acme)
    tls = trusting(acme)
    with closing(kernel.login(f"https://{NAME}:8888", PASSWORD, tls, box.address)) as client:
        headers = {"X-XSRFToken": client.cookies.get("_xsrf", "")}
        running = client.post("api/kernels", headers=headers).json()["id"]
        kernel.run_cell(client, running, "kept = 41", tls, box.address)
        in_lab(module_fab, "https.renew").ok()
        assert kernel.run_cell(client, running, "print(kept + 1)", tls, box.address).strip() == "42"
    new = served(box, acme)
    assert new.serial_number != old.serial_number and new.public_key() != old.public_key()
    archive = "/etc/letsencrypt/archive/labfab"
    assert unreadable(box, f"{TLS}/key.pem", f"{archive}/privkey1.pem", f"{archive}/privkey2.pem")
    assert (
        box.run(
            f"cmp {archive}/privkey2.pem {TLS}/key.pem && cmp {archive}/fullchain2.pem {TLS}/cert.pem && echo same"
        )
        == "same"
    )


def test_it_renews_itself_without_labfab(box, lab, module_fab, acme):
    old = served(box, acme)
    assert box.run(
        "systemctl is-enabled certbot.timer; systemctl is-active certbot.timer"
    ).split() == ["enabled", "active"]
    box.run("systemctl start certbot.service")
    assert served(box, acme).serial_number == old.serial_number  # it is not due
    box.run(
        "sed -i 's/^# *renew_before_expiry.*/renew_before_expiry = 3650 days/' /etc/letsencrypt/renewal/labfab.conf"
    )
    box.run("systemctl start certbot.service")
    box.run(
        "sed -i 's/^renew_before_expiry.*/# renew_before_expiry = 30 days/' /etc/letsencrypt/renewal/labfab.conf"
    )
    assert served(box, acme).serial_number != old.serial_number
    assert unreadable(box, f"{TLS}/key.pem")
    assert "nothing to change" in in_lab(module_fab, "https.letsencrypt").ok().out


FAILURES = {  # another server or other names, and what the message then says
    "an unknown server": (
        "https://nowhere.example.test/dir",
        NAME,
        "cannot find nowhere.example.test: correct acme_server",
    ),
    "a server that is off": (
        "https://acme.example.test:14999/dir",
        NAME,
        "cannot reach acme.example.test:14999",
    ),
    "something else there": (
        "https://acme.example.test:14000/x",
        NAME,
        "no ACME server answers at https://acme",
    ),
    "a bad mail address": (Acme.limited, NAME, "rejects the mail address: correct email"),
    "too many certificates": (
        Acme.limited,
        NAME,
        "issues no more for now (too many certificates (5) already issued",
    ),
    "a name that it refuses": (
        Acme.url,
        "blocked.example.test",
        "issues none for this name (Order included",
    ),
    "an old certbot": (
        Acme.url,
        "203.0.113.9",
        "needs certbot 5.3 or newer, and /usr/bin/certbot is 4",
    ),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_what_went_wrong_is_told_in_one_line(box, lab, module_fab, acme, failure):
    server, names, words = FAILURES[failure]
    more = {"LABFAB_EMAIL": "a..b@example.org"} if "mail" in failure else {}
    old = served(box, acme)
    said = in_lab(
        module_fab, "https.letsencrypt", LABFAB_ACME_SERVER=server, LABFAB_NAMES=names, **more
    ).fails(words)
    assert len(said.err.strip().splitlines()) == 1, said.err
    assert served(box, acme).serial_number == old.serial_number


def test_a_closed_port_80_is_told_by_whoever_closes_it(box, lab, module_fab, acme):
    second = {"LABFAB_NAMES": f"{NAME},second.example.test"}
    box.run("ufw delete allow 80/tcp")
    in_lab(module_fab, "https.letsencrypt", **second).fails(
        "the firewall blocks port 80", "firewall.enable"
    )
    in_lab(module_fab, "firewall.enable").ok()
    box.run(
        f"ufw insert 1 reject from {acme.host.address} to any port 80 proto tcp"
    )  # like a cloud's firewall: not seen from inside
    in_lab(module_fab, "https.letsencrypt", **second).fails(
        "port 80 of", "cannot be reached from outside"
    )
    box.run(f"ufw delete reject from {acme.host.address} to any port 80 proto tcp")
    in_lab(module_fab, "https.letsencrypt", **second).ok()
    names = served(box, acme).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert set(names.get_values_for_type(x509.DNSName)) == {NAME, "second.example.test"}


def difference(before: dict[str, str], after: dict[str, str]) -> dict[str, tuple]:
    return {
        path: (before.get(path), after.get(path))
        for path in before.keys() | after.keys()
        if before.get(path) != after.get(path)
    }


def test_what_else_certbot_keeps_is_not_touched_and_undo_brings_all_back(box, lab, module_fab):
    in_lab(module_fab, "setup.undo", "--yes").ok()
    assert (
        difference(lab, box.checksums()) == {}
    )  # with /etc/letsencrypt, and every key and account in it
    box.run(
        "certbot renew -q --cert-name mine.example.test --force-renewal --no-random-sleep-on-renew"
    )


def test_another_web_server_answers_through_its_folder(box, module_fab):
    box.run(
        "mkdir -p /srv/www /srv/other; systemd-run -q --unit=web --working-directory=/srv/www python3 -m http.server 80; sleep 1"
    )
    box.run("systemctl disable -q --now certbot.timer")  # as some who renew by hand have it
    try:
        module_fab.on(box, "https.letsencrypt", env=ENV).fails(
            "python3 answers at port 80: set webroot"
        )
        # Somebody's own, who must not get root's certbot to work there.
        box.run("useradd ada; chown ada /srv/www")
        for folder in ("/srv/nowhere", "/srv/other"):
            module_fab.on(box, "https.letsencrypt", env=ENV | {"LABFAB_WEBROOT": folder}).fails(
                folder, "correct webroot"
            )
        module_fab.on(box, "https.letsencrypt", env=ENV | {"LABFAB_WEBROOT": "/srv/www"}).ok()
        assert (
            "nothing to change"
            in module_fab.on(box, "https.letsencrypt", env=ENV | {"LABFAB_WEBROOT": "/srv/www"})
            .ok()
            .out
        )
        assert box.run("find /srv/www -type f; systemctl is-enabled certbot.timer") == "enabled"
        note = box.run("cat /etc/letsencrypt/renewal/labfab.conf")
        assert "authenticator = manual" in note and "deploy/labfab /srv/www answer" in note
        first = box.run(f"sha256sum {TLS}/cert.pem")
        box.run("certbot renew -q --cert-name labfab --force-renewal --no-random-sleep-on-renew")
        assert box.run(f"sha256sum {TLS}/cert.pem") != first
        assert box.run("find /srv/www | wc -l; stat -c %U /srv/www").split() == ["1", "ada"]
    finally:
        box.run("systemctl stop web; userdel ada")
    module_fab.on(box, "setup.undo", "--yes").ok()
    assert (
        box.run("systemctl is-enabled certbot.timer || systemctl enable -q --now certbot.timer")
        == "disabled"
    )


def test_apache_answers_beside_its_own_sites_and_shows_each_new_certificate(box, module_fab, acme):
    box.run(f"{INSTALL} apache2 >/dev/null 2>&1; echo mine >/var/www/html/index.html")
    before, env = box.checksums(), ENV | {"LABFAB_PUBLISH": "apache"}
    module_fab.on(box, "https.letsencrypt", "proxy.apache", env=env).ok()
    first, sites = (
        served(box, acme, port=443),
        {path: text for path, text in box.checksums().items() if path.startswith("etc/apache2")},
    )
    with reading(box, "/etc/labfab/tls/*key.pem") as read:
        module_fab.on(box, "https.renew", env=env).ok()
    assert read() == ""
    assert served(box, acme, port=443).serial_number != first.serial_number
    assert (
        difference(
            sites,
            {
                path: text
                for path, text in box.checksums().items()
                if path.startswith("etc/apache2")
            },
        )
        == {}
    )
    assert (
        box.run(
            "python3 -c 'import urllib.request as u; print(u.urlopen(\"http://127.0.0.1/\").read().decode())'"
        )
        == "mine"
    )
    assert "nothing to change" in module_fab.on(box, "https.letsencrypt", env=env).ok().out
    module_fab.on(box, "setup.undo", "--yes").ok()
    assert difference(before, box.checksums()) == {}


@contextmanager
def reading(host, pattern: str):
    """Let another account try to read these files all the time; give what it read."""
    loop = f"while :; do cat {pattern}; done >/tmp/read 2>/dev/null"
    host.run(f"rm -f /tmp/read; systemd-run -q --unit=reader --uid=nobody sh -c '{loop}'")
    yield lambda: host.run("cat /tmp/read")
    host.run("systemctl stop reader")


CLOUD = {
    "LABFAB_ALIAS": "cloud",
    "LABFAB_UPDATE": "false",
    "LABFAB_EMAIL": "ada@example.org",
    "LABFAB_ACME_SERVER": Acme.url,
}


@pytest.fixture(scope="module")
def mirror(engine):
    """Serve the double of Anaconda's installer where hosts can reach it."""
    with installer.serve(
        installer.build("anaconda").parent, address=str(next(network.ensure(engine).hosts()))
    ) as server:
        yield server


def test_the_recipe_of_guide_003_gives_its_reader_a_lab(bare, module_fab, acme, mirror):
    given = CLOUD | {"LABFAB_NAMES": "cloud.example.test", "LABFAB_ACCEPT_ANACONDA_TERMS": "true"}
    given |= installer.settings("anaconda", mirror.url)
    before, recipe = bare.checksums(), ("-f", "config/letsencrypt.yaml")
    module_fab.on(
        bare, *recipe, "setup.full", env={k: v for k, v in given.items() if "TERMS" not in k}
    ).fails("accept_anaconda_terms")
    assert difference(before, bare.checksums()) == {}
    assert (
        "https://cloud.example.test:8888/lab"
        in module_fab.on(bare, *recipe, "setup.full", env=given).ok().out
    )
    assert probes.answering(bare.address, (22, 80, 443, 292, 8888)) == [292, 8888]
    assert probes.takes_key(bare.address, "cloud-user", 292, module_fab.home)
    password = (module_fab.home / ".config/labfab/cloud/jupyter-password").read_text().strip()
    tls = trusting(acme)
    with closing(
        kernel.login("https://cloud.example.test:8888", password, tls, bare.address)
    ) as client:
        said = kernel.execute(
            client,
            "import sys, getpass; print(6 * 7, sys.prefix, getpass.getuser())",
            tls,
            bare.address,
        )
    assert said.split() == ["42", "/home/jupyter/anaconda3", "jupyter"]
    assert bare.run("id -nG jupyter") == "jupyter"
    assert probes.takes_key(bare.address, "jupyter", 292, module_fab.home)
    with pytest.raises(kernel.WrongPassword):
        kernel.login("https://cloud.example.test:8888", "something else", tls, bare.address)
    assert (
        "nothing to change" in module_fab("-H", "cloud", *recipe, "setup.full", env=given).ok().out
    )
    bare.run(
        "echo true >/etc/letsencrypt/renewal-hooks/post/mine"
    )  # what dpkg would delete with the package
    module_fab("-H", "cloud", *recipe, "setup.undo", "--yes", env=given).ok()
    assert (
        bare.run("cat /etc/letsencrypt/renewal-hooks/post/mine && rm -r /etc/letsencrypt") == "true"
    )
    assert difference(before, bare.checksums()) == {}
    assert bare.run("dpkg-query -W -f '${db:Status-Status}' certbot 2>/dev/null || true") in (
        "",
        "not-installed",
    )


CERTBOT = r"""
set -e
apt-get -qq update >/dev/null
apt-get -qq install --no-install-recommends python3-venv >/dev/null
python3 -m venv /opt/certbot
/opt/certbot/bin/pip -q install certbot
printf '#!/bin/sh\nREQUESTS_CA_BUNDLE=/etc/ssl/certs/ca-certificates.crt exec /opt/certbot/bin/certbot "$@"\n' >/usr/local/bin/certbot
chmod 755 /usr/local/bin/certbot
"""


def test_an_address_alone_gets_a_certificate_by_a_new_certbot(bare, module_fab):
    env = ENV | CLOUD | {"LABFAB_NAMES": bare.address}
    module_fab.on(bare, "https.letsencrypt", env=env).fails(
        "needs certbot 5.3 or newer, which comes as a snap: install snapd there first"
    )
    module_fab.on(bare, "setup.undo", "--yes", env=env)
    bare.run(CERTBOT, timeout=180)
    before = bare.checksums()
    module_fab.on(bare, "https.letsencrypt", env=env).ok()
    first = x509.load_pem_x509_certificate(bare.run(f"cat {TLS}/cert.pem").encode())
    names = first.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == [bare.address]
    assert "nothing to change" in module_fab.on(bare, "https.letsencrypt", env=env).ok().out
    assert (
        "labfab-certbot.timer renews it" in module_fab.on(bare, "https.status", env=env).ok().out
    )  # pip brings no timer
    bare.run(
        "sed -i -e '/renew_before_expiry/d' -e '1i renew_before_expiry = 3650 days' /etc/letsencrypt/renewal/labfab.conf"
    )
    bare.run("systemctl start labfab-certbot.service")
    second = x509.load_pem_x509_certificate(bare.run(f"cat {TLS}/cert.pem").encode())
    assert second.serial_number != first.serial_number
    module_fab.on(bare, "setup.undo", "--yes", env=env).ok()
    assert difference(before, bare.checksums()) == {}
