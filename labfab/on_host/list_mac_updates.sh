# Asks Apple for updates and keeps the answer in /var/cache/labfab/softwareupdate. No arguments.
#
# softwareupdate exits with 0 even if it could not ask, so its answer is checked.

said=$(softwareupdate -l 2>&1)
case $said in
  *'* Label: '* | *'No new software available'*) ;;
  *)
    printf '%s\n' "$said" >&2
    exit 1
    ;;
esac
mkdir -p /var/cache/labfab && printf '%s\n' "$said" >/var/cache/labfab/softwareupdate
