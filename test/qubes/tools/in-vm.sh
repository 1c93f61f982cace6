#!/bin/sh
# Runs a command as in a VM that has block devices: in a mount namespace whose /dev has them under the VM's own names.
#
#   unshare --mount -- sh in-vm.sh [NAME FILE ro|rw]... -- COMMAND ARGUMENT...
#
# At most two. Each is a real loop device over FILE, which the kernel takes away when the last of these processes has ended,
# however it ended.
set -eu
dev=$(mktemp -d)
mount -t tmpfs -o mode=0755 tmpfs "$dev"
for node in null zero full random urandom loop-control; do cp -a "/dev/$node" "$dev/"; done
while [ "$1" != -- ]; do
  if [ "$3" = ro ]; then loop=$(losetup --find --show --read-only -- "$2"); else loop=$(losetup --find --show -- "$2"); fi
  if [ -e "$dev/held" ]; then exec 8<"$loop"; else exec 9<"$loop"; fi
  losetup --detach "$loop"
  : >"$dev/held"
  cp -a "$loop" "$dev/$1"
  shift 3
done
shift
rm -f "$dev/held"
mount --move "$dev" /dev
rmdir "$dev"
exec "$@"
