"""An OpenStack Swift with its S3 layer on loopback, for tests: one node, one device, one process, no privileges.

    /usr/bin/python3 server.py FOLDER ACCESS_KEY

FOLDER is empty and ours; it needs user attributes. The secret key is read from stdin, which stays open: when it closes, all
of this ends. Once it serves, "http://127.0.0.1:PORT" is written to stdout, a line. Needs Debian's packages swift, swift-proxy,
swift-account, swift-container, swift-object and memcached.

The four servers of Swift get sockets that are bound already, so that no port is chosen before it is ours. What they say goes
to FOLDER/log. Their daemons (replicators, auditors, updaters) do not run: one copy needs none.
"""

import eventlet

eventlet.patcher.monkey_patch()

import os
import subprocess
import sys
import time

from eventlet import wsgi

from swift.common import constraints, storage_policy, utils
from swift.common.ring import RingBuilder
from swift.common.wsgi import SwiftHttpProtocol, loadapp

SWIFT = """[swift-hash]
swift_hash_path_suffix = test
[storage-policy:0]
name = one
default = yes
"""

SERVER = """[DEFAULT]
swift_dir = {folder}
devices = {folder}
mount_check = false
disable_fallocate = true
fallocate_reserve = 0
log_address = {folder}/none
log_level = WARNING
[pipeline:main]
pipeline = server
[app:server]
use = egg:swift#{kind}
replication_server = false
"""

# tempauth keeps what s3api compares signatures with; nothing else of it is used.
PROXY = """[DEFAULT]
swift_dir = {folder}
log_address = {folder}/none
log_level = WARNING
[pipeline:main]
pipeline = catch_errors cache listing_formats s3api tempauth bulk slo versioned_writes symlink proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:{memcached}
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
s3_acl = false
max_bucket_listing = 200
auth_pipeline_check = false
[filter:tempauth]
use = egg:swift#tempauth
user64_{account}_{user} = {secret} .admin
[filter:bulk]
use = egg:swift#bulk
[filter:slo]
use = egg:swift#slo
[filter:versioned_writes]
use = egg:swift#versioned_writes
allow_object_versioning = true
[filter:symlink]
use = egg:swift#symlink
"""


def main(folder, access_key):
    secret = sys.stdin.readline().strip()
    account, user = access_key.split(":")
    write(folder, "swift.conf", SWIFT)
    utils.set_swift_dir(folder)
    storage_policy.reload_storage_policies()
    constraints.reload_constraints()
    log = open(os.path.join(folder, "log"), "a", buffering=1)
    memcached, memcached_port = start_memcached(folder)
    sockets = {kind: listen() for kind in ("account", "container", "object", "proxy")}
    os.mkdir(os.path.join(folder, "disk"))
    for kind in ("account", "container", "object"):
        write_ring(folder, kind, sockets[kind].getsockname()[1])
        write(folder, f"{kind}.conf", SERVER.format(folder=folder, kind=kind))
    write(
        folder,
        "proxy.conf",
        PROXY.format(
            folder=folder,
            memcached=memcached_port,
            account=base64(account),
            user=base64(user),
            secret=secret,
        ),
    )
    for kind, listening in sockets.items():
        app = loadapp(os.path.join(folder, f"{kind}.conf"), {"log_name": kind})
        eventlet.spawn(serve, listening, app, log)
    print(f"http://127.0.0.1:{sockets['proxy'].getsockname()[1]}", flush=True)
    eventlet.tpool.execute(sys.stdin.read)
    memcached.kill()
    memcached.wait()


def serve(listening, app, log):
    # As swift.common.wsgi.run_server: the AWS SDK needs "ETag" as it is written.
    wsgi.server(
        listening,
        app,
        log,
        protocol=SwiftHttpProtocol,
        log_output=False,
        capitalize_response_headers=False,
    )


def write(folder, name, text):
    with open(os.path.join(folder, name), "w") as file:
        file.write(text)
    os.chmod(os.path.join(folder, name), 0o600)


def listen():
    return eventlet.listen(("127.0.0.1", 0), backlog=512)


def write_ring(folder, kind, port):
    builder = RingBuilder(part_power=4, replicas=1, min_part_hours=0)
    builder.add_dev(
        {"id": 0, "region": 1, "zone": 1, "weight": 1.0, "ip": "127.0.0.1", "port": port, "device": "disk"}
    )
    builder.rebalance()
    builder.get_ring().save(os.path.join(folder, f"{kind}.ring.gz"))


def start_memcached(folder):
    """Its process and port: memcached takes a free one for -1, and writes down which."""
    report = os.path.join(folder, "memcached.port")
    command = ["memcached", "-l", "127.0.0.1", "-p", "-1", "-U", "0", "-m", "16"]
    if os.getuid() == 0:
        command += ["-u", "root"]
    command = ["setpriv", "--pdeathsig", "KILL", "--"] + command
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, env={**os.environ, "MEMCACHED_PORT_FILENAME": report})
    end = time.monotonic() + 20
    while not os.path.exists(report):
        if time.monotonic() > end:
            raise SystemExit("memcached did not start")
        eventlet.sleep(0.01)
    with open(report) as file:
        return child, next(line.split()[-1] for line in file if line.startswith("TCP INET:"))


def base64(text):
    from base64 import b64encode

    return b64encode(text.encode()).decode().rstrip("=")


main(*sys.argv[1:])
