"""What each command of labfab does to the model; a command that is not here is an error."""

import base64
import re
import shlex
from fnmatch import fnmatchcase

GUARDED = re.compile(
    r"^sudoers\.|\.(keys\.|home_stat|ssh_stat|groups|password)"
)  # what the guard restores of the accounts


def do(model, made) -> str | None:
    """Apply the effect of a change, and return what it prints, if that matters."""
    if made.path:
        return put(model, made)
    for pattern, effect in EFFECTS:
        found = re.fullmatch(pattern, made.command, re.DOTALL)
        if found:
            return effect(model, made, *found.groups())
    raise AssertionError(f"the model does not know the command: {made.command}")


def put(model, made) -> None:
    place = {
        "/etc/sudoers.d/90-labfab": ("accounts", "sudoers"),
        "/etc/ssh/sshd_config": ("ssh", "main"),
        "/etc/systemd/system/ssh.service.d/labfab.conf": ("ssh", "restarts"),
        "/etc/systemd/system/ssh.socket.d/labfab.conf": ("ssh", "streams"),
        "/etc/ssh/sshd_config.d/00-labfab.conf": ("ssh", "drop_in"),
        "/etc/ssh/sshd_config.d/000-labfab.conf": ("ssh", "drop_in"),
        "/Library/LaunchDaemons/org.labfab.sshd.plist": ("ssh", "plist"),
        "/etc/apache2/sites-available/zz-labfab.conf": ("proxy", "site"),
        "/etc/letsencrypt/renewal-hooks/deploy/labfab": ("acme", "hook"),
        "/etc/systemd/system/labfab-certbot.service": ("acme", "service"),
        "/etc/systemd/system/labfab-certbot.timer": ("acme", "own_timer"),
        "/Library/LaunchDaemons/org.labfab.jupyter.plist": ("lab", "unit"),
    }.get(made.path)
    if found := re.fullmatch(r"/(?:home/|Users/)?([a-z]+)/.ssh/authorized_keys", made.path):
        place = ("accounts", f"{found[1]}.keys")
    elif made.path.endswith("/.jupyter/jupyter_server_config.json"):
        place = ("jupyter", "config")
    elif made.path.endswith("/etc/jupyter/jupyter_server_config.py"):
        place = ("jupyter", "login")
    elif found := re.fullmatch(r"\S+/tls/(cert|ca)\.pem", made.path):
        place = ("https", found[1])
    assert place, f"the model does not know the file: {made.path}"
    model.set_file(*place, made.text, f"{made.mode} {made.user}")
    if place == ("ssh", "drop_in"):
        server_options(model)
    if place == ("lab", "unit"):
        model.sections["lab"] |= {"service": "yes", "state": "inactive"}
    if made.path.endswith("/000-labfab.conf"):  # on a Mac each connection reads it
        reload(model, made)


def updated(model, made, words, listed) -> None:
    """Remove what softwareupdate installs from its list."""
    labels = shlex.split(words)
    have = model.updates = [item for item in model.updates if item[0] not in labels]
    list_updates(model, made)
    if "-R" in labels:
        assert listed is None and have is not None
        model.sections["system"]["boot_id"] += "+"


def list_updates(model, made) -> None:
    titles = {label: label.rpartition("-")[0] for label, restart in model.updates}
    lines = [
        f"* Label: {label}\n\tTitle: {titles[label]}, Version: {titles[label].split()[-1]},{' Action: restart, ' * restart}"
        for label, restart in model.updates
    ]
    text = "Software Update Tool\n\n" + ("\n".join(lines) or "No new software available.")
    listed = base64.b64encode(text.encode()).decode()
    model.sections["updates"] |= {"age": "0", "listed": listed}
    model.sections["upgrades"] |= {"pending": str(len(model.updates))}


def load_daemon(model, made, label) -> None:
    assert label == "org.labfab.jupyter", label
    model.sections["lab"] |= {
        "service": "yes",
        "state": "running",
        "owner": "lab",
        "pid": "4711",
        "holder": "python3.12",
        "api": "2.21.0",
    }


def unload_daemon(model, made, label, removed) -> None:
    unit = {key: value for key, value in model.sections["lab"].items() if key.startswith("unit.")}
    model.sections["lab"] = {} if removed else unit | {"service": "yes", "state": "inactive"}


def facts(section: str, **values: str):
    """Return an effect that only sets facts."""
    return lambda model, made, *words: model.sections[section].update(values)


def add_account(model, made, name) -> None:
    model.add_account(name)


def join_group(model, made, group, name) -> None:
    model.sections["accounts"][f"{name}.groups"] += f" {group}"


def set_password(model, made) -> None:
    name, _, value = made.stdin.rstrip("\n").partition(":")
    model.sections["accounts"][f"{name}.password"] = "P"
    model.sudo_passwords[name] = value


def install(model, made, packages) -> None:
    model.install(*shlex.split(packages))
    if "apache2" in shlex.split(packages):
        model.sections["proxy"] |= APACHE
    if "certbot" in shlex.split(packages):
        model.sections["acme"] |= {"program": "/usr/bin/certbot", "renews.certbot.timer": "yes"}


def run_apache(model, made) -> None:
    model.sections["proxy"] |= {"running": "yes", "boots": "yes"}


def serve(model, made, modules) -> None:
    model.sections["proxy"] |= {f"module.{name}": "yes" for name in modules.split()} | {
        "enabled": "yes",
        "serves": "yes",
    }


def private_folder(model, made, folder) -> None:
    ssh = ("accounts", f"{made.user}.ssh_stat")
    section, key = {
        ".ssh": ssh,
        ".jupyter": ("jupyter", "folder_stat"),
        ".jupyter/tls": ("https", "folder_stat"),
    }[folder]
    assert model.sections[section].get(key, made.user).endswith(made.user), (
        "it is not the account's"
    )
    model.sections[section][key] = f"700 {made.user}"


def own(model, made, path, name) -> None:
    section, key = {
        ".ssh": ("accounts", f"{name}.ssh_stat"),
        ".jupyter": ("jupyter", "folder_stat"),
    }.get(path, ("accounts", f"{name}.keys.stat"))
    mode = model.sections[section][key].split()[0]
    model.sections[section][key] = f"{mode} {name}"


def own_home(model, made, name) -> None:
    mode = model.sections["accounts"][f"{name}.home_stat"].split()[0]
    model.sections["accounts"][f"{name}.home_stat"] = f"{mode} {name}"


def close_folder(model, made, mode, path) -> None:
    if path == model.sections["accounts"][f"{made.user}.home"]:
        model.sections["accounts"][f"{made.user}.home_stat"] = f"{mode} {made.user}"
    else:
        model.sections["jupyter"]["root_dir_mode"] = mode


def close_home(model, made) -> None:
    model.sections["accounts"][f"{made.user}.home_stat"] = f"755 {made.user}"


def close_keys(model, made) -> None:
    model.sections["accounts"][f"{made.user}.keys.stat"] = f"600 {made.user}"


def sshd(model, made) -> None:
    """Apply the drop-in. The first value wins, except for a Match block."""
    have = model.sections["ssh"]
    text = re.split(r"(?im)^\s*match\s", model.file("ssh", "drop_in"))[0]
    lines = re.findall(r"(?m)^[ \t]*([A-Za-z]+)[ \t=]+(\S+)", text)[::-1]
    ports = [value for key, value in lines if key.lower() == "port"] or ["22"]
    for key in [
        key
        for key in have
        if key.startswith(("port.", "listening.")) and (have.get(key) in ("yes", "sshd"))
    ]:
        del have[key]
    for port in ports:
        have |= {f"port.{port}": "yes", f"listening.{port}": "sshd"}
    if streams := re.findall(r"ListenStream=(\d+)", model.file("ssh", "streams")):
        for key in [key for key in have if key.startswith("socket_port.")]:
            del have[key]
        have |= {f"socket_port.{port}": "yes" for port in streams}
    for name in {key.split(".")[0] for key in have if key.endswith(".permitrootlogin")}:
        have |= {
            f"{name}.{key.lower()}": value
            for key, value in lines
            if key.lower() != "port" and f"sshd.{key.lower()}" not in have
        }
        have |= {f"{name}.{key}": value for key, value in model.match_users.get(name, {}).items()}


def server_options(model) -> None:
    """Apply what holds for everybody, as sshd -T says it at once. A list may be subtracted from the defaults."""
    have, lines = model.sections["ssh"], model.file("ssh", "drop_in").splitlines()
    for line in [line for line in lines if " " in line and line[0] != "#"][::-1]:
        name, value = line.lower().split(" ", 1)
        if f"sshd.{name}" not in have:
            continue
        if value.startswith("-"):
            gone = value[1:].split(",")
            names = model.sshd_defaults[name].split(",")
            value = ",".join(one for one in names if not any(fnmatchcase(one, p) for p in gone))
        have[f"sshd.{name}"] = value


def reload(model, made) -> None:
    listening = {
        k: v for k, v in model.sections["ssh"].items() if k.startswith(("port.", "listening."))
    }
    sshd(model, made)
    for key in [k for k in model.sections["ssh"] if k.startswith(("port.", "listening."))]:
        del model.sections["ssh"][key]
    model.sections["ssh"] |= listening


def allow(model, made, action, port, comment) -> None:
    model.sections["firewall"][f"allowed.{port}"] = (
        f"{action} {port}/tcp" + f" comment={(comment or '').encode().hex()}" * bool(comment)
    )
    if action == "limit":
        model.sections["firewall"][f"limited.{port}"] = "yes"


def some(model, made, rule) -> None:
    """Add a rule for some senders."""
    rule, port = rule.partition(" comment ")[0], rule.split(" port ")[1].split()[0]
    known = model.sections["firewall"].get(f"partial.{port}")
    model.sections["firewall"][f"partial.{port}"] = ";".join(filter(None, (known, rule)))


def close(model, made, rule) -> None:
    rules = model.sections["firewall"]
    for key in [key for key in rules if key.startswith(("allowed.", "partial."))]:
        left = [
            one
            for one in rules.pop(key).split(";")
            if one.partition(" comment=")[0].strip() != rule
        ]
        rules |= {key: ";".join(left)} if left else {}


def make_venv(model, made) -> None:
    home = model.sections["accounts"][f"{made.user}.home"]
    model.sections["python"] |= {
        "prefix": f"{home}/jupyter-venv",
        "python": "yes",
        "version.uv": "0.9",
    }


def add_packages(model, made, packages) -> None:
    for name in re.split(r"[\[<>=!~][^ ]*", " ".join(shlex.split(packages))):
        for one in name.split():
            version = "4.6.6" if one == "jupyterlab" else "2.21.0"
            model.sections["python"]["version." + re.sub(r"[-_.]+", "_", one).lower()] = version
    if "jupyterlab" in packages:
        model.sections["python"]["lab"] = "yes"


def unpack(model, made, kind) -> None:
    home = model.sections["accounts"][f"{made.user}.home"]
    model.sections["python"] |= {"prefix": f"{home}/{kind}", "python": "yes", "conda": "yes"}
    model.sections["python"].pop("unfinished", None)


def no_limit(model, made) -> None:
    for key in ("login.stat", "login.text"):
        model.sections["jupyter"].pop(key)


def root_dir(model, made, path) -> None:
    model.sections["jupyter"] |= {"root_dir": made.user, "root_dir_mode": "700"}


def linger(model, made, name) -> None:
    model.sections["accounts"][f"{name}.linger"] = "yes"


def start(model, made) -> None:
    model.sections["lab"] |= {
        "session": "yes",
        "owner": made.user,
        "pid": "4711",
        "holder": "jupyter-lab",
        "api": "2.21.0",
    }


def stop(model, made, *words) -> None:
    model.sections["lab"].clear()


def new_key(model, made, folder) -> str:
    """Make a key and a request for it."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        .sign(key, hashes.SHA256())
    )
    return request.public_bytes(serialization.Encoding.PEM).decode()


def certificate(model, made, folder, cert, ca, apache) -> None:
    assert bool(apache) == (made.user == "root") == (folder == "/etc/labfab/tls")
    for name, text in (("cert", cert), ("ca", ca)):
        model.set_file("https", name, shlex.split(text)[0], f"644 {made.user}")
    model.sections["https"] |= {"key": f"600 {made.user}", "pair": "yes"}


def no_certificate(model, made, folder) -> None:
    have = model.sections["https"]
    if (folder == "/etc/labfab/tls") != (model.lab["publish"] == "apache"):
        del have["elsewhere"]
    else:
        model.sections["https"] = {
            key: have[key] for key in ("folder_stat", "elsewhere") if key in have
        }


def lineage(model, made, program, server, email, words) -> None:
    """Issue the certificate that certbot was asked for, and record how."""
    from labfab.certificates import authority

    assert model.sections["acme"].get("program") == program or "snap" in program
    asked = shlex.split(words)
    names = [
        name
        for option, name in zip(asked, asked[1:], strict=False)
        if option in ("-d", "--ip-address")
    ]
    ca = authority.make("acme", names)
    request = new_key(model, made, "")
    how = next(
        word.removeprefix("--")
        for word in asked
        if word in ("--standalone", "--apache", "--manual")
    )
    hook = asked[asked.index("--manual-auth-hook") + 1] if how == "manual" else ""
    more = f"manual_auth_hook = {hook}\n" if hook else ""
    model.set_file("acme", "lineage", authority.sign(ca, request, names) + ca.pem, "777 root")
    model.set_file(
        "acme",
        "renewal",
        f"[renewalparams]\nserver = {server}\nauthenticator = {how}\n{more}",
        "644 root",
    )
    model.sections["acme"]["program"] = program


def renewed(model, made, program) -> None:
    from labfab.certificates import authority, certificate

    names = certificate.read(model.file("acme", "lineage")).names
    ca = authority.make("acme", names)
    model.set_file(
        "acme", "lineage", authority.sign(ca, new_key(model, made, ""), names), "777 root"
    )
    handed(model, made)  # certbot runs the hook


def handed(model, made) -> None:
    assert model.file("acme", "hook"), "there is no hook"
    owner = "root" if "OWNER=root" in model.file("acme", "hook") else model.lab.get("user", "lab")
    model.set_file("https", "cert", model.file("acme", "lineage"), f"644 {owner}")
    model.sections["https"] |= {"key": f"600 {owner}", "pair": "yes"}
    for key in ("ca.stat", "ca.text"):
        model.sections["https"].pop(key, None)


def forget(model, made, *words) -> None:
    have = model.sections["acme"]
    for key in [key for key in have if key.split(".")[0] in ("hook", "renewal", "lineage")]:
        del have[key]


def renews(model, made, unit) -> None:
    model.sections["acme"][f"renews.{unit}"] = "yes"


def reboot(model, made) -> None:
    model.sections["system"]["boot_id"] += "+"
    model.sections["system"].pop("reboot_required", None)


MARK = r"set --\n# Defines under_mark .*\n}\n"
INDEX = r"(?:--index-url \S+ ?)?(?:--trusted-host \S+ ?)?"
APT = r"DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=a apt-get -y -q .*"
APACHE = {  # as Debian brings it
    "version": "2.4.66",
    "running": "yes",
    "boots": "yes",
    "listens": "yes",
    "module.alias": "yes",
    "module.authz_core": "yes",
    "module.mime": "yes",
    "module.setenvif": "yes",
    "vhost.0": "*:80\t203.0.113.5\t/etc/apache2/sites-enabled/000-default.conf:1\t",
}
LIST_UPDATES = r"set --\n# Asks Apple for updates .*>/var/cache/labfab/softwareupdate\n"
EFFECTS = (
    (r"mkdir -p /etc/systemd/system/ssh\.(service|socket)\.d", facts("ssh")),
    (r"systemctl daemon-reload", facts("ssh")),
    (LIST_UPDATES, list_updates),
    (rf"softwareupdate -i (.*?)( && \{{\n{LIST_UPDATES}\}})?", updated),
    (
        r'pmset -g custom >"\$KEPT.pmset" && pmset -a sleep 0 disksleep 0 womp 1 autorestart 1',
        facts("power", sleep="0", disksleep="0", womp="1", autorestart="1"),
    ),
    (
        r"nohup sh -c 'sleep 1; shutdown -r now' >/dev/null 2>&1 &",
        lambda model, made: reboot(model, made),
    ),
    (r"load_daemon (\S+) \S+ 25", load_daemon),
    (r"unload_daemon (\S+)( && rm -f \S+)?", unload_daemon),
    (
        r"~/\w+/bin/conda install -y -q -n base --override-channels -c conda-forge tmux",
        lambda model, made: model.install("tmux"),
    ),
    (r"useradd --create-home -K HOME_MODE=0700 --shell /bin/bash ([a-z_0-9-]+)", add_account),
    (r"usermod --append --groups (\w+) ([a-z_0-9-]+)", join_group),
    (r"chpasswd", set_password),
    (
        rf'dpkg-query [^;]*; NEEDRESTART_SUSPEND=1 {APT}--force-confold -o DPkg::\S+="[^"]*" install --no-remove --no-install-recommends (.*)',
        install,
    ),
    (
        r"set --\n# Fetches the package lists .* update 2>&1\) && note_time; do\n.*  break\ndone\n",
        facts("updates", age="0"),
    ),
    (
        rf"{APT}(-o APT::Get::AutomaticRemove=false --with-new-pkgs upgrade|--auto-remove dist-upgrade)",
        facts("upgrades", pending="0"),
    ),
    (
        r".*dpkg --configure -a .*",
        lambda model, made: model.sections["updates"].pop("interrupted", None),
    ),
    (rf"{APT}--no-remove -f install", lambda model, made: None),
    (
        r"cloud-init status --wait >/dev/null \|\| true",
        lambda model, made: model.sections["system"].pop("settling"),
    ),
    (r"nohup sh -c 'sleep 1; systemctl reboot' >/dev/null 2>&1 &", reboot),
    (r"mkdir -p \S+/(\.ssh|\.jupyter|\.jupyter/tls) && chmod 700 \S+", private_folder),
    (
        r"mkdir -p /etc/labfab /etc/labfab/tls && chmod 755 /etc/labfab/tls",
        facts("https", folder_stat="755 root"),
    ),
    (
        r"set -eu; umask 077; cd -P (\S+); .*openssl req -new -key next-key.pem -subj /CN=labfab\n",
        new_key,
    ),
    (
        r"set -- (\S+) ('[^']*') ('[^']*')\n# Puts a new key, certificate and CA in place.*\ndone\n"
        r"(if systemctl -q is-active apache2; .*; fi)?",
        certificate,
    ),
    (r"rm -f \S+/etc/jupyter/jupyter_server_config\.py", no_limit),
    (r"rm -f (\S+/tls)/key.pem \S+/tls/cert.pem \S+/tls/ca.pem", no_certificate),
    (
        r"set -- \S+ \S+ (\S+) ([a-z]+)\n# Give an account a file .*",
        own,
    ),
    (r"locate \S+; if .* \[ -L \S+ \]; then .* else chown -h ([a-z]+) \S+; fi", own_home),
    (r"chmod go-w \S+", close_home),
    (r"chmod 600 \S+/authorized_keys", close_keys),
    (r"set --\n# Makes sshd listen as its files say, .*", sshd),
    (
        r"mkdir -p /run/sshd && /usr/sbin/sshd -t && if systemctl is-active -q ssh; then how=reload; .*systemctl \$how ssh; fi",
        reload,
    ),
    (r"ufw (allow|limit) (\d+)/tcp(?: comment (\w+))?", allow),
    (r"ufw ((?:allow|limit|deny|reject) (?:.* )?from .*)", some),
    (r"ufw default allow routed", facts("firewall", forward="allow")),
    (
        r"ufw allow (\d+)/udp",
        lambda model, made, port: model.sections["firewall"].update({f"allowed_udp.{port}": "yes"}),
    ),
    (r"said=\$\(LC_ALL=C ufw delete ([^)]*)\); case .*", close),
    (
        r"printf %s '[^']*port = ([^']*)\n' >\S+/zz-labfab.local.new && .*fail2ban-client reload.*",
        lambda model, made, ports: model.sections["ssh"].update(jail=ports),
    ),
    (r"ufw default deny incoming", facts("firewall", incoming="deny")),
    (
        r"ufw default deny incoming && ufw --force enable",
        facts("firewall", active="yes", incoming="deny"),
    ),
    (
        rf"wheel_of_pip\(\) {{\n.*\n}}\n{MARK}set -- \S+ jupyter-venv (?:''|--clear) "
        rf"(?:'uv==[^']*' --require-hashes|uv '') ?{INDEX}\n"
        r"# Makes a virtual environment .*",
        make_venv,
    ),
    (
        rf"{MARK}set -- uv jupyter-venv (?:--reinstall )?{INDEX}(.*?)\n# Installs packages .*",
        add_packages,
    ),
    (
        rf"{MARK}set -- uv-locked jupyter-venv(?: --reinstall)? ?{INDEX}\n# Installs packages .*",
        lambda model, made: add_packages(model, made, "jupyterlab jupyter_server pip"),
    ),
    (rf"{MARK}set -- pip \w+ {INDEX}(.*?)\n# Installs packages .*", add_packages),
    (rf"{MARK}set -- conda \w+ (.*?)\n# Installs packages .*", add_packages),
    (r"mkdir -p ~/.cache/labfab && cd ~/.cache/labfab && curl .*", lambda model, made: None),
    (r"cd ~/.cache/labfab && touch (\w+).unfinished && bash .*", unpack),
    (r"printf %s .* >>\S+/\.z?profile", facts("python", **{"shell.venv": "yes"})),
    (r"~/\w+/bin/conda init bash(?: zsh)?", facts("python", **{"shell.conda": "yes"})),
    (r"umask 077; mkdir -p ('?/.*)", root_dir),
    (r"chmod (\d+) (/\S+)", close_folder),
    (r"loginctl enable-linger ([a-z]+)", linger),
    (r"own_tmux \w+", lambda model, made: None),
    (r"set -- \S+ \S+\n.*tmux new-session -d -s jupyter .*", start),
    (r"XDG_RUNTIME_DIR=/run/user/\$\(id -u\) systemctl --user stop jupyter\.service", stop),
    (r"kill \d+; for i in .*", stop),
    (r"LAB_USER=\w+; PREFIX=\S+; in_tmux \S+ kill-session -t =jupyter \|\| .*", stop),
    (r"systemctl enable -q --now apache2", run_apache),
    (
        r"a2dissite -q zz-labfab && if .*",
        lambda model, made: [
            model.sections["proxy"].pop(key, None) for key in ("enabled", "serves")
        ],
    ),
    (r"a2dissite -q zz-labfab", lambda model, made: model.sections.update(proxy=dict(APACHE))),
    (
        r'find /etc/letsencrypt >"\$KEPT.letsencrypt" 2>/dev/null; (\S+) certonly -n --agree-tos --cert-name labfab '
        r"--renew-with-new-domains --server (\S+) -m (\S+) (--.*) 2>&1",
        lineage,
    ),
    (r"(\S+) renew -n --cert-name labfab --force-renewal --no-random-sleep-on-renew 2>&1", renewed),
    (
        r"RENEWED_LINEAGE=/etc/letsencrypt/live/labfab /etc/letsencrypt/renewal-hooks/deploy/labfab",
        handed,
    ),
    (
        r"rm -f /etc/letsencrypt/renewal-hooks/deploy/labfab; .*(?:certbot) delete -n --cert-name labfab 2>&1",
        forget,
    ),
    (r"snap install --classic certbot", lambda model, made: None),
    (r"systemctl daemon-reload; systemctl enable -q --now (\S+)", renews),
    (r"# Apache: .*\nsite_on(.*)", serve),
)
