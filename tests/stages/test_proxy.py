"""Apache publishes JupyterLab unless another site would suffer; then one line says why."""

import json
import re
import shlex
import subprocess

import jinja2
import pytest

from labfab.errors import SetupError
from labfab.facts import reader, vhosts
from labfab.host.session import Host
from labfab.stages import proxy
from tests import fake_commands
from tests.fake import NOTE

WRITE, SERVE = "write Apache's site for JupyterLab", "serve JupyterLab through Apache"
MINE = ["headers", "proxy", "proxy_http", "socache_shmcb", "ssl"]
DUMP = """\
AH00558: apache2: Could not reliably determine the server's fully qualified domain name, using 10.0.0.5.
VirtualHost configuration:
[2001:db8::1]:443      six.example (FOLDER/six.conf:2)
*:443                  is a NameVirtualHost
         default server shop.example (FOLDER/shop.conf:1)
         port 443 namevhost shop.example (FOLDER/shop.conf:1)
                 alias www.shop.example
         port 443 namevhost box.lan (FOLDER/a b.conf:1)
*:80                   box.lan (FOLDER/plain.conf:1)
Loaded Modules:
 core_module (static)
"""
FILES = {
    "six.conf": "# ServerName no.example\n<VirtualHost [::1]:443>\n ServerName https://Six.example:443\n</VirtualHost>\nServerName x",
    "shop.conf": '<VirtualHost *:443>\n\tServerName shop.example\n  serveralias www.shop.example "*.shop.example"\n</VirtualHost>\n',
    "a b.conf": "<VirtualHost *:443>\n</VirtualHost>\n<VirtualHost *:80>\nServerName later.example\n</VirtualHost>\n",
    "plain.conf": "<VirtualHost *:80>\n</VirtualHost>\n",
}


@pytest.fixture
def apache(fake):
    """A host with a certificate, and with Apache unless it should be bare."""

    def make(bare: bool = False, **lab):
        given = {
            "publish": "apache",
            "base_url": "/jupyter/",
            "lab_port": 8888,
            "names": ["lab.example.org"],
        }
        Host.sessions.clear()  # a host of its own each time
        model = fake(**given | lab)
        model.sections["https"] |= {"pair": "yes", "key": "600 root"}
        if not bare:
            model.install("apache2")
            model.sections["proxy"] |= fake_commands.APACHE
        return model

    return make


def way_back(model, why: str) -> list[str]:
    """Return how the journal undoes a change."""
    lines = [
        json.loads(shlex.split(found[1])[0])
        for script in model.told
        if (found := NOTE.search(script))
    ]
    return next(line["undo"] for line in lines if line["why"] == why)


def vhost(address: str, names: str, taken: str = "box.lan") -> str:
    return f"{address}\t{taken}\t/etc/apache2/sites-enabled/shop.conf:3\t{names}"


def test_a_bare_host_gets_apache_and_a_second_run_changes_nothing(apache):
    """Package, site, then modules and site together; the second run reads the host once."""
    model = apache(bare=True)
    proxy.apache(model.c)
    assert model.whys == ["install apache2", WRITE, SERVE]
    assert model.wrote(SERVE).command.endswith("\nsite_on " + " ".join(MINE))
    assert "Include $NEW" in model.wrote(WRITE).check
    proxy.apache(model.again())
    assert model.whys == [] and len(model.told) == 1


def test_only_missing_modules_are_enabled_and_only_those_are_undone(apache):
    """What was enabled before is not ours to disable."""
    model = apache()
    model.sections["proxy"] |= {"module.ssl": "yes", "module.socache_shmcb": "yes"}
    proxy.apache(model.c)
    assert model.wrote(SERVE).command.endswith("\nsite_on headers proxy proxy_http")
    assert way_back(model, SERVE) == ["apache_site proxy_http proxy headers"]


def test_a_stopped_apache_is_started_and_undo_stops_it(apache):
    """Undo knows whether it ran and whether it started at boot."""
    model = apache()
    del model.sections["proxy"]["running"]
    proxy.apache(model.c)
    assert model.whys[0] == "run Apache"
    assert way_back(model, "run Apache") == ["apache_service '' yes"]


@pytest.mark.parametrize("gone", ["enabled", "serves"])
def test_what_apache_does_not_serve_is_switched_on_again(apache, gone):
    """A site that was disabled, or a certificate that Apache has not read."""
    model = apache()
    proxy.apache(model.c)
    del model.sections["proxy"][gone]
    proxy.apache(model.again())
    assert model.whys == [SERVE]


def test_plan_mode_shows_the_same_and_writes_nothing(apache, fake):
    """Even without Apache and a certificate; a changed site means a reload in the plan too."""
    model = fake(dry=True, publish="apache", names=["lab.example.org"])
    proxy.apache(model.c)
    assert model.planned == ["install apache2", WRITE, SERVE] and model.writes == []
    model = apache()
    proxy.apache(model.c)
    model.dry, model.lab["names"] = True, ["lab.example.org", "lab2.example.org"]
    proxy.apache(model.again())
    assert model.planned == [WRITE, SERVE] and model.writes == []


def test_a_site_of_ours_that_apache_cannot_read_is_replaced(apache):
    """It is disabled first: until then Apache reports no other site."""
    model = apache()
    fault = reader.planned_file(
        "f",
        "Syntax error on line 7 of /etc/apache2/sites-enabled/zz-labfab.conf: Invalid command",
        "",
        "",
    )["f.text"]
    model.sections["proxy"] = {
        "version": "2.4.66",
        "running": "yes",
        "boots": "yes",
        "enabled": "yes",
        "fault": fault,
    }
    proxy.refuse_to_publish(model.c)
    proxy.apache(model.c)
    assert model.whys == ["disable our site, which Apache cannot read", WRITE, SERVE]
    assert model.wrote(SERVE).command.endswith("\nsite_on " + " ".join(MINE))


def test_what_is_no_longer_published_is_removed_from_apache(apache):
    """Another `publish` closes the old door; the file stays, to be enabled again."""
    model = apache()
    proxy.publish_or_remove(model.c)
    model.lab["publish"] = "tunnel"
    proxy.publish_or_remove(model.again())
    assert (
        model.whys == ["remove JupyterLab's site from Apache"]
        and "enabled" not in model.sections["proxy"]
    )
    proxy.publish_or_remove(model.again())
    assert model.whys == []
    model.lab["publish"] = "apache"
    proxy.publish_or_remove(model.again())
    assert model.whys == [SERVE]


def test_a_firewall_that_keeps_browsers_out_is_reported(apache, capsys):
    """The task alone opens no port; in setup.full an earlier stage has done so."""
    model = apache()
    model.sections["firewall"] |= {"active": "yes", "allowed.80": "allow 80/tcp"}
    proxy.apache(model.c)
    assert "nobody in at port 443: firewall.enable" in " ".join(
        "".join(capsys.readouterr()).split()
    )


FAULTS = {
    "nothing to publish": ({"publish": "https"}, {}, "set publish: apache"),
    "nginx at 80": ({}, {"ssh": {"listening.80": "nginx"}}, "port 80 is held by nginx"),
    "nobody knows at 443": (
        {},
        {"ssh": {"listening.443": "another program"}},
        "port 443 is held by another program",
    ),
    "a fault in the configuration": (
        {},
        {"proxy": {"fault": "QUgwMTogU3ludGF4IGVycm9y"}},
        "AH01: Syntax error",
    ),
    "the lines of the guide": (
        {},
        {"proxy": {"hands_on": "/etc/apache2/apache2.conf:230"}},
        "conf:230 passes requests to port 8888",
    ),
    "no Listen": ({}, {"proxy": {"listens": None}}, "Listen 443"),
    "our name": (
        {},
        {"proxy": {"vhost.1": vhost("*:443", "a.example lab.example.org")}},
        "shop.conf:3 serves lab.example.org at 443",
    ),
    "our name in a pattern": (
        {},
        {"proxy": {"vhost.1": vhost("*:443", "*.example.org")}},
        "shop.conf:3 serves lab.example.org",
    ),
    "our name as the machine's": (
        {"names": ["Box.lan"]},
        {"proxy": {"vhost.1": vhost("*:443", "")}},
        "shop.conf:3 serves Box.lan",
    ),
    "an address": (
        {"names": ["lab.example.org", "10.0.0.5"]},
        {"proxy": {"vhost.1": vhost("*:443", "a.example")}},
        "10.0.0.5, reach",
    ),
    "an address of its own": (
        {},
        {"proxy": {"vhost.1": vhost("10.0.0.5:443", "a.example")}},
        "shop.conf:3 has 10.0.0.5:443 to itself",
    ),
    "the whole of a site": (
        {"base_url": "/"},
        {"proxy": {"vhost.1": vhost("*:80", "lab.example.org")}},
        "give the lab a base_url",
    ),
    "no certificate": ({}, {"https": {"pair": None}}, "https.issue"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_what_would_not_work_is_refused_before_anything_is_touched(apache, case):
    """One line with what to do, and no change."""
    lab, sections, words = FAULTS[case]
    model = apache(**lab)
    for section, values in sections.items():
        model.sections[section] |= {
            key: value for key, value in values.items() if value is not None
        }
        for key in [key for key, value in values.items() if value is None]:
            del model.sections[section][key]
    with pytest.raises(SetupError, match=re.escape(words)) as error:
        proxy.apache(model.c)
    assert model.writes == [] and "\n" not in str(error.value)


def test_sites_that_do_not_clash(apache):
    """Another name at 443, ours at 80 with /jupyter/, an address with 443 free, our own site."""
    model = apache(names=["lab.example.org"])
    own = "*:443\tlab.example.org\t/etc/apache2/sites-enabled/zz-labfab.conf:4\tlab.example.org"
    model.sections["proxy"] |= {
        "vhost.1": vhost("*:443", "shop.example"),
        "vhost.2": vhost("*:80", "lab.example.org"),
        "vhost.3": own,
    }
    proxy.apache(model.c)
    model = apache(names=[])
    model.sections["proxy"]["vhost.1"] = vhost("*:80", "shop.example")
    proxy.apache(model.c)
    assert "ServerName 203.0.113.5\n" in model.wrote(WRITE).text


def site(apache, **lab) -> str:
    model = apache(**lab)
    proxy.apache(model.c)
    return model.wrote(WRITE).text


def test_the_site_publishes_one_path_under_tls_and_nothing_at_80(apache):
    """One virtual host, at 443; outside of it only a redirect for our names."""
    text = site(apache, names=["lab.example.org", "2001:db8::7", "10.0.0.5"])
    assert re.findall(r"<VirtualHost (.*)>", text) == ["*:443"]
    inside, outside = text.split("</VirtualHost>")
    assert re.findall(r"Server(?:Name|Alias) (.*)", inside) == [
        "lab.example.org",
        "[2001:db8::7]",
        "10.0.0.5",
    ]
    assert 'ProxyPass "/jupyter/" "http://127.0.0.1:8888/jupyter/" upgrade=websocket' in inside
    assert "Proxy" not in outside and "Rewrite" not in text and "Strict-Transport" not in text
    assert re.findall(r"=~ m#\^(.*)\(:", outside) == [r"lab\.example\.org", r"10\.0\.0\.5"]
    assert '<LocationMatch "^/jupyter(/|$)">' in outside
    assert "{" not in text.replace("%{", "").replace("${", "")


def test_a_lab_at_the_root_of_its_name(apache):
    """It gets all paths but those of ACME; at 80 an address stays with its present site."""
    text = site(apache, base_url="/", names=["lab.example.org", "10.0.0.5"])
    assert 'ProxyPass "/" "http://127.0.0.1:8888/"' in text and "404" not in text
    assert r'<LocationMatch "^/(?!\.well-known/acme-challenge/)">' in text
    assert re.findall(r"=~ m#\^(.*)\(:", text) == [r"lab\.example\.org"]
    assert "<LocationMatch" not in site(apache, base_url="/", names=[])


@pytest.mark.parametrize("base", ["/", "/jupyter/"])
def test_pages_are_not_compressed(apache, base):
    """Scripts and styles hold no secret, and are large."""
    text = site(apache, base_url=base)
    (pages,) = re.findall(r'SetEnvIf Request_URI "(.*)" no-gzip no-brotli', text)
    for path, bare in (("lab", True), ("static/x.js", False), ("lab/extensions/x/y.js", False)):
        assert bool(re.search(pages, base + path)) is bare


def test_hsts_is_sent_only_where_it_harms_nobody(apache):
    """Only for a name that only the lab has, with a certificate that all browsers trust."""
    public = {"certificate": "letsencrypt", "email": "me@example.org"}
    assert "Strict-Transport-Security" in site(apache, base_url="/", **public)
    assert "Strict-Transport-Security" not in site(apache, **public)
    assert "Strict-Transport-Security" not in site(apache, base_url="/")


def test_an_apache_before_2_4_47_gets_websockets_its_own_way(apache):
    """Two more modules, and a rule instead of upgrade=."""
    model = apache(base_url="/a.b/")
    model.sections["proxy"]["version"] = "2.4.41"
    proxy.apache(model.c)
    assert model.wrote(SERVE).command.endswith(
        "\nsite_on " + " ".join([*MINE, "rewrite", "proxy_wstunnel"])
    )
    text = model.wrote(WRITE).text
    assert (
        'RewriteRule "^/a\\.b/(.*)$" "ws://127.0.0.1:8888/a.b/$1" [P,L]' in text
        and "upgrade=" not in text
    )


def test_a_missing_value_of_the_template_is_an_error():
    """No gap is left in the configuration of a web server."""
    with pytest.raises(jinja2.UndefinedError):
        proxy.template(names=["lab.example.org"])


def test_apaches_sites_are_read_with_all_their_names(tmp_path):
    """Alone at an address or not, with a scheme or a pattern, from a file with a space."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "dump").write_text(DUMP.replace("FOLDER", str(tmp_path)))
    script = f'{reader.APACHE}\nawk "$SITES" {shlex.quote(str(tmp_path))}/dump'
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    values = reader.with_prefix(
        reader.parse("[proxy]\n" + done.stdout, ("proxy",))["proxy"], "vhost"
    )
    six, shop, default, plain = vhosts.parse_sites(values)
    assert (six.address, six.port, six.names) == ("[2001:db8::1]", "443", {"six.example"})
    assert (shop.place, shop.names) == (
        f"{tmp_path}/shop.conf:1",
        {"shop.example", "www.shop.example", "*.shop.example"},
    )
    assert (default.names, default.default_name, default.place) == (
        set(),
        "box.lan",
        f"{tmp_path}/a b.conf:1",
    )
    assert (plain.address, plain.port, plain.default_name) == ("*", "80", "box.lan")
    assert shop.answers("Deep.shop.example") and not shop.answers("example")
    assert plain.answers("box.lan") and not plain.names_it("box.lan")


def test_the_script_is_posix_shell(tmp_path):
    """Every sh reads it."""
    (tmp_path / "apache.sh").write_text(reader.APACHE)
    subprocess.run(["sh", "-n", tmp_path / "apache.sh"], check=True)


@pytest.mark.parametrize(
    "name, asked",
    [
        ("gpu1.cluster2", "-servername gpu1.cluster2"),
        ("lab.example.org", "-servername lab.example.org"),
        ("192.0.2.7", "-noservername"),
        ("[2001:db8::1]", "-noservername"),
    ],
)
def test_the_site_is_asked_for_by_its_name(tmp_path, name, asked):
    """A browser that comes by address sends no name; a name with digits is still a name."""
    (tmp_path / "site").write_text(f"  ServerName {name}\n")
    text = reader.APACHE.replace(
        "OUR_SITE=/etc/apache2/sites-available/zz-labfab.conf", f"OUR_SITE={tmp_path}/site"
    )
    script = f'{text}\nfind() {{ :; }}\ntimeout() {{ echo "$@" >>{tmp_path}/asked; }}\nserves\n'
    subprocess.run(["sh", "-c", script], capture_output=True)
    assert (
        (tmp_path / "asked")
        .read_text()
        .strip()
        .endswith(f"s_client -connect 127.0.0.1:443 {asked}")
    )
