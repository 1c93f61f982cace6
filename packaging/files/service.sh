#!/bin/sh
# Starts the service of this name, which is the module beside this file: qrexec calls it by a link to it. Nothing of what
# the VM's profiles set decides how it runs, and no core dump holds what it has in memory.
self=$(readlink -f "$0")
unset NODE_OPTIONS
ulimit -c 0
node=${self%/services/*}/bin/node
# A shell that cannot start it would end with 126 or 127, which are qrexec's own.
if [ ! -x "$node" ]; then
  echo "$node is missing: install the package qubes-backup-runtime" >&2
  exit 1
fi
exec "$node" @OPTIONS@ "$self.mjs" "$@"
