/**
 * The agent of a guest: what Qubes OS has in each VM to start services that dom0 calls, over one port of virtio-serial. Its contract
 * is that of qrexec 4.4: where a service is looked for, what it is told, as whom it runs, and how it ends.
 */

import { spawn, spawnSync } from 'node:child_process';
import { close, openSync, read, readFileSync, readdirSync, write, writeFileSync } from 'node:fs';
import { existsSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { Readable, Writable } from 'node:stream';
import { Channel } from '../channel.ts';
import type { Request, ServedCall } from '../channel.ts';

/** The name of the port. */
const PORT = 'org.qubes-backup.lab';
/** Where services are, the first place first. */
const PLACES = ['/run/qubes-rpc', '/usr/local/etc/qubes-rpc', '/etc/qubes-rpc'];
const SETTINGS = '/etc/qubes/rpc-config';
const NO_SUCH_SERVICE = 127;
const TROUBLE = 125;

const USERS = {
  root: { uid: 0, gid: 0, home: '/root' },
  user: { uid: 1000, gid: 1000, home: '/home/user' },
} as const;

/** A whole path, or undefined: the file for this very argument in any place first, then the one for all. */
function findService({ service, argument }: Request): string | undefined {
  if (!/^[A-Za-z0-9._+-]+$/.test(service) || !/^[A-Za-z0-9._+-]*$/.test(argument)) return undefined;
  const paths = [`${service}+${argument}`, service].flatMap((name) =>
    PLACES.map((place) => join(place, name)),
  );
  return paths.find((path) => existsSync(path));
}

function userOf(service: string): keyof typeof USERS {
  const path = join(SETTINGS, service);
  return existsSync(path) && readFileSync(path, 'utf8').includes("force-user='root'") ? 'root' : 'user';
}

function serve(request: Request, call: ServedCall): void {
  const { service, argument, source } = request;
  const path = findService(request);
  if (path === undefined) {
    call.stdout.end();
    call.stderr.end();
    call.exit(NO_SUCH_SERVICE);
    return;
  }
  const user = userOf(service);
  const { uid, gid, home } = USERS[user];
  const child = spawn(
    '/bin/sh',
    ['-l', '-c', 'exec "$0" "$@"', path, ...(argument === '' ? [] : [argument])],
    {
      cwd: home,
      uid,
      gid,
      detached: true,
      env: {
        ...{ HOME: home, USER: user, LOGNAME: user, SHELL: '/bin/sh', LANG: 'C' },
        PATH: '/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin',
        QREXEC_REMOTE_DOMAIN: source,
        QREXEC_SERVICE_FULL_NAME: `${service}+${argument}`,
        QREXEC_SERVICE_ARGUMENT: argument,
        QREXEC_AGENT_PID: String(process.pid),
        QREXEC_REQUESTED_TARGET_TYPE: '',
      },
    },
  );
  const { stdin, stdout, stderr } = child;
  // It may end without a look at its stdin: what comes then vanishes.
  stdin.on('error', () => call.stdin.unpipe(stdin).resume());
  call.stdin.pipe(stdin);
  stdout.pipe(call.stdout);
  stderr.pipe(call.stderr);
  void call.abandoned.then(() => [stdin, stdout, stderr].forEach((stream) => stream.destroy()));
  child.once('error', () => call.exit(TROUBLE));
  child.once('exit', (code, signal) =>
    call.exit(code ?? 128 + (signal === null ? 0 : constants.signals[signal])),
  );
}

/** The port's descriptor, once the kernel has it. */
function openPort(): number {
  const ports = '/sys/class/virtio-ports';
  const found = readdirSync(ports).find(
    (name) => readFileSync(join(ports, name, 'name'), 'utf8').trim() === PORT,
  );
  if (found === undefined) throw new Error(`there is no port ${PORT}`);
  return openSync(join('/dev', found), 'r+');
}

/** Milliseconds until one looks again whether the host is there. */
const AGAIN = 20;

function portInput(descriptor: number): Readable {
  const buffer = Buffer.alloc(64 * 1024);
  let heard = false;
  return new Readable({
    read() {
      const once = () =>
        read(descriptor, buffer, 0, buffer.length, null, (error, length) => {
          if (error !== null) this.destroy(error);
          else if (length > 0) {
            heard = true;
            this.push(Buffer.from(buffer.subarray(0, length)));
          } else if (heard) this.push(null);
          else setTimeout(once, AGAIN); // Nobody is at the other end yet.
        });
      once();
    },
  });
}

function portOutput(descriptor: number): Writable {
  return new Writable({
    write(bytes: Buffer, _encoding, done) {
      const rest = (from: number) =>
        write(descriptor, bytes, from, bytes.length - from, (error, length) => {
          if (error !== null) done(error);
          else if (from + length < bytes.length) rest(from + length);
          else done();
        });
      rest(0);
    },
    destroy(error, done) {
      close(descriptor, () => done(error));
    },
  });
}

/** With all that is written on its disks. */
function powerOff(): void {
  for (const place of ['/home/user', '/rw']) spawnSync('umount', [place], { stdio: 'ignore' });
  spawnSync('sync');
  writeFileSync('/proc/sysrq-trigger', 'o');
}

const port = openPort();
const channel = new Channel(portInput(port), portOutput(port), serve);
void channel.closed.then(powerOff);
void channel.shutdown.then(powerOff);
channel.announce();
