# certbot's hook, without its first line and with this head: certificates/renewal.py writes what
# follows the first empty line to the host, with the account and the folder in place of the two %s.
# certbot sets RENEWED_LINEAGE. Hosts that are set up have this text, byte for byte.
# shellcheck disable=SC2016  # what is in single quotes is expanded by a second shell, the account's

# Made by labfab. Certbot runs this after each renewal; it hands the new certificate on to what serves JupyterLab.
set -eu
[ "${RENEWED_LINEAGE##*/}" = labfab ] || exit 0
account=%s folder=%s
as_account() { if [ "$account" = root ]; then "$@"; else (cd / && runuser -u "$account" -- "$@"); fi; }
take() {  # file mode name
  as_account sh -c 'set -eu; umask 077; cd -P "$1"; rm -f "$3"; cat >"$3"; chmod "$2" "$3"' sh "$folder" "$2" "$3" <"$1"
}
take "$RENEWED_LINEAGE/privkey.pem" 600 next-key.pem
take "$RENEWED_LINEAGE/fullchain.pem" 644 next-cert.pem
as_account sh -c 'set -eu; cd -P "$1"; mv -fT next-key.pem key.pem; mv -fT next-cert.pem cert.pem; rm -f ca.pem' sh "$folder"
