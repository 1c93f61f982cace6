#!/bin/sh
# Runs a command as one process group that ends with dom0, however dom0 ends.
#
#   setpriv --pdeathsig TERM -- sh with-dom0.sh COMMAND ARGUMENT...
#
# A signal for the death of a parent reaches one process, and is not inherited: where a sandbox's first process gets
# it, what it had started may be left, and bwrap leaves its second one waiting for ever. So it comes here, and from
# here to the group, of which this must be the leader.
ulimit -c 0 # What a service holds in memory is never written to a disk.
trap 'kill -KILL 0' TERM
exec 3<&0
"$@" <&3 3<&- &
exec <&- >&- 3<&- # The command alone decides when its caller sees their ends.
wait "$!"
