# Installs packages into an environment below the home of the account that runs this.
#
# "$1": the program that installs, conda, uv or pip; uv-locked installs what the lock on standard
# input names. "$2": the folder. The rest: options and packages.
# Needs under_mark, of under_mark.sh.
installer=$1
folder=$2
shift 2
# conda's roots are its own, unless it is told of the system's, which may have a company's.
roots=/etc/ssl/certs/ca-certificates.crt
if [ -e $roots ]; then
  REQUESTS_CA_BUNDLE=${REQUESTS_CA_BUNDLE:-$roots}
  export REQUESTS_CA_BUNDLE
fi
install_packages() {
  bin=~/$folder/bin
  case $installer in
    conda) "$bin/conda" install -y -q -n base --override-channels -c conda-forge "$@" ;;
    uv-locked) "$bin/uv" pip install -q --python "$bin/python" --require-hashes -r - "$@" ;;
    uv) "$bin/uv" pip install -q --python "$bin/python" "$@" ;;
    pip) "$bin/python" -m pip install -q --disable-pip-version-check "$@" ;;
  esac
}
under_mark "$folder.packages" install_packages "$@"
