#!/bin/sh
# Mounts a volume's image on a directory of a mount namespace of its own (unshare --mount), runs a command, and
# unmounts: when this script has ended, all that the command wrote is in the image.
#
#   with-image.sh IMAGE DIRECTORY ro|rw COMMAND ARGUMENT...
#
# The image is always mounted read-write first, so that the journal of a volume that was in use is replayed: a
# read-only mount without replay hides files that had been fsynced.
set -eu
image=$1 directory=$2 mode=$3
shift 3
mount -t ext4 -o loop,rw,nosuid,nodev,noexec "$image" "$directory"
if [ "$mode" = ro ]; then mount -o remount,ro "$directory"; fi
code=0
"$@" || code=$?
umount "$directory"
exit "$code"
