#!/usr/bin/env bash
# ./run.sh test --kaggle-image: all tests with the versions of Kaggle's image (kaggle_image.txt), in .venv-kaggle, twice:
# without the packages that the image lacks, then with them. No part of CI.
set -euo pipefail

python=$1
shift
home=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
venv="$home/.venv-kaggle"
list="$home/tests/kaggle_image.txt"
lacking=(open_clip_torch captum cleanlab faiss-cpu)
failed=0

say() { printf '%s\n' "$*" >&2; }
pip() { "$venv/bin/python" -m pip "$@" --quiet --disable-pip-version-check >&2; }

"$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 12))' ||
  say "the image has Python 3.12, this is $("$python" --version); PYTHON=/path/to/python3.12 names another"
if ! cmp -s "$list" "$venv/kaggle_image.installed"; then
  say "setting up $venv (once; a few minutes, about 6 GB)"
  rm -rf -- "$venv"
  "$python" -m venv "$venv"
  pip install -r "$list"
  cp -- "$list" "$venv/kaggle_image.installed"
fi

run_tests() {
  say "$1 ${lacking[*]}"
  shift
  (cd -- "$home" && "$venv/bin/python" -m pytest -n auto --maxprocesses 4 --dist worksteal -p no:cacheprovider "$@") || failed=1
}

pip uninstall --yes "${lacking[@]}"
run_tests without "$@"
pins=$(IFS='|' && grep -E "^(${lacking[*]})==" "$home/requirements.txt" | cut -d ' ' -f 1)
# shellcheck disable=SC2086 # one word a pin
pip install --constraint "$list" $pins
run_tests with "$@"
exit "$failed"
