"""Certbot: which one, how it is asked, what stays as it is, and what its words mean."""

import pytest

from labfab.certificates import acme, renewal
from labfab.certificates.location import Location
from labfab.errors import SetupError
from labfab.host.changes import fill
from labfab.host.shell import Result
from labfab.stages.https import certificate
from tests import fake as models

alone, fake = models.alone, models.fake
NAME = "lab.example.org"
GET = f"get a certificate for {NAME} from Let's Encrypt (none yet)"
HAND = "copy the certificate to /home/lab/.jupyter/tls"
LEADS = "hostname -I"


@pytest.fixture
def host(fake):
    """A host whose name leads to it; more settings may be given, and what answers at port 80."""

    def make(holder: str = "", dry: bool = False, **lab):
        given = {
            "publish": "https",
            "certificate": "letsencrypt",
            "names": [NAME],
            "email": "you@example.org",
        }
        model = fake(dry=dry, **(given | lab))
        names = [name for name in model.lab["names"] if name[0].isalpha()]
        model.answers.append(
            (
                LEADS,
                Result(
                    0, "203.0.113.5 \n" + "".join(f"{name} 203.0.113.5 \n" for name in names), ""
                ),
            )
        )
        if holder:
            model.sections["ssh"]["listening.80"] = holder
        return model

    return make


def asked(model) -> str:
    """How certbot was asked."""
    return next(made.command for made in model.writes if "certonly" in made.command)


def test_it_is_got_once(host):
    """A second run finds all of it in the single round trip that reads the facts."""
    model = host()
    certificate.issue(model.c)
    folders = ["make /home/lab/.jupyter private", "make /home/lab/.jupyter/tls private"]
    assert model.whys[-6:] == [
        "install openssl, certbot",
        GET,
        *folders,
        "install certbot's hook for renewed certificates",
        HAND,
    ]
    assert (
        "--standalone" in asked(model)
        and f"-d {NAME}" in asked(model)
        and acme.SERVERS[""] in asked(model)
    )
    assert "-m you@example.org" in asked(model) and "--force-renewal" not in asked(model)
    certificate.issue(model.again())
    assert model.whys == [] and len(model.told) == 1


def test_nothing_is_asked_without_a_mail_address(host):
    """The host is not touched either."""
    model = host(email="")
    with pytest.raises(
        SetupError, match="Let's Encrypt requires a mail address for your account there: set email"
    ):
        certificate.letsencrypt(model.c)
    assert model.writes == []


def test_a_name_without_an_address_is_told_before_the_server_is_asked(host):
    """A failed check would count against the limit of the server."""
    model = host()
    model.answers.insert(0, (LEADS, Result(0, f"203.0.113.5 \n{NAME} \n", "")))
    with pytest.raises(
        SetupError,
        match=f"{NAME} has no address in the DNS: add a record for it that leads to 203.0.113.5",
    ):
        certificate.letsencrypt(model.c)
    assert GET not in model.whys


def test_the_loopback_address_of_a_cloud_machines_own_name_says_nothing(host):
    """/etc/hosts has 127.0.1.1 for it there."""
    model = host()
    model.answers.insert(0, (LEADS, Result(0, f"203.0.113.5 \n{NAME} 127.0.1.1 \n", "")))
    certificate.letsencrypt(model.c)
    assert GET in model.whys


@pytest.mark.parametrize(
    "holder, settings, words, packages",
    [
        ("", {}, "--standalone", "openssl, certbot"),
        ("apache2", {}, "--apache", "openssl, certbot, python3-certbot-apache"),
        (
            "",
            {"publish": "apache"},
            "--apache",
            "openssl, certbot, apache2, python3-certbot-apache",
        ),
        (
            "nginx",
            {"webroot": "/srv/it's www"},
            fill("--manual-auth-hook %s", fill(f"{renewal.HOOK} %s answer", "/srv/it's www")),
            "openssl, certbot",
        ),
        (
            "apache2",
            {"webroot": "/srv/www"},
            f"--manual-cleanup-hook '{renewal.HOOK} /srv/www clean'",
            "openssl, certbot",
        ),
        ("", {"webroot": "/srv/www"}, "--standalone", "openssl, certbot"),
    ],
)
def test_what_answers_at_port_80_decides_how(host, holder, settings, words, packages):
    """The next run keeps that choice, as the renewals do."""
    model = host(holder, **settings)
    certificate.letsencrypt(model.c)
    assert words in asked(model) and f"install {packages}" in model.whys
    certificate.letsencrypt(model.again())
    assert model.whys == []


def test_root_no_longer_works_in_a_web_servers_folder(host):
    """An older version had certbot note --webroot: the next run gets a certificate the new way."""
    model = host("nginx", webroot="/srv/www")
    certificate.letsencrypt(model.c)
    note = "[renewalparams]\nserver = %s\nauthenticator = webroot\nwebroot_path = /srv/www,\n"
    model.set_file("acme", "renewal", note % acme.SERVERS[""], "644 root")
    model.lab["webroot"] = ""
    certificate.letsencrypt(model.again())
    assert f"--manual-auth-hook '{renewal.HOOK} /srv/www answer'" in asked(model)
    assert "root worked in the web server's folder" in " ".join(model.whys)
    certificate.letsencrypt(model.again())
    assert model.whys == []
    model.lab["webroot"] = "/srv/www2"
    certificate.letsencrypt(model.again())
    assert f"'{renewal.HOOK} /srv/www2 answer'" in asked(model)


def test_a_web_server_of_another_kind_needs_its_folder(host):
    """certbot could not answer on the same port."""
    with pytest.raises(
        SetupError, match="nginx answers at port 80: set webroot to the folder that it serves there"
    ):
        certificate.letsencrypt(host("nginx").c)


def test_what_came_to_port_80_later_is_taken_into_account(host):
    """Else the renewals would fail, weeks later and with nobody looking."""
    model = host()
    certificate.letsencrypt(model.c)
    model.sections["ssh"]["listening.80"] = "apache2"
    certificate.letsencrypt(model.again())
    assert "--apache" in asked(model) and "--force-renewal" in asked(model)
    del model.sections["ssh"]["listening.80"]  # it is down just now
    certificate.letsencrypt(model.again())
    assert model.whys == []


def test_a_way_of_your_own_choice_stays(host):
    """What was set with `certbot reconfigure` renews well."""
    model = host()
    certificate.letsencrypt(model.c)
    text = model.file("acme", "renewal").replace("standalone", "dns-ovh")
    model.set_file("acme", "renewal", text, "644 root")
    model.sections["ssh"]["listening.80"] = "nginx"
    certificate.letsencrypt(model.again())
    assert model.whys == []


def test_other_names_are_asked_for_and_staging_never_replaces_what_is_trusted(host):
    """Going from staging to the real server is how people test."""
    model = host(acme_server="staging")
    certificate.letsencrypt(model.c)
    assert acme.SERVERS["staging"] in asked(model)
    del model.lab["acme_server"]
    certificate.letsencrypt(model.again())
    assert acme.SERVERS[""] in asked(model) and "the ACME server has changed" in " ".join(
        model.whys
    )
    with pytest.raises(SetupError, match="browsers trust none from staging: https.delete first"):
        certificate.letsencrypt(model.again(), staging=True)
    model.lab["names"] = [NAME, "www.example.org"]
    model.answers.insert(0, (LEADS, Result(0, "203.0.113.5 \n", "")))
    certificate.letsencrypt(model.again())
    assert f"-d {NAME} -d www.example.org" in asked(model)


def test_a_certificate_that_was_renewed_is_handed_on_again(host):
    """If the hook could not, or somebody changed what is served."""
    model = host()
    certificate.letsencrypt(model.c)
    model.sections["https"]["key"] = "644 lab"
    certificate.letsencrypt(model.again())
    assert model.whys == [HAND]
    certificate.renew(model.again())
    assert model.whys == [f"renew the certificate for {NAME}"]  # certbot ran the hook


def test_a_certbot_that_was_removed_comes_back(host):
    """The certificate is good, but nothing would renew it."""
    model = host()
    certificate.letsencrypt(model.c)
    for name in ("program", "renews.certbot.timer"):
        del model.sections["acme"][name]
    del model.sections["system"]["package.certbot"]
    certificate.renew(model.again())
    assert model.whys == ["install certbot", f"renew the certificate for {NAME}"]


def test_from_one_kind_of_certificate_to_the_other(host):
    """No hook is left that would bring back the old kind."""
    model = host(certificate="self-signed")
    certificate.issue(model.c)
    model.lab["certificate"] = "letsencrypt"
    certificate.issue(model.again())
    assert model.whys[-1] == HAND and "ca.stat" not in model.sections["https"]
    model.lab["certificate"] = "self-signed"
    certificate.issue(model.again())
    assert "delete certbot's certificate" in model.whys
    assert not {"hook.stat", "renewal.stat"} & set(model.sections["acme"])


def test_a_host_that_shuts_port_80_is_told(host):
    """The firewall's own task opens it."""
    model = host()
    model.sections["firewall"] |= {
        "active": "yes",
        "incoming": "deny",
        "allowed.22": "allow 22/tcp",
    }
    with pytest.raises(
        SetupError,
        match="the firewall blocks port 80, which the ACME server must reach: firewall.enable",
    ):
        certificate.letsencrypt(model.c)


# One that is there, and addresses -------------------------------------------------------------------


def test_no_second_certbot_beside_one_that_is_there(host):
    """Two would renew twice."""
    model = host()
    model.sections["acme"] |= {
        "program": "/snap/bin/certbot",
        "snap": "yes",
        "renews.snap.certbot.renew.timer": "yes",
    }
    certificate.letsencrypt(model.c)
    assert "install openssl" in model.whys and asked(model).count("/snap/bin/certbot") == 1
    assert not any(why.endswith("which renews the certificate") for why in model.whys)


@pytest.mark.parametrize(
    "program, package, unit",
    [
        ("/usr/bin/certbot", "certbot", "certbot.timer"),
        ("/snap/bin/certbot", "", "snap.certbot.renew.timer"),
        ("/usr/local/bin/certbot", "", "labfab-certbot.timer"),
    ],
)
def test_each_kind_of_certbot_has_its_timer(host, program, package, unit):
    """The timer is enabled if it was off, and written if there was none."""
    model = host()
    model.sections["acme"]["program"] = program
    model.install("openssl", *([package] if package else []))
    certificate.letsencrypt(model.c)
    assert model.whys[-1] == f"enable {unit}, which renews the certificate"
    assert (f"ExecStart={program} -q renew" in model.file("acme", "service")) is (
        unit == "labfab-certbot.timer"
    )
    certificate.letsencrypt(model.again())
    assert model.whys == []


def test_a_service_of_an_earlier_version_is_hardened_once(host):
    """It had neither a limit nor anything taken away."""
    model = host()
    model.sections["acme"]["program"] = "/usr/local/bin/certbot"
    model.install("openssl")
    certificate.letsencrypt(model.c)
    now = model.file("acme", "service")
    assert "TimeoutStartSec=30min" in now and "NoNewPrivileges=yes" in now
    model.set_file("acme", "service", "[Service]\nExecStart=x\n", "644 root")
    certificate.letsencrypt(model.again())
    assert model.whys == ["harden the service that renews", "reload systemd"]
    assert model.file("acme", "service") == now
    certificate.letsencrypt(model.again())
    assert model.whys == []


def test_an_address_needs_a_new_certbot(host):
    """By snap if there is none; an old one is named instead, as two would renew twice."""
    with pytest.raises(
        SetupError,
        match="for an address needs certbot 5.3 or newer, which comes as a snap: install snapd there first",
    ):
        certificate.letsencrypt(host(names=["203.0.113.5"]).c)
    model = host(names=["203.0.113.5"])
    model.sections["acme"]["snap"] = "yes"
    certificate.letsencrypt(model.again())
    assert "/snap/bin/certbot certonly" in asked(model) and "install certbot's snap" in model.whys
    assert "--ip-address 203.0.113.5 --preferred-profile shortlived" in asked(
        model
    ) and "-d " not in asked(model)


@pytest.mark.parametrize(
    "version, least, settings", [("4 0", "5.3", {}), ("5 3", "5.4", {"webroot": "/srv/www"})]
)
def test_an_old_certbot_is_named_with_what_it_would_take(host, version, least, settings):
    """No second one is installed."""
    model = host("apache2" if settings else "", names=["203.0.113.5"], **settings)
    model.sections["acme"]["program"] = "/usr/bin/certbot"
    model.answers.append(("--version", Result(0, version, "")))
    with pytest.raises(
        SetupError,
        match=rf"needs certbot {least} or newer, and /usr/bin/certbot is {version.replace(' ', '.')}: ",
    ):
        certificate.letsencrypt(model.c)


def test_apache_alone_cannot_answer_for_an_address(host):
    """Its plugin knows names only."""
    with pytest.raises(SetupError, match="set webroot, e.g. /var/www/html"):
        certificate.letsencrypt(host(names=["203.0.113.5"], publish="apache").c)


def test_the_plan_shows_it_all_and_writes_nothing(host):
    """On a bare host too, where nothing is installed yet."""
    model = host(dry=True)
    certificate.issue(model.c)
    assert model.writes == [] and GET in model.planned and HAND in model.planned
    # The package comes with its own timer.
    assert not any(why.endswith("which renews the certificate") for why in model.planned)


def test_the_hook_is_for_our_certificate_alone(host):
    """It quotes the folder, and reloads only what serves."""
    model = host(publish="apache")
    certificate.letsencrypt(model.c)
    text = model.file("acme", "hook")
    assert (
        "OWNER=root FOLDER=/etc/labfab/tls" in text
        and "reload apache2" in text
        and "= labfab ] || exit 0" in text
    )
    assert model.wrote("install certbot's hook for renewed certificates").mode == "755"
    assert "reload apache2" not in renewal.hook(Location("/home/lab/.jupyter/tls", "lab"))


# What certbot says ---------------------------------------------------------------------------------

FAILED = """\
Saving debug log to /var/log/letsencrypt/letsencrypt.log
Requesting a certificate for lab.example.org

Certbot failed to authenticate some domains (authenticator: standalone). The Certificate Authority reported these problems:
  Domain: lab.example.org
  Type:   %s
  Detail: %s

Hint: The Certificate Authority failed to download the challenge files.

Some challenges have failed.
Ask for help or search for solutions at https://community.letsencrypt.org.
"""
ELSE = "Saving debug log to /x\nAn unexpected error occurred:\n%s\nAsk for help or search for solutions at https://community…\n"
SAID = {  # what it means: what was said
    "the server finds no address for lab.example.org in the DNS": FAILED
    % ("dns", "NXDOMAIN looking up A for lab.example.org"),
    "port 80 of lab.example.org cannot be reached": FAILED
    % ("connection", "198.51.100.7: Timeout during connect"),
    "what answers at http://lab.example.org/": FAILED
    % ("unauthorized", "198.51.100.7: Invalid response: 404"),
    "the CAA record of lab.example.org does not allow this CA": FAILED
    % ("caa", "CAA record for lab.example.org prevents issuance"),
    "Let's Encrypt issues no more for now (too many certificates (5) already issued for this exact set, retry after 2026-11-22 08:00:00 UTC": ELSE
    % "There were too many requests of a given type :: Error creating new order :: too many certificates (5) already issued for "
    "this exact set, retry after 2026-11-22 08:00:00 UTC: see https://letsencrypt.org/docs/",
    "rejects the mail address: correct email": "Unable to register an account with ACME server. The ACME server believes a..b@x.org is an invalid email address. Please ensure …",
    "Let's Encrypt rejects the mail address": ELSE
    % "urn:ietf:params:acme:error:invalidContact :: contact email has forbidden domain",
    "issues none for this name (Cannot issue": ELSE
    % "Error creating new order :: Cannot issue for x: Domain name does not end with a valid public suffix (TLD)",
    "requires an account opened elsewhere": ELSE
    % "urn:ietf:params:acme:error:externalAccountRequired :: External",
    "the terms of Let's Encrypt have changed": ELSE
    % "urn:ietf:params:acme:error:userActionRequired :: Terms of service have changed",
    "another program has taken port 80": "Could not bind TCP port 80 because it is already in use by another process on this system.",
    "this certbot has no Apache plugin": "The requested apache plugin does not appear to be installed",
    "another certbot is at work": "Another instance of Certbot is already running.",
    "the host cannot reach Let's Encrypt": ELSE
    % "ValueError: Requesting acme-v02.api.letsencrypt.org/directory: Connection refused",
    "the host does not trust": ELSE
    % "requests.exceptions.SSLError: Max retries (CERTIFICATE_VERIFY_FAILED)",
    "the host cannot find Let's Encrypt": ELSE
    % "requests.exceptions.ConnectionError: ([Errno -2] Name or service not known)",
    "no ACME server answers at https://acme-v02": ELSE
    % "acme.errors.ClientError: <Response [404]>",
    "Something that nobody has seen before": ELSE % "Something that nobody has seen before",
}


@pytest.mark.parametrize("told", SAID)
def test_each_failure_is_one_line(told):
    """What is wrong and what to change, from what certbot really prints."""
    line = acme.explain(
        SAID[told], acme.SERVERS[""], acme.Addresses({NAME: ["203.0.113.5"]}, ["203.0.113.5"]), ""
    )
    assert told in line and "\n" not in line and len(line) < 330


def test_a_name_that_leads_elsewhere_is_the_reason_that_is_given():
    """Whatever the server found there."""
    lead = acme.Addresses({NAME: ["198.51.100.7"]}, ["203.0.113.5"])
    for kind in ("connection", "unauthorized"):
        line = acme.explain(FAILED % (kind, "whatever"), acme.SERVERS[""], lead, "")
        assert (
            line
            == f"{NAME} leads to 198.51.100.7, and the host is 203.0.113.5: correct its record in the DNS"
        )
