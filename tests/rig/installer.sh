#!/bin/sh
# @NAME@ @VERSION@: the installer double of the tests. Same rules on the outside as the published one, a venv inside.
THIS_PATH="$0"
case "$THIS_PATH" in
    *.sh) ;;
    *) printf 'Please run using "bash"/"dash"/"sh"/"zsh", but not "." or "source".\n' >&2; exit 1 ;;
esac
THIS_PATH="$(cd "$(dirname "$0")" && pwd)/$(basename "$0")"
PREFIX="$HOME/@DEFAULT@"
BATCH=0
FORCE=0
while getopts bfhkmp:sut option; do
    case "$option" in
        h) printf 'usage: %s [options]\n\nInstalls @NAME@ @VERSION@\n\n-b  batch mode\n-f  no error if the prefix exists\n-p  PREFIX\n-u  update\n' "$0"; exit 2 ;;
        b) BATCH=1 ;;
        f|u) FORCE=1 ;;
        p) PREFIX="$OPTARG" ;;
        k|m|s|t) ;;
        *) printf "ERROR: did not recognize option '%s', please try -h\n" "$option" >&2; exit 1 ;;
    esac
done

[ -z "${PYTHONPATH:-}" ] || printf 'WARNING:\n    You currently have a PYTHONPATH environment variable set.\n'

if [ "$BATCH" = 0 ]; then
    [ -t 0 ] || { printf 'ERROR: the license terms wait for an answer and there is no terminal\n' >&2; exit 2; }
    printf 'Welcome to @NAME@ @VERSION@\n\nDo you accept the license terms? [yes|no]\n>>> '
    read -r answer
    [ "$answer" = yes ] || { printf "The license agreement wasn't approved, aborting installation.\n"; exit 2; }
fi

case "$PREFIX" in
    *\ *) printf 'ERROR: Cannot install into directories with spaces\n' >&2; exit 1 ;;
esac
if [ "$FORCE" = 0 ] && [ -e "$PREFIX" ]; then
    printf "ERROR: File or directory already exists: '%s'\n" "$PREFIX" >&2
    printf 'If you want to update an existing installation, use the -u option.\n' >&2
    exit 1
fi
mkdir -p "$PREFIX" || { printf "ERROR: Could not create directory: '%s'.\n" "$PREFIX" >&2; exit 1; }
free=$(df -Pk "$PREFIX" | awk 'END { print $4 }')
if [ $((free / 1024 - 50)) -lt @MEGABYTES@ ]; then
    printf 'ERROR: Not enough free disk space. Only %s MB are available, but %s MB are required (leaving a 50 MB buffer).\n' $((free / 1024 - 50)) @MEGABYTES@ >&2
    exit 1
fi
PREFIX=$(cd "$PREFIX" && pwd)
printf 'PREFIX=%s\n' "$PREFIX"

md5='md5sum'; command -v md5sum >/dev/null || md5='md5 -r'
got=$(tail -n +@LINES@ "$THIS_PATH" | $md5 | cut -d' ' -f1)
if [ "$got" != @MD5@ ]; then
    printf 'WARNING: md5sum mismatch of tar archive\nexpected: @MD5@\n     got: %s\n' "$got" >&2
fi
printf 'Unpacking payload ...\n'
tail -n +@LINES@ "$THIS_PATH" | tar -x -f - -C "$PREFIX" --no-same-owner || { printf 'ERROR: could not extract tar starting at line @LINES@\n' >&2; exit 1; }

python=/Library/Developer/CommandLineTools/usr/bin/python3  # a Mac need not have the Command Line Tools for this
[ -x "$python" ] || python=python3
tag=$($python -c 'import sys; print("%d.%d" % sys.version_info[:2])') || { printf 'ERROR: this double needs the python3 of the machine\n' >&2; exit 1; }
case " @PYTHONS@ " in
    *" $tag "*) ;;
    *) printf 'ERROR: this double was built for Python @PYTHONS@, not %s\n' "$tag" >&2; exit 1 ;;
esac
$python -m venv --without-pip "$PREFIX" || exit 1
$python - "$PREFIX/pkgs" <<'PYTHON' || exit 1
import pathlib, sys, zipfile
pkgs = pathlib.Path(sys.argv[1])
wheel = zipfile.ZipFile(next(pkgs.glob("uv-*.whl")))
(pkgs / "uv").write_bytes(wheel.read(next(n for n in wheel.namelist() if n.endswith("scripts/uv"))))
(pkgs / "uv").chmod(0o755)
PYTHON
printf '\nInstalling base environment...\n\n'
"$PREFIX/pkgs/uv" pip install --quiet --python "$PREFIX/bin/python" --no-config --offline --no-index --find-links "$PREFIX/pkgs" \
    --no-cache --link-mode copy @BASE@ || exit 1
{ printf '#!%s/bin/python\n' "$PREFIX"; cat "$PREFIX/pkgs/conda_double.py"; } > "$PREFIX/bin/conda"
chmod 755 "$PREFIX/bin/conda"
touch "$PREFIX/conda-meta/history"
printf 'installation finished.\n'
exit 0
