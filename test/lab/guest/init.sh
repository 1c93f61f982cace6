#!/bin/sh
# What a guest of the lab does before its agent serves: the places that a VM of Qubes OS has, on a root that is read-only.
# Its disks are known by their serial: `private` is the VM's own volume (/rw), `volume` what is attached to a disposable (/dev/xvdi).
export PATH=/usr/sbin:/usr/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for place in /tmp /run /root /home/user /rw; do mount -t tmpfs -o mode=0755 tmpfs "$place"; done
chmod 1777 /tmp
# The kernel asks for modules of file systems by this.
echo /usr/bin/modprobe >/proc/sys/kernel/modprobe
chown 1000:1000 /home/user
ip link set lo up
for disk in /sys/block/vd*; do
  case $(cat "$disk/serial") in
    private)
      private=/dev/${disk##*/}
      if ! blkid -p "$private" >/dev/null; then mkfs.ext4 -q -m 0 "$private"; fi
      mount -o nosuid,nodev "$private" /rw
      mkdir -p /rw/home/user
      if [ "$(stat -c %u /rw/home/user)" != 1000 ]; then chown 1000:1000 /rw/home/user; fi
      mount --bind /rw/home/user /home/user
      ;;
    volume) ln -s "${disk##*/}" /dev/xvdi ;;
  esac
done
exec /usr/lib/qubes-backup/bin/node --jitless /usr/lib/lab/agent.mjs
