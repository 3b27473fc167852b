# certbot's hook: certificates/renewal.py writes it to the host after the words and OWNER, the account
# that the certificate is for, and FOLDER, where it goes.
#
# Without arguments certbot runs it after each renewal and sets RENEWED_LINEAGE. With WEBROOT and answer or
# clean, certbot runs it to answer the server's request, and sets CERTBOT_TOKEN and CERTBOT_VALIDATION.
# certbot's own way, --webroot, would have root make folders in a folder that may be an account's, and
# give them to its owner: through a link put there meanwhile, any folder of root's.
# A program of an account gets a pipe of its own and 30 s, so it can neither keep certbot waiting nor hold
# what root's shell prints to.
# shellcheck disable=SC2016  # what is in single quotes is expanded by a second shell, the account's

set -eu
cd /
ANSWER='umask 022; cd "$1" && mkdir -p .well-known/acme-challenge &&
  rm -f ".well-known/acme-challenge/$2" && cat >".well-known/acme-challenge/$2"'
CLEAN='cd "$1" && rm -f ".well-known/acme-challenge/$2" &&
  { rmdir .well-known/acme-challenge .well-known 2>/dev/null || :; }'
in_webroot() { as_within 30 65536 "$keeper" sh -c "$1" sh "$2" "$CERTBOT_TOKEN"; }  # SCRIPT WEBROOT
case ${2:-} in
  answer | clean)
    locate "$1/.well-known/acme-challenge/$CERTBOT_TOKEN" || :
    [ "$2" = answer ] || { in_webroot "$CLEAN" "$1" </dev/null; exit; }
    said=$(printf %s "$CERTBOT_VALIDATION" | in_webroot "$ANSWER" "$1" 2>&1) && exit
    echo "labfab-webroot: $keeper cannot write to $1: $(printf %s "$said" | tail -n 1)" >&2
    exit 1
    ;;
esac
[ "${RENEWED_LINEAGE##*/}" = labfab ] || exit 0
as_owner() { as_within 30 65536 "$OWNER" "$@"; }  # COMMAND...
take() {  # FILE MODE NAME
  as_owner sh -c 'set -eu; umask 077; cd -P "$1"; rm -f "$3"; cat >"$3"; chmod "$2" "$3"' sh "$FOLDER" "$2" "$3" <"$1"
}
take "$RENEWED_LINEAGE/privkey.pem" 600 next-key.pem
take "$RENEWED_LINEAGE/fullchain.pem" 644 next-cert.pem
as_owner sh -c 'set -eu; cd -P "$1"; mv -fT next-key.pem key.pem; mv -fT next-cert.pem cert.pem; rm -f ca.pem' sh "$FOLDER" </dev/null
