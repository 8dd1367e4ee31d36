#!/usr/bin/env bash
# Set up .venv when needed, then run the kit: ./run.sh all | test | COMMAND --help
# On Kaggle and Colab, in a folder that cannot be written, or with KIT_PYTHON=here: run it on the Python that is there.
set -euo pipefail

home=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
venv="$home/.venv"
pythons="python3 python3.14 python3.13 python3.12 python3.11 python"
stamp="$venv/requirements.installed"

say() { printf '%s\n' "$*" >&2; }

find_python() { # find_python NAMES: the first that is new enough
  local candidate
  for candidate in "${PYTHON:-}" $1; do
    if [ -n "$candidate" ] && "$candidate" -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      printf '%s' "$candidate"
      return
    fi
  done
  say "error: Python 3.11 or newer with the venv module is needed and was not found."
  say "Install it (Debian: apt install python3 python3-venv), or name one: PYTHON=/path/to/python3.12 ./run.sh"
  exit 2
}

install_requirements() {
  local python
  python=$(find_python "$pythons")
  say "setting up $venv (once; a few minutes, about 6 GB)"
  if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    rm -rf -- "$venv"
    "$python" -m venv "$venv"
  fi
  rm -f -- "$stamp"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$home/requirements.txt" >&2
  cp -- "$home/requirements.txt" "$stamp"
}

set_up() {
  cmp -s "$home/requirements.txt" "$stamp" && return
  mkdir -p -- "$venv"
  if command -v flock >/dev/null; then # two first runs at once: the second waits, then finds it done
    exec 9>"$home/.venv.lock"
    flock 9
    cmp -s "$home/requirements.txt" "$stamp" || install_requirements
    exec 9>&-
  else
    install_requirements
  fi
}

uses_python_here() { # no environment of its own: asked for, on Kaggle and Colab, or where none can be written
  [ "${KIT_PYTHON:-}" = here ] && return
  cmp -s "$home/requirements.txt" "$stamp" && return 1
  [ -n "${KAGGLE_KERNEL_RUN_TYPE:-}${COLAB_RELEASE_TAG:-}" ] || [ ! -w "$home" ]
}

if [ -n "${_KIT_COMPLETE:-}" ] && ! cmp -s "$home/requirements.txt" "$stamp"; then
  exit 0 # a shell asks how the words go on: no reason to install anything
fi
export PYTHONPATH="$home${PYTHONPATH:+:$PYTHONPATH}"
# Two thread pools share the cores: a waiting thread must not burn one of them.
export OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-passive}"
# Keep freed memory: handing every activation back to the system made encoding on CPUs three times slower.
export MALLOC_MMAP_MAX_="${MALLOC_MMAP_MAX_:-0}" MALLOC_TRIM_THRESHOLD_="${MALLOC_TRIM_THRESHOLD_:-17179869184}"

if [ "${1:-}" = test ] && [ "${2:-}" = --kaggle-image ]; then
  shift 2
  exec bash "$home/tests/kaggle_image.sh" "$(find_python "python3.12 $pythons")" "$@"
elif [ "${1:-}" != test ] && uses_python_here; then
  python=$(find_python "python python3 $pythons")
  export KIT_PYTHON=here
else
  set_up
  python="$venv/bin/python"
fi
if [ "${1:-}" = test ]; then
  shift
  cd -- "$home"
  "$venv/bin/ruff" check .
  "$venv/bin/ruff" format --check .
  "$venv/bin/pyright"
  exec "$venv/bin/python" -m pytest -n auto --maxprocesses 4 --dist worksteal "$@"
fi
if [ -x "$0" ] && [[ $0 == */* ]]; then KIT_PROGRAM=$(printf '%q' "$0"); else KIT_PROGRAM="bash $(printf '%q' "$0")"; fi
export KIT_PROGRAM # commands are printed as this one was typed
exec "$python" -P -m kit "$@" # -P: a folder named kit in the working directory is not ours
