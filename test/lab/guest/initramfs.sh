#!/bin/busybox sh
# The first program of a guest: finds its root among its disks, and goes there.
b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
$b mount -t devtmpfs dev /dev
for module in virtio_pci virtio_blk virtio_console; do $b modprobe "$module" || $b echo "no $module"; done
for disk in /sys/block/vd*; do
  if [ "$($b cat "$disk/serial")" = root ]; then root=/dev/${disk##*/}; fi
done
$b mount -t ext4 -o ro "$root" /root || $b echo 'there is no root'
$b umount /dev /sys /proc
exec $b switch_root /root /sbin/init
