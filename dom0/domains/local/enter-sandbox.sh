#!/bin/sh
# Builds the root of a sandbox and runs a command in it. Runs as the first process of fresh mount, pid, net, ipc
# and uts namespaces (unshare), with all capabilities in them; the command is expected to drop what it must not
# keep (setpriv). The counterpart for machines with bubblewrap is bubblewrap.ts; both render one SandboxSpec.
#
#   enter-sandbox.sh ROOT HOSTNAME CWD STEP... -- COMMAND ARGUMENT...
#
# ROOT is an empty directory to build on. Steps, in order; targets are absolute paths in the sandbox:
#   ro SOURCE TARGET     a file or directory of the machine, read-only
#   rw SOURCE TARGET     the same, writable
#   dev NAME             the device /dev/NAME
#   link TEXT TARGET     a symbolic link
#   tmpfs SIZE TARGET    an empty, writable file system of at most SIZE bytes
#
# Nothing is mounted with device files or set-user-ID programs in force, but the named devices. /proc is of the
# new pid namespace and read-only: root without any capability may still write to a writable /proc/sys. There is
# no /sys: it would show the machine's network cards.
set -eu
umask 022

root=$1 hostname=$2 directory=$3
shift 3

# The options of a remount replace the old ones, and in a user namespace none of the machine's may be taken away.
restrict() { # ro|rw PLACE
  had=,$(findmnt -nr -o VFS-OPTIONS -M "$2"),
  mode=$1 kept=
  case $had in *,ro,*) mode=ro ;; esac
  case $had in *,noexec,*) kept=,noexec ;; esac
  case $had in
    *,noatime,*) kept=$kept,noatime ;;
    *,relatime,*) kept=$kept,relatime ;;
  esac
  mount -o "remount,bind,$mode,nosuid,nodev$kept" "$2"
}

bind() { # ro|rw SOURCE TARGET
  if [ -d "$2" ]; then
    mkdir -p "$root$3"
  else
    mkdir -p "$(dirname "$root$3")"
    [ -e "$root$3" ] || : >"$root$3"
  fi
  if mount --bind "$2" "$root$3" 2>/dev/null; then
    restrict "$1" "$root$3"
    return
  fi
  # What something mounted inside it covers is not for a user to see: the kernel gives all of it, or nothing.
  mount --rbind "$2" "$root$3"
  findmnt -nrR -o TARGET -M "$root$3" | sed 's/\\x20/ /g' | while read -r place; do
    case $place in *\\*)
      echo "enter-sandbox.sh: cannot restrict what is mounted on $place: such a name is not understood" >&2
      exit 1
      ;;
    esac
    restrict "$1" "$place"
  done
}

mount -t tmpfs -o mode=0755,size=1m,nosuid,nodev sandbox "$root"
mkdir "$root/dev" "$root/proc" "$root/old"

while [ "$1" != -- ]; do
  case $1 in
    ro | rw)
      bind "$1" "$2" "$3"
      shift 3
      ;;
    dev)
      : >"$root/dev/$2"
      mount --bind "/dev/$2" "$root/dev/$2"
      shift 2
      ;;
    link)
      ln -s "$2" "$root$3"
      shift 3
      ;;
    tmpfs)
      mkdir -p "$root$3"
      mount -t tmpfs -o "mode=0700,size=$2,nosuid,nodev" sandbox "$root$3"
      shift 3
      ;;
    *)
      echo "enter-sandbox.sh: unknown step $1" >&2
      exit 1
      ;;
  esac
done
shift

# Where the kernel refuses a fresh /proc (a container that masks its own), there is none.
mount -t proc -o ro,nosuid,nodev,noexec proc "$root/proc" 2>/dev/null || echo 'enter-sandbox.sh: no /proc' >&2

# Root may set the name through /proc, an owner of a user namespace only with the tool.
if [ -w /proc/sys/kernel/hostname ]; then
  echo "$hostname" >/proc/sys/kernel/hostname
elif command -v hostname >/dev/null; then
  hostname "$hostname"
fi

cd "$root"
pivot_root . old
cd /
# Without a mount table to keep and without helpers: neither is there any more.
umount -n -i -l /old
rmdir /old
mount -o remount,bind,ro,nosuid,nodev /
cd "$directory"
exec "$@"
