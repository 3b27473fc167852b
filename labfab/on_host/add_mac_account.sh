# Adds a standard account to a Mac. $1: its name. The password comes on standard input.
#
# sysadminctl ends with 0 whatever happens and reports on stderr, so this looks at the account
# itself. Prints "no access" if it is there but macOS protects it from logins over SSH.

said=$(sysadminctl -addUser "$1" -fullName "$1" -shell /bin/zsh -password - 2>&1)
if [ "$(values "/Users/$1" UserShell)" != /bin/zsh ] || ! id -u "$1" >/dev/null 2>&1; then
  printf '%s\n' "$said" >&2
  exit 1
fi
case $said in *-14120*) echo "no access" ;; esac
