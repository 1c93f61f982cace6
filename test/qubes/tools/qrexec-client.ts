/**
 * A stand-in for qrexec-client and the agents of VMs: `qrexec-client.ts FOLDER MACHINE ARGUMENT...`. FOLDER/VM/ is the root of a VM
 * that runs, with its services in run/qubes-rpc, usr/local/etc/qubes-rpc and etc/qubes-rpc, and home/user; FOLDER/disposable/ is that of
 * every disposable. Where MACHINE is the folder of the other stand-ins and not empty, a VM must run there, and has the devices that it
 * was given there. Refuses every command line but that of a call from dom0 with a connect timeout and a filtered stderr, which is as root
 * only to unpack our services in a disposable; keeps the contract of a service (qubes.md): lookup, argv, environment, home, stdio, status.
 * Sources: core-qrexec daemon/qrexec-client.c, libqrexec/exec.c, libqrexec/replace.c.
 */

import { spawn } from 'node:child_process';
import { accessSync, appendFileSync, constants as modes, cpSync, existsSync } from 'node:fs';
import { constants } from 'node:os';
import { basename, join } from 'node:path';
import { devicesOf } from './devices.ts';
import { withWorld } from './state.ts';

/** What qrexec itself exits with. */
const IN_VM = join(import.meta.dirname, 'in-vm.sh');
const TROUBLE = 125;
const NO_SUCH_SERVICE = 127;
const VM_EXEC = 'qubes.VMExec';
/** What -T lets through beside printable ASCII. */
const PASSED = new Set(Buffer.from('\t\n\r\b\x07', 'latin1'));

const [root = '', machine = '', ...args] = process.argv.slice(2);
appendFileSync(join(root, 'calls'), `${args.join(' ')}\n`);

function fail(status: number, text: string): never {
  process.stderr.write(`qrexec-client: ${text}\n`);
  process.exit(status);
}

const [d, vm = '', w, seconds = '', filter, dashes, command = '', ...more] = args;
const parsed = /^(DEFAULT|root):QUBESRPC ([A-Za-z0-9._-]+)\+([A-Za-z0-9._+-]*) dom0$/.exec(command);
const options = [d, w, filter, dashes].join(' ');
if (options !== '-d -w -T --' || more.length > 0 || !/^[1-9]\d*$/.test(seconds))
  fail(1, `not a command line of ours: ${args.join(' ')}`);
if (parsed === null) fail(TROUBLE, `no service call: ${command}`);
const [, user, service = '', argument = ''] = parsed;
if (user === 'root' && service !== VM_EXEC) fail(TROUBLE, 'only what unpacks our services is to run as root');
let own = vm.startsWith('qib-disp-') && !existsSync(join(root, vm)) ? 'disposable' : vm;
if (service === VM_EXEC && own === 'disposable') {
  cpSync(join(root, own), join(root, vm), { recursive: true, verbatimSymlinks: true }); // What it changes is its own.
  own = vm;
}
const home = join(root, own, 'home/user');
const power = machine === '' ? 'Running' : withWorld(machine, (world) => world.power(vm));
if (!existsSync(home) || power !== 'Running')
  fail(TROUBLE, `connect to the daemon of ${vm}: No such file or directory`);

const folders = ['run/qubes-rpc', 'usr/local/etc/qubes-rpc', 'etc/qubes-rpc'].map((folder) =>
  join(root, own, folder),
);
const file = [`${service}+${argument}`, service]
  .flatMap((name) => folders.map((folder) => join(folder, name)))
  .find((path) => existsSync(path));
const builtIn = service === VM_EXEC ? unpacking(argument) : undefined;
if (file === undefined && builtIn === undefined) process.exit(NO_SUCH_SERVICE);
if (file !== undefined && !isExecutable(file)) fail(TROUBLE, `not executable, not a socket: ${file}`);

// Its own descriptors are sockets of dom0's, and so are the service's; what is left is who waits.
const devices = machine === '' ? [] : devicesOf(machine, vm);
const given = devices.flatMap(({ device, file: behind, readOnly }) => [
  basename(device),
  behind,
  readOnly ? 'ro' : 'rw',
]);
const inVm = given.length === 0 ? [] : ['unshare', '--mount', '--', 'sh', IN_VM, ...given, '--'];
const words = file === undefined ? (builtIn ?? []) : [file, ...(argument === '' ? [] : [argument])];
const [program = '', ...rest] = [...inVm, ...words];
const child = spawn(program, rest, {
  cwd: home,
  stdio: ['inherit', 'inherit', 'pipe'],
  env: {
    HOME: home,
    PATH: '/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin',
    QREXEC_REMOTE_DOMAIN: 'dom0',
    QREXEC_SERVICE_FULL_NAME: `${service}+${argument}`,
    QREXEC_SERVICE_ARGUMENT: argument,
    QREXEC_AGENT_PID: String(process.pid),
    QREXEC_REQUESTED_TARGET_TYPE: '',
  },
});
child.stderr.on('data', (bytes: Buffer) => {
  const filtered = bytes.map((byte) => ((byte < 0x20 || byte > 0x7e) && !PASSED.has(byte) ? 0x5f : byte));
  process.stderr.write(filtered);
});
child.once('close', (code, signal) => {
  process.exitCode = code ?? (signal === null ? TROUBLE : 128 + constants.signals[signal]);
});

/** What qubes.VMExec does with the one command that is to come, in the VM's root; it decodes as that does (qubesagent/vmexec.py). */
function unpacking(encoded: string): string[] {
  const command = encoded.split('+').map((part) => {
    const words = part.replace(/--|-([A-F0-9]{2})/g, (_whole, code: string | undefined) =>
      code === undefined ? '\0' : String.fromCharCode(parseInt(code, 16)),
    );
    if (words.includes('-')) fail(1, 'Decode error');
    return words.replaceAll('\0', '-');
  });
  if (command.join(' ') !== 'tar -xf - -C /') fail(1, `never to be run: ${command.join(' ')}`);
  if (user !== 'root') fail(2, 'tar: Cannot open: Permission denied');
  return ['tar', '-xf', '-', '-C', join(root, own)];
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, modes.X_OK);
    return true;
  } catch {
    return false;
  }
}
