#!/bin/sh
# Installs the storage services of qubes-incremental-backup @VERSION@ into this VM alone, below /usr/local, which in Qubes
# OS outlives a restart of the VM (it is /rw/usrlocal). Needs no network and no package, and changes no template.
#
#   sudo sh qubes-backup-storage-install.sh              installs, or replaces what an earlier one installed
#   sudo sh qubes-backup-storage-install.sh uninstall    removes all of that, and never a store
set -eu
umask 022
local=/usr/local
program=$local/lib/qubes-backup
rpc=$local/etc/qubes-rpc
owners=$local/bin/qubes-backup-storage

fail() {
  echo "error: $*" >&2
  exit 1
}

# A link of another's, or a file that somebody wrote, is left alone.
is_ours() {
  case $(readlink "$1" || true) in "$program"/*) return 0 ;; *) return 1 ;; esac
}

remove() {
  for service in @SERVICES@; do
    if is_ours "$rpc/$service"; then rm -f "$rpc/$service"; fi
  done
  if is_ours "$owners"; then rm -f "$owners"; fi
  rm -rf "$program" "$program.new" "$program.old"
}

install_all() {
  if [ "$(uname -m)" != x86_64 ]; then fail "this is for x86_64, and this VM is $(uname -m)"; fi
  for tool in flock gzip sha256sum tar; do
    if ! command -v "$tool" >/dev/null; then fail "$tool is missing: install it in the template of this VM"; fi
  done
  for path in "$owners" $(for service in @SERVICES@; do echo "$rpc/$service"; done); do
    if { [ -e "$path" ] || [ -L "$path" ]; } && ! is_ours "$path"; then fail "$path is not ours: move it away first"; fi
  done
  payload=$(tail -n +@LINE@ "$0" | sha256sum)
  if [ "${payload%% *}" != @SHA256@ ]; then fail "$0 is damaged: copy it anew"; fi
  rm -rf "$program.new" "$program.old"
  mkdir -p "$program.new" "$rpc" "$local/bin"
  # Services that run now have their files open; those that start find all of the old ones, or all of the new ones.
  tail -n +@LINE@ "$0" | tar -xzf - -C "$program.new" --strip-components=3 --no-same-owner ./lib/qubes-backup
  "$program.new/bin/node" --version >/dev/null || fail 'Node.js does not run here; nothing was changed'
  if [ -e "$program" ]; then mv "$program" "$program.old"; fi
  mv "$program.new" "$program"
  rm -rf "$program.old"
  for service in @SERVICES@; do ln -sfn "$program/services/storagevm/$service" "$rpc/$service"; done
  ln -sfn "$program/bin/qubes-backup-storage" "$owners"
}

if [ "$(id -u)" -ne 0 ]; then fail "run it as root: sudo sh $0 $*"; fi
case ${1-install} in
  install)
    install_all
    echo "installed the storage services @VERSION@ below $program"
    echo 'next, in dom0: qvm-tags NAME-OF-THIS-VM add qubes-backup-storage'
    ;;
  uninstall)
    remove
    echo 'uninstalled; the store was left as it is (by default in the home of the user: ~/qubes-backup)'
    ;;
  *)
    echo "usage: sudo sh $0 [install | uninstall]" >&2
    exit 2
    ;;
esac
exit 0
