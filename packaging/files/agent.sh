#!/bin/sh
# qubes.BackupAgent: says which services of a disposable these are.
self=$(readlink -f "$0")
exec cat "${self%/*}/agent"
