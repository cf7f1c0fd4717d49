#!/bin/sh
# Gives the trainer its libtorch: .venv holds PyTorch's own wheel, .libtorch points into it; cargo and the binaries use .libtorch.
# Does nothing, at once, when that is already so.
#
#   train/setup.sh                  a CPU-only install (about 550 MB to download); the full one where an NVIDIA driver is found
#   train/setup.sh cpu|gpu          one of the two, whatever is found
#   CLOZE_TORCH=.../site-packages/torch train/setup.sh    use a PyTorch that is already there; nothing is downloaded
set -eu

version=2.11.0 # the release that tch 0.24 is made for

fail() {
  echo "train/setup.sh: $1" >&2
  exit 2
}

# A wheel's version.py starts with: __version__ = '2.11.0+cu130'
has_right_version() {
  grep -Eq "^__version__ = ['\"]$version[+'\"]" "$1/version.py" 2>/dev/null
}

has_nvidia_driver() {
  [ -e /usr/local/nvidia/lib64/libcuda.so.1 ] || PATH=$PATH:/sbin:/usr/sbin ldconfig -p 2>/dev/null | grep -q 'libcuda\.so\.1'
}

needs_compiler() {
  command -v "${CXX:-c++}" >/dev/null 2>&1 ||
    fail "a C++ compiler is needed, '${CXX:-c++}' was not found; install one (Debian, Ubuntu: apt install g++; Fedora: dnf install gcc-c++)"
}

needs_python() {
  command -v python3 >/dev/null 2>&1 ||
    fail "Python 3 is needed to fetch PyTorch's wheel, python3 was not found; install it, or set CLOZE_TORCH to an existing torch folder"
  python3 -c 'import venv, ensurepip' 2>/dev/null ||
    fail "python3 lacks its venv module; install it (Debian, Ubuntu: apt install python3-venv), or set CLOZE_TORCH to an existing torch folder"
}

cd "$(dirname "$0")/.."
marker=.venv/cloze-libtorch # says what a finished install of ours holds: "2.11.0 cpu" or "2.11.0 gpu"

kind=${1:-auto}
case $kind in
  auto | cpu | gpu) ;;
  *) fail "expected no argument, cpu or gpu, found '$kind'; for a PyTorch that is already there set CLOZE_TORCH" ;;
esac
needs_compiler

if [ -n "${CLOZE_TORCH:-}" ]; then
  [ -f "$CLOZE_TORCH/version.py" ] ||
    fail "CLOZE_TORCH=$CLOZE_TORCH: expected the torch folder of a site-packages (it holds version.py), found none"
  has_right_version "$CLOZE_TORCH" ||
    fail "CLOZE_TORCH=$CLOZE_TORCH: expected PyTorch $version, found $(sed -n 's/^__version__ = //p' "$CLOZE_TORCH/version.py"); install torch==$version there"
  ln -sfn "$(cd "$CLOZE_TORCH" && pwd -P)" .libtorch
  exit 0
fi

if has_right_version .libtorch; then
  case $(readlink .libtorch) in
    .venv/*) ;;                           # ours: the marker below decides
    *) [ "$kind" != auto ] || exit 0 ;;   # chosen by CLOZE_TORCH earlier
  esac
fi
if [ "$kind" = auto ]; then
  if has_nvidia_driver; then kind=gpu; else kind=cpu; fi
fi
installed=$(cat "$marker" 2>/dev/null || true)
if has_right_version .libtorch; then
  case "$installed" in
    "$version $kind" | "$version gpu") exit 0 ;; # a full install serves a CPU as well
  esac
fi

needs_python
rm -f "$marker"
[ -x .venv/bin/pip ] || python3 -m venv .venv
echo "train/setup.sh: installing PyTorch $version ($kind) into .venv" >&2
if [ "$kind" = cpu ]; then
  # libtorch_cpu.so of the CUDA build needs these two libraries of CUDA's, no others.
  .venv/bin/pip install --quiet --disable-pip-version-check --no-deps \
    "torch==$version" nvidia-cuda-runtime==13.0.96 nvidia-cuda-cupti==13.0.85 ||
    fail "pip could not install torch==$version (its own message is above); check the network and free disk space (1.3 GB)"
else
  # crt and cccl are headers, for the small library over NCCL that the build makes.
  .venv/bin/pip install --quiet --disable-pip-version-check "torch==$version" numpy \
    nvidia-cuda-crt==13.0.88 nvidia-cuda-cccl==13.0.85 ||
    fail "pip could not install torch==$version (its own message is above); check the network and free disk space (6 GB)"
fi
# find_spec finds the folder without importing torch, which a CPU-only install could not do.
torch=$(.venv/bin/python -c 'import importlib.util as u; print(u.find_spec("torch").submodule_search_locations[0])')
has_right_version "$torch" || fail "$torch: expected PyTorch $version, found $(sed -n 's/^__version__ = //p' "$torch/version.py")"
ln -sfn ".venv/${torch#*/.venv/}" .libtorch
echo "$version $kind" >"$marker"
