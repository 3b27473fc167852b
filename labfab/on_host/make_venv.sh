# Makes a virtual environment with uv in it, below the home of the account that runs this.
#
# "$1": the PATH to use. "$2": the folder. "$3": --clear, or empty. "$4": uv with its version and
# checksums, as pip reads them. "$5": --require-hashes, or empty. The rest: options of pip.
# Needs under_mark, of under_mark.sh, and wheel_of_pip, which prints the path of a wheel of pip.
# ensurepip takes as long as everything else, so the pip in that wheel installs uv. The wheel is
# unpacked because pip runs half a second longer from a zip file.
PATH=$1
folder=$2
clear=$3
uv=$4
verify=$5
export PATH
shift 5
make_venv() {
  unpacked=~/.cache/labfab/pip/unpacked
  python3 -m venv --without-pip ${clear:+"$clear"} ~/"$folder" || return
  wheel=$(wheel_of_pip) || return
  [ "$wheel" ] || { echo no wheel of pip is there >&2; return 1; }
  rm -rf "$unpacked" && python3 -m zipfile -e "$wheel" "$unpacked" || return
  printf '%s\n' "$uv" >~/.cache/labfab/pip/uv.txt || return
  ~/"$folder"/bin/python -B "$unpacked/pip" install -q --no-compile --disable-pip-version-check \
    "$@" ${verify:+"$verify"} -r ~/.cache/labfab/pip/uv.txt || return
  rm -rf ~/.cache/labfab/pip
}
under_mark "$folder.unfinished" make_venv "$@"
