#!/bin/sh
# Answers a request of a VM: qrexec calls this by a link to it, as the user of dom0, with the name of that VM in its environment.
# What is said on stderr would go to the VM, so nothing is.
exec 2>/dev/null
self=$(readlink -f "$0")
# Services of dom0 run as its user, who is root's equal on Qubes OS; a backup needs root. Two variables go along, and no argument.
if [ "$(id -u)" -ne 0 ]; then
  exec sudo -n -- env "QREXEC_REMOTE_DOMAIN=${QREXEC_REMOTE_DOMAIN-}" \
    "QREXEC_SERVICE_ARGUMENT=${QREXEC_SERVICE_ARGUMENT-}" "$self"
fi
unset NODE_OPTIONS
ulimit -c 0
# One at a time: whatever number of calls a VM makes at once, they take no memory to speak of.
exec 9<"${self%/*}"
if ! flock -n 9; then
  echo 'busy: another request is under way; try again later'
  exit 1
fi
node=${self%/services/*}/bin/node
# A shell that cannot start it would end with 126 or 127, which are qrexec's own.
if [ ! -x "$node" ]; then
  echo 'failed: the owner of this machine finds the reason in dom0'
  exit 1
fi
exec "$node" @OPTIONS@ "$self.mjs"
