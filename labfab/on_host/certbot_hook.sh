# certbot's hook, without its first line and with this head: certificates/renewal.py writes what
# follows the first empty line to the host, with the account and the folder in place of the two %s.
# certbot sets RENEWED_LINEAGE, and waits until nobody holds the hook's output any more. So an account that
# stops its program, or leaves one behind, gets a file for it, a small one, and a minute.
# shellcheck disable=SC2016  # what is in single quotes is expanded by a second shell, the account's

# Made by labfab. Certbot runs this after each renewal; it hands the new certificate on to what serves JupyterLab.
set -eu
[ "${RENEWED_LINEAGE##*/}" = labfab ] || exit 0
account=%s folder=%s
said=$(mktemp)
trap 'rm -f "$said"' EXIT
as_account() {
  if [ "$account" = root ]; then "$@"; return; fi
  (cd / && ulimit -f 2048 && exec timeout -k 5 60 runuser -u "$account" -- "$@") >"$said" 2>&1 && return
  echo "the account $account did not take the new certificate (exit code $?):" >&2
  head -c 1000 "$said" | tr -cd '[:print:]\n' >&2
  return 1
}
take() {  # file mode name
  as_account sh -c 'set -eu; umask 077; cd -P "$1"; rm -f "$3"; cat >"$3"; chmod "$2" "$3"' sh "$folder" "$2" "$3" <"$1"
}
take "$RENEWED_LINEAGE/privkey.pem" 600 next-key.pem
take "$RENEWED_LINEAGE/fullchain.pem" 644 next-cert.pem
as_account sh -c 'set -eu; cd -P "$1"; mv -fT next-key.pem key.pem; mv -fT next-cert.pem cert.pem; rm -f ca.pem' sh "$folder"
