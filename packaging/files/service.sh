#!/bin/sh
# Starts the service of this name, which is the module beside this file: qrexec calls it by a link to it. Nothing of what
# the VM's profiles set decides how it runs, and no core dump holds what it has in memory.
self=$(readlink -f "$0")
unset NODE_OPTIONS
ulimit -c 0
exec "${self%/services/*}/bin/node" @OPTIONS@ "$self.mjs" "$@"
