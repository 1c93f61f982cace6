#!/bin/sh
# Mounts a volume's image on a directory of a mount namespace of its own (unshare --mount), runs a command, and
# unmounts: when this script has ended, all that the command wrote is in the image.
#
#   with-image.sh IMAGE ext4|xfs|btrfs DIRECTORY ro|rw COMMAND ARGUMENT...
#
# The image is always mounted read-write first, so that the journal (the log of xfs, the log tree of btrfs) of a
# volume that was in use is replayed: a read-only mount without replay hides files that had been fsynced.
#
# Nothing in the image decides what happens to this machine: a superblock may ask for a panic on errors (ext4), be a
# copy of one that is mounted (xfs), or want a balance to go on (btrfs).
set -eu
image=$1 type=$2 directory=$3 mode=$4
shift 4
case $type in
  ext4) options=errors=remount-ro ;;
  xfs) options=nouuid ;;
  btrfs) options=skip_balance ;;
  *)
    echo "with-image.sh: unknown file system $type" >&2
    exit 1
    ;;
esac
mount -t "$type" -o "loop,rw,nosuid,nodev,noexec,noatime,$options" -- "$image" "$directory"
if [ "$mode" = ro ]; then mount -o remount,ro "$directory"; fi
code=0
"$@" || code=$?
# The sandbox's own mount namespace may still be on its way out, and with it the last use of this mount.
sync -f "$directory"
umount "$directory"
exit "$code"
