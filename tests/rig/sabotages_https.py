"""Sabotages of a host that Apache publishes: for each row of check.https something that breaks it, and what mends it."""

import shutil

from tests.made_certificates import Paper, issue

from .sabotages import (
    ANY_PASSWORD,
    JUPYTER,
    PASSWORD,
    RESTART,
    Act,
    Case,
    Place,
    do,
    edited,
    laptop,
    mode,
    token,
)

NAME = "lab.example.test"
BASE = "/jupyter/"
TLS = "/etc/labfab/tls"
CA = ".config/labfab/homelab/ca.pem"
JSON = f"{JUPYTER}/jupyter_server_config.json"
LIMIT = "/home/lab/jupyter-venv/etc/jupyter/jupyter_server_config.py"
NO_OPTION = f"mv /run/jupyter.json {JSON} && {RESTART}"
SITE = "/etc/apache2/sites-available/zz-labfab.conf"
OLD_KEY = "/etc/letsencrypt/archive/old/privkey1.pem"
# A reload starts new workers while the old ones still end.
RELOAD = "{ apache2ctl -t 2>&1 && systemctl reload apache2 && sleep 0.5; }"
MORE = "/etc/apache2/sites-enabled/zzz-more.conf"
LISTEN = f"""
ufw allow %s/tcp >/dev/null
cat >{MORE} <<'E'
Listen %s
<VirtualHost *:%s>
  %s
  ProxyPreserveHost On
  ProxyPass / http://127.0.0.1:9999/
</VirtualHost>
E
{RELOAD}
"""
WITH_TLS = (
    f"SSLEngine on\n  SSLCertificateFile {TLS}/cert.pem\n  SSLCertificateKeyFile {TLS}/key.pem"
)
REFUSE = "iptables -I INPUT %s -p tcp --dport %s -j REJECT --reject-with tcp-reset"


def site(change: str) -> tuple[str, str]:
    """Change Apache's site for JupyterLab with sed, and bring it back."""
    breaks, mends = edited(SITE, change)
    return f"{breaks} && {RELOAD}", f"{mends} && {RELOAD}"


def listening(port: int, more: str) -> tuple[str, str]:
    """Hand another port to JupyterLab as well."""
    return LISTEN % (
        port,
        port,
        port,
        more,
    ), f"rm {MORE}; ufw delete allow {port}/tcp >/dev/null; {RELOAD}"


def option(part: str, name: str, value: object) -> str:
    """Add an option to Jupyter's configuration, as somebody might have before labfab."""
    program = (
        f"import json; p='{JSON}'; c=json.load(open(p)); "
        f"c.setdefault('{part}',{{}})['{name}']={value!r}; json.dump(c,open(p,'w'))"
    )
    return f'cp -p {JSON} /run/jupyter.json && python3 -c "{program}" && {RESTART}'


def logged_in(place: Place) -> None:
    """Let Apache log everybody in."""
    header = f'RequestHeader set Authorization "token {token(place)}"'
    do(place, site(f"s/SSLEngine on/&\\n  {header}/")[0])


def serving(names: str = "", **days: float) -> tuple[Act, Act]:
    """Serve a certificate with something wrong in it, of a CA that the laptop takes for the lab's; and the right one again."""

    def breaks(place: Place) -> None:
        ca = issue("some CA", ends=400)
        leaf = issue("JupyterLab", (names,) if names else (NAME, place.host.address), by=ca, **days)
        know(place, ca)
        place.host.run(
            f"cd {TLS}; cp -p cert.pem /run; cp -p key.pem /run; cat >cert.pem", input=leaf.pem
        )
        place.host.run(f"cat >{TLS}/key.pem; {RELOAD}", input=leaf.key_pem)

    def mends(place: Place) -> None:
        know_again(place)
        place.host.run(f"cp -p /run/cert.pem /run/key.pem {TLS}; {RELOAD}")

    return breaks, mends


def know(place: Place, ca: Paper) -> None:
    """Let the laptop take another CA for the lab's."""
    shutil.copy(place.home / CA, place.home / "ca.kept")
    (place.home / CA).write_text(ca.pem)


def know_again(place: Place) -> None:
    shutil.copy(place.home / "ca.kept", place.home / CA)


HTTPS_CASES = [
    Case(
        "https-account",
        "groupadd -f docker; gpasswd -a lab docker",
        "gpasswd -d lab docker",
        says="can become root (by the group docker)",
    ),
    Case(
        "https-reach",
        REFUSE % ("", 443),
        "iptables -D INPUT 1",
        says="a router or a cloud firewall blocks it",
    ),
    Case(
        "https-reach",
        "ufw delete allow 443/tcp",
        "ufw allow 443/tcp",
        says="the host's firewall refuses port 443",
    ),
    Case(
        "https-reach",
        "systemctl stop apache2",
        "systemctl start apache2",
        says="nothing listens on port 443",
    ),
    Case(
        "https-tls",
        *site(
            "s/SSLProtocol .*/SSLProtocol all/; s/SSLCipherSuite .*/SSLCipherSuite ALL:@SECLEVEL=0/"
        ),
        says="TLSv1.1",
    ),
    Case(
        "https-days",
        *serving(begins=-10, ends=-1.9),
        says="it ended 1 day ago",
        also={"https-renewal": "warn"},
    ),
    Case(
        "https-chain",
        lambda place: know(place, issue("another CA")),
        know_again,
        says="unknown issuer: labfab CA of homelab",
    ),
    Case("https-names", *serving(NAME), says=f"but for {NAME}"),
    Case("https-renewal", *serving(ends=20.5), "warn", says="20 days left"),
    Case("https-redirect", *site("/RedirectMatch .*https:/d"), says="answers 404"),
    Case("https-redirect", REFUSE % ("", 80), "iptables -D INPUT 1", says="does not answer"),
    Case("https-plain", *listening(8765, ""), says="it answers on port 8765"),
    Case("https-doors", *listening(8444, WITH_TLS), says="a login page at port 8444"),
    Case(
        "https-login",
        REFUSE % ("-i lo", 9999),
        "iptables -D INPUT 1",
        says="Apache cannot reach JupyterLab",
        also={"lab-api": "fail", "lab-owner": "not checked"},
    ),
    Case("https-closed", logged_in, site("")[1], says="answers 200"),
    Case(
        "https-password",
        laptop(PASSWORD, lambda path: path.write_text(f"x{path.read_text()}")),
        laptop(PASSWORD, lambda path: path.write_text(path.read_text()[1:])),
        says="it is refused",
    ),
    Case(
        "https-cookies",
        *site("/Header edit Set-Cookie/d; s/(X-Forwarded-Proto) .*/\\1 http/"),
        says="username-lab-example-test is",
    ),
    Case("https-kernel", *site("s/ upgrade=websocket//"), says="the kernel at"),
    Case(
        "https-wrong-password",
        f"cp -p {LIMIT} /run/limit.py; cat >>{LIMIT} <<'E'\n{ANY_PASSWORD}\nE\n{RESTART}",
        f"mv /run/limit.py {LIMIT}; {RESTART}",
        says="any password is accepted",
        also={"https-body": "fail"},
    ),
    Case(
        "https-limit",
        f"mv {LIMIT} /run/limit.py && {RESTART}",
        f"mv /run/limit.py {LIMIT} && {RESTART}",
        says="guesses are not limited",
        also={"https-body": "fail"},
    ),
    Case(
        "https-body",
        f"cp -p {LIMIT} /run/limit.py && sed -i 's/^BODY = .*/BODY = 2**29/' {LIMIT} && {RESTART}",
        f"mv /run/limit.py {LIMIT} && {RESTART}",
        says="it accepts 1048576 bytes from anybody",
    ),
    Case(
        "https-compression",
        *site("/no-gzip/d; s#SSLEngine on#&\\n  AddOutputFilterByType DEFLATE text/html#"),
        says="the login page comes as gzip",
    ),
    Case(
        "https-options",
        option("ServerApp", "allow_origin", "*"),
        NO_OPTION,
        says="pages of strangers may use it",
    ),
    Case(
        "https-options",
        option("ServerApp", "disable_check_xsrf", True),
        NO_OPTION,
        says="ServerApp.disable_check_xsrf",
    ),
    Case("secrets-tls", *mode(f"{TLS}/key.pem", 640, 600), says="key.pem is 640 root"),
    Case(
        "secrets-tls",
        f"mkdir -p {OLD_KEY[:-13]}; echo >{OLD_KEY}; chmod 644 {OLD_KEY}",
        "rm -r /etc/letsencrypt",
        says="is 644 root",
    ),
    Case(
        "host-sudo",
        "umask 337; echo 'side ALL=(ALL:ALL) NOPASSWD: ALL' >/etc/sudoers.d/side",
        "rm /etc/sudoers.d/side",
        says="may become root",
    ),
]
