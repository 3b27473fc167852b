"""The lab's own certificate: issued once, replaced if it is wrong, and never without need."""

import json

import pytest

from labfab.certificates import authority, certificate, constraints, own_ca, vault
from labfab.errors import SetupError
from labfab.host import alias
from labfab.host.session import Host
from labfab.local_state import secrets
from labfab.stages import proxy
from labfab.stages.https import browsers
from labfab.stages.https import certificate as https
from tests import fake_commands
from tests.fake import ADDRESS
from tests.made_certificates import issue

NAMES = ["lab.example.org", "203.0.113.5"]
KEY, TRUST = "make a key for the certificate", "fab -H homelab https.trust"


@pytest.fixture
def served(fake):
    """A host with a certificate of its own."""

    def make(**lab):
        Host.sessions.clear()  # a host of its own each time
        model = fake(**{"publish": "https", "names": NAMES} | lab)
        https.self_signed(model.c)
        model.again()
        return model

    return make


def issued(model, reason: str = "none yet") -> str:
    return f"issue a certificate for {', '.join(model.lab.get('names') or [ADDRESS])} ({reason})"


def leaf(model) -> certificate.Certificate:
    return certificate.read(model.file("https", "cert"))


def test_a_host_gets_a_certificate_once(fake, capsys):
    """It is for all names and for tunnels; a second run needs one round trip."""
    model = fake(publish="https", names=NAMES)
    https.issue(model.c)
    folders = ["make /home/lab/.jupyter private", "make /home/lab/.jupyter/tls private"]
    assert model.whys[-5:] == [*folders, "install openssl", KEY, issued(model)]
    assert {write.user for write in model.writes[-2:]} == {"lab"} and model.whys.count(KEY) == 1
    assert leaf(model).names == (*NAMES, "localhost", "127.0.0.1") and leaf(model).days_left == 396
    assert constraints.permitted(model.file("https", "ca")) == set(leaf(model).names)
    assert TRUST in capsys.readouterr().out
    https.issue(model.again())
    assert model.whys == [] and len(model.told) == 1
    assert TRUST not in capsys.readouterr().out


def test_apaches_is_roots_and_for_its_names_alone(served):
    """Its tunnel ends at JupyterLab, which speaks plain HTTP there."""
    model = served(publish="apache")
    assert leaf(model).names == tuple(NAMES)
    https.self_signed(model.c)
    assert model.whys == []


def test_without_names_it_is_the_address_you_connect_to(served):
    assert leaf(served(names=[])).names == (ADDRESS, "localhost", "127.0.0.1")


def test_another_address_joins_the_names_once(served, monkeypatch):
    """A laptop at home and away uses two; either works again without a new certificate."""
    model = served(names=[])
    monkeypatch.setattr(model, "connect", at(model, "192.0.2.7"))
    https.self_signed(model.again())
    assert leaf(model).names == (ADDRESS, "192.0.2.7", "localhost", "127.0.0.1")
    for address in (ADDRESS, "192.0.2.7", "127.0.0.1"):
        monkeypatch.setattr(model, "connect", at(model, address))
        https.self_signed(model.again())
        assert model.whys == [] and own_ca.lab_names(model.c)[0] == ADDRESS
    model.lab["names"] = ["new.example.org"]
    https.self_signed(model.again())
    assert leaf(model).names == ("new.example.org", "localhost", "127.0.0.1")


def at(model, address: str):
    """Return a way to connect to the model by another address, under the same alias."""
    connect = type(model).connect

    def made(*args):
        alias.taken.clear()
        c = connect(model, *args)
        c.host, c.original_host = address, "homelab"
        return c

    return made


def test_names_that_a_host_gives_itself_are_not_taken(served, alone):
    """Otherwise anybody who can write there would choose what a browser trusts."""
    model = served(names=[])
    names = ["bank.example.com", ADDRESS, "localhost", "127.0.0.1"]
    wide = authority.make("homelab", names)
    request = fake_commands.new_key(model, None, "")
    model.set_file("https", "cert", authority.sign(wide, request, names), "644 lab")
    model.set_file("https", "ca", wide.pem, "644 lab")
    https.self_signed(model.again())
    assert leaf(model).names == (ADDRESS, "localhost", "127.0.0.1")
    assert vault.path_of("homelab").read_text() == model.file("https", "ca") != wide.pem


def test_the_folder_of_apaches_certificate_can_be_entered(fake):
    model = fake(publish="apache", names=NAMES)
    https.issue(model.c)
    assert model.whys[-4:] == ["make /etc/labfab/tls", "install openssl", KEY, issued(model)]


@pytest.mark.parametrize(
    "change, reason",
    [
        ({"key": "640 lab"}, "others could read its key"),
        ({"key": "777 lab"}, "others could read its key"),  # a link
        ({"key": "600 root"}, "others could read its key"),
        ({"pair": None}, "its key does not match"),
        ({"key": None}, "none yet"),
        ({"cert.text": ""}, "none yet"),
        ({"ca.stat": None}, "it was not issued by this lab's CA"),
    ],
)
def test_a_wrong_certificate_is_replaced_with_its_key(served, change, reason):
    model = served()
    before = leaf(model).serial
    for name, value in change.items():
        model.sections["https"].pop(name, None) if value is None else model.sections[
            "https"
        ].update({name: value})
    https.self_signed(model.c)
    assert model.whys == [KEY, issued(model, reason)] and leaf(model).serial != before
    assert model.sections["https"]["key"] == "600 lab"


def test_other_names_need_another_certificate(served):
    model = served()
    model.lab["names"] = ["new.example.org"]
    https.self_signed(model.again())
    assert (
        model.whys[-1] == issued(model, "the names have changed")
        and leaf(model).names[0] == "new.example.org"
    )


def test_a_ca_that_may_vouch_for_more_is_not_taken(served, alone):
    """The host may be compromised: this machine does not trust what it shows."""
    model = served()
    names = list(leaf(model).names)
    wide = authority.make("homelab", [*names, "example.com"])
    request = fake_commands.new_key(model, None, "")
    model.set_file("https", "cert", authority.sign(wide, request, names), "644 lab")
    model.set_file("https", "ca", wide.pem, "644 lab")
    https.self_signed(model.c)
    assert model.whys[-1] == issued(model, "the names have changed")
    assert vault.path_of("homelab").read_text() == model.file("https", "ca") != wide.pem


def test_one_that_ends_soon_is_renewed(served, monkeypatch):
    model = served()
    monkeypatch.setattr(own_ca, "RENEW_DAYS", 396)
    https.self_signed(model.c)
    assert model.whys == [KEY, issued(model, "the old one expires in 396 days")]


def test_wrong_modes_alone_need_no_new_certificate(served):
    """Nobody should have to trust a new CA for that."""
    model = served()
    for name in ("cert", "ca"):
        model.sections["https"][f"{name}.stat"] = "600 root"
    https.self_signed(model.c)
    assert model.whys == [
        f"make /home/lab/.jupyter/tls/{name}.pem readable" for name in ("cert", "ca")
    ]
    https.self_signed(model.again())
    assert model.whys == []


def test_a_second_laptop_learns_the_ca(served, capsys):
    model = served()
    vault.forget("homelab")
    https.self_signed(model.c)
    assert model.whys == [] and vault.path_of("homelab").read_text() == model.file("https", "ca")
    assert TRUST in capsys.readouterr().out


def test_a_kept_ca_signs_again_and_stays_trusted(served, monkeypatch, capsys):
    """Neither key went over the wire."""
    monkeypatch.setenv("LABFAB_CA_PASSPHRASE", "a long passphrase")
    model = served()
    first, ca = leaf(model), model.file("https", "ca")
    capsys.readouterr()
    https.renew(model.c)
    assert model.whys == [KEY, issued(model, "renewed")] and leaf(model).serial != first.serial
    assert model.file("https", "ca") == ca and TRUST not in capsys.readouterr().out
    assert not [
        script for script in model.told if "PRIVATE" in script or "a long passphrase" in script
    ]


def test_a_kept_ca_that_does_not_open_stops_before_the_host_is_touched(served, monkeypatch):
    monkeypatch.setenv("LABFAB_CA_PASSPHRASE", "right")
    model = served()
    monkeypatch.setattr(secrets, "TAKEN", {})
    with pytest.raises(SetupError, match="is locked with a passphrase: set LABFAB_CA_PASSPHRASE"):
        https.renew(model.c)
    assert model.whys == []


def test_renew_makes_another_ca_where_none_is_kept(served, capsys):
    model = served()
    ca = model.file("https", "ca")
    https.renew(model.c)
    assert model.file("https", "ca") != ca and TRUST in capsys.readouterr().out


@pytest.mark.parametrize("task", [https.issue, https.self_signed, https.renew, https.delete])
def test_without_anything_published_one_line_says_so(fake, task):
    model = fake()
    with pytest.raises(
        SetupError,
        match="nothing is published, so it needs no certificate: set publish: https or apache",
    ):
        task(model.c)
    assert model.writes == []


def test_a_plan_makes_no_key_and_no_ca(fake, alone):
    model = fake(dry=True, publish="https", names=NAMES)
    https.issue(model.c)
    assert model.planned[-2:] == [KEY, issued(model)] and model.writes == []
    assert not (alone / "home/.config/labfab").exists()


def test_a_link_that_leads_away_is_named(fake):
    model = fake(publish="https", names=NAMES)
    model.sections["https"]["folder_link"] = "/etc"
    with pytest.raises(SetupError, match="leads to /etc, which is not lab's"):
        https.issue(model.c)
    assert KEY not in model.whys


def test_status_is_given_in_words_and_as_json(served, capsys):
    model = served()
    capsys.readouterr()
    https.status(model.c)
    said = capsys.readouterr().out
    assert (
        "self-signed certificate for lab.example.org, 203.0.113.5" in said
        and "396 days left" in said
        and "https.renew" in said
    )
    https.status(model.again(), json=True)
    found = json.loads(capsys.readouterr().out)
    assert (found["kind"], found["names"], found["serial"]) == (
        "self-signed",
        list(leaf(model).names),
        leaf(model).serial,
    )
    assert model.writes == []


@pytest.mark.parametrize(
    "publish, says",
    [("tunnel", "nothing is published"), ("https", "there is no certificate: https.issue")],
)
def test_status_says_if_there_is_none(fake, capsys, publish, says):
    model = fake(publish=publish)
    https.status(model.c)
    assert says in capsys.readouterr().out
    https.status(model.again(), json=True)
    assert json.loads(capsys.readouterr().out) == {"published": publish != "tunnel", "names": []}


def test_it_is_deleted_when_nothing_serves_it(served):
    model = served()
    model.sections["lab"] |= {"owner": "lab", "pid": "7", "api": "2.21.0"}
    with pytest.raises(
        SetupError, match="JupyterLab serves this certificate: stop it first, lab.stop"
    ):
        https.delete(model.c)
    model.sections["lab"].clear()
    https.delete(model.again())
    assert model.whys == ["delete the certificate in /home/lab/.jupyter/tls"]
    https.delete(model.again())
    assert model.whys == []


FORGET = "delete certbot's certificate"


def test_what_would_bring_it_back_goes_with_it_even_where_it_is_gone(served):
    model = served(certificate="letsencrypt")
    for key in ("key", "cert.stat", "ca.stat"):
        del model.sections["https"][key]
    model.set_file("acme", "hook", "#!/bin/sh", "755 root")
    https.delete(model.again())
    assert model.whys == [FORGET]
    https.delete(model.again())
    assert model.whys == []


@pytest.mark.parametrize(
    "publish, other", [("https", "/etc/labfab/tls"), ("apache", "/home/lab/.jupyter/tls")]
)
def test_the_key_that_another_publish_had_goes_too(served, publish, other):
    """https.delete and the stage that switches over delete it, but not while it is in use."""
    model = served(publish=publish)
    model.sections["https"]["elsewhere"] = "yes"
    https.delete(model.again())
    assert [why.split()[-1] for why in model.whys][-1] == other and len(model.whys) == 2
    assert model.wrote(f"delete the certificate in {other}").user == (
        "root" if publish == "https" else "lab"
    )


def test_the_key_that_apache_had_goes_with_its_site(served):
    model = served()
    model.sections["https"]["elsewhere"], model.sections["proxy"]["enabled"] = "yes", "yes"
    proxy.publish_or_remove(model.again())
    assert model.whys == [
        "remove JupyterLab's site from Apache",
        "delete the certificate in /etc/labfab/tls",
    ]
    assert model.sections["https"]["key"] == "600 lab"


@pytest.mark.parametrize(
    "lab", [{"owner": "lab", "pid": "7", "stale": "yes", "api": "2"}, {"owner": "lab", "pid": "7"}]
)
def test_a_jupyterlab_that_still_runs_keeps_its_key(served, lab, capsys):
    """It runs with its old configuration and reads the files at each connection."""
    model = served(publish="apache")
    model.sections["https"]["elsewhere"] = "yes"
    model.sections["lab"] |= lab
    c = model.again()
    https.delete_unused(c, https.Settings.of(c))
    assert model.whys == [] and "still in use" in capsys.readouterr().out


def test_what_apache_serves_is_not_deleted(served):
    model = served(publish="apache")
    model.sections["proxy"]["enabled"] = "yes"
    with pytest.raises(
        SetupError, match="Apache serves this certificate: .* setup.undo --to proxy"
    ):
        https.delete(model.c)
    assert model.whys == []


def test_lets_encrypts_needs_no_trust(fake, capsys):
    model = fake(
        publish="https",
        certificate="letsencrypt",
        email="me@example.org",
        names=["lab.example.org"],
    )
    browsers.trust(model.c)
    assert "browsers trust Let's Encrypt already" in capsys.readouterr().out


# A hostile host --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ca", "cert"])
def test_setup_issues_another_one_and_says_why(served, name):
    model = served()
    vault.forget("homelab")
    model.set_file(
        "https", name, model.file("https", name) + issue("a CA for everything").pem, "644 lab"
    )
    https.self_signed(model.again())
    assert f"({name}.pem contains more than one certificate)" in model.whys[-1]
    kept = vault.path_of("homelab").read_text()
    assert kept == model.file("https", "ca") and kept.count("BEGIN") == 1


def test_who_has_the_cas_key_cannot_add_names(served):
    """A CA of the host's own, known here, signs for a bank: clients refuse that, and so do we."""
    model = served(names=[])
    names = [ADDRESS, "localhost", "127.0.0.1"]
    own = authority.make("homelab", names)
    request = fake_commands.new_key(model, None, "")
    model.set_file("https", "ca", own.pem, "644 lab")
    model.set_file("https", "cert", authority.sign(own, request, names), "644 lab")
    vault.store_ca("homelab", own.pem)
    forged = authority.sign(own, request, [*names, "bank.example"])
    model.set_file("https", "cert", forged, "644 lab")
    assert own_ca.lab_names(model.again()) == [ADDRESS]
    https.self_signed(model.c)
    assert "bank.example" not in certificate.read(model.file("https", "cert")).names


def test_a_host_cannot_take_the_names_of_another_lab(served):
    """The other lab's CA and certificate are public."""
    model, names = served(names=[]), ["other.example.org", "localhost", "127.0.0.1"]
    other = authority.make("other", names)
    vault.store_ca("other", other.pem)
    request = fake_commands.new_key(model, None, "")
    model.set_file("https", "ca", other.pem, "644 lab")
    model.set_file("https", "cert", authority.sign(other, request, names), "644 lab")
    assert own_ca.lab_names(model.again()) == [ADDRESS]
