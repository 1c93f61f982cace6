/** What is packaged, as far as that can be told before packages are made of it. */

import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { trusted } from '../../bench/support/trusted.ts';
import { PROJECT, dom0Bundle, dvmBundle, folderStoreBundle, storageBundle } from '../../packaging/bundle.ts';
import type { Bundle } from '../../packaging/bundle.ts';
import { DOM0_NODE_OPTIONS, NODE_OPTIONS } from '../../shared/node-options.ts';
import { packages } from '../../packaging/contents.ts';
import type { Package } from '../../packaging/contents.ts';
import { packagesOf } from '../../packaging/copyright.ts';
import { readRelease } from '../../packaging/release.ts';
import { SERVICES } from './expected.ts';
import { NODE_FLAGS } from '../support/home.ts';

let dom0: Bundle, dvm: Bundle, storage: Bundle, folderStore: Bundle;
let all: readonly Package[];

beforeAll(async () => {
  [dom0, dvm, storage, folderStore] = await Promise.all([
    dom0Bundle(),
    dvmBundle(),
    storageBundle(),
    folderStoreBundle(),
  ]);
  all = await packages(readRelease());
});

/** Folders of the project whose files are in a bundle. */
const partsOf = ({ inputs }: Bundle) =>
  [
    ...new Set(inputs.filter((file) => !file.startsWith('node_modules/')).map((file) => file.split('/')[0])),
  ].sort();

const foreign = ({ externals }: Bundle) => externals.filter((name) => !isNodes(name));
const isNodes = (name: string) => process.getBuiltinModule(name) !== undefined;

describe('R02: dom0’s bundle', () => {
  const codeOf = ({ files }: Bundle) => [...files.keys()].map((path) => text(dom0, path)).join('\n');

  test('is what is counted as trusted, in few files, and no native addon', () => {
    const { modules } = trusted();
    expect(packagesOf(dom0.inputs)).toEqual([...new Set(modules.flatMap((one) => one.package ?? []))].sort());
    const own = modules.filter((one) => one.package === undefined).map(({ file }) => file);
    // What has types alone is in no bundle.
    expect(own).toEqual(
      expect.arrayContaining(dom0.inputs.filter((file) => !file.includes('node_modules/'))),
    );
    // What is shared is where main.mjs is: dom0 finds its program from there (dom0/program.ts).
    const paths = [...dom0.files.keys()].filter((path) => !/^dom0\/shared-\w+\.mjs$/.test(path));
    expect(paths.sort()).toEqual([
      'dom0/main.mjs',
      ...SERVICES.dom0.map((name) => `services/dom0/${name}.mjs`),
    ]);
    const builtins = new Set(modules.flatMap((one) => one.builtins));
    expect(
      dom0.externals.map((name) => name.replace(/^node:/, '')).filter((name) => !builtins.has(name)),
    ).toEqual([]);
    expect(dom0.inputs.filter((file) => file.includes('cbor'))).toEqual([
      'node_modules/cbor-x/dist/index-no-eval.cjs',
      'shared/cbor.ts',
    ]);
    expect(codeOf(dom0)).not.toMatch(/cbor-extract|koffi|\.node['"]/);
  });

  test('can load nothing by name but what is Node’s own', () => {
    for (const path of dom0.files.keys())
      expect(text(dom0, path)).toMatch(/^const require = \(name\) => process\.getBuiltinModule\(name\);\n/);
    const code = codeOf(dom0).replace(/^ *\/\/.*$/gm, '');
    expect(code.match(/createRequire|[^.\w]import\(/g)).toBeNull();
    expect(codeOf(dom0).length).toBeLessThan(2 * 1024 * 1024);
  });
});

describe('the other bundles', () => {
  test('hold their own part, and what all share', () => {
    expect(partsOf(dom0)).toEqual(['dom0', 'services', 'shared']);
    expect(partsOf(dvm)).toEqual(['dvm', 'services', 'shared']);
    for (const bundle of [storage, folderStore])
      expect(partsOf(bundle)).toEqual(['services', 'shared', 'storagevm']);
    expect([foreign(dom0), foreign(dvm), foreign(storage)]).toEqual([[], ['koffi'], []]);
  });

  test('a store in a folder of dom0 comes without the code for S3', () => {
    expect(packagesOf(folderStore.inputs).filter((name) => /aws|smithy/.test(name))).toEqual([]);
    expect(foreign(folderStore)).toEqual(['@aws-sdk/client-s3']);
  });

  test('come without what nothing in them uses: messages of zod in other languages than English', () => {
    for (const bundle of [dom0, dvm, storage, folderStore]) {
      const code = [...bundle.files.keys()].map((path) => text(bundle, path)).join('\n');
      expect(code.match(/\/zod\/v4\/locales\/(?!en\.js)\w+/)).toBeNull();
      expect(code).toContain('/zod/v4/locales/en.js');
    }
  });

  test('name no folder of the machine that made them', () => {
    for (const bundle of [dom0, dvm, storage, folderStore])
      for (const path of bundle.files.keys()) expect(text(bundle, path), path).not.toContain(PROJECT);
  });
});

describe('the packages', () => {
  test('each has its description for each format, of the version that is released', () => {
    const { version } = readRelease();
    expect(version).toBe(
      (JSON.parse(readFileSync(join(PROJECT, 'package.json'), 'utf8')) as { version: string }).version,
    );
    for (const { name, formats } of all) {
      for (const format of formats) {
        const file = join(
          PROJECT,
          'packaging',
          format,
          format === 'deb' ? `${name}.control` : `${name}.spec`,
        );
        expect(existsSync(file), file).toBe(true);
      }
    }
    const described = [
      ...readdirSync(join(PROJECT, 'packaging/deb')),
      ...readdirSync(join(PROJECT, 'packaging/rpm')),
    ];
    expect(described.filter((name) => !name.endsWith('.macros'))).toHaveLength(
      all.flatMap(({ formats }) => formats).length,
    );
  });

  test('the services that run as root exist, and no service of a storage VM does', () => {
    const { tree } = all.find(({ name }) => name === 'qubes-backup-dvm')!;
    const asRoot = [...tree.keys()].filter((path) => path.includes('/rpc-config/'));
    expect(asRoot.length).toBeGreaterThan(0);
    for (const path of asRoot)
      expect([...tree.keys()]).toContain(path.replace('/etc/qubes/rpc-config/', '/etc/qubes-rpc/'));
    const storagevm = all.find(({ name }) => name === 'qubes-backup-storagevm')!;
    expect([...storagevm.tree.keys()].filter((path) => path.includes('rpc-config'))).toEqual([]);
  });

  test('every service of a checkout is installed, but what stands in for a VM’s own', () => {
    const installed = all
      .flatMap(({ tree }) => [...tree.keys()])
      .filter((path) => path.startsWith('/etc/qubes-rpc/'))
      .map((path) => path.slice('/etc/qubes-rpc/'.length));
    const found = readdirSync(join(PROJECT, 'services'), { recursive: true, withFileTypes: true });
    const services = found.filter((entry) => entry.isFile()).map(({ name }) => name.replace(/\.ts$/, ''));
    const ofPackages = ['qubes.BackupAgent'];
    expect(installed.sort()).toEqual(
      [...services.filter((name) => name !== 'qubes.Filecopy'), ...ofPackages].sort(),
    );
  });

  test('dom0 has the very agent that is made for templates, under the same name', () => {
    const treeOf = (of: string) => all.find(({ name }) => name === of)!.tree;
    const own = [...treeOf('qubes-backup-dom0')].filter(([path]) => path.includes('/services/dvm/'));
    const config = own.filter(([path]) => path.includes('/rpc-config/'));
    const dvmTree = treeOf('qubes-backup-dvm');
    expect(config).toHaveLength(5);
    for (const [path, entry] of config)
      expect(dvmTree.get(path.replace(/^.*\/rpc-config/, '/etc/qubes/rpc-config'))).toEqual(entry);
    const shared = own.filter((one) => !config.includes(one));
    expect(shared).toEqual([...dvmTree].filter(([path]) => path.includes('/services/dvm/')));
    const id = shared.find(([path]) => path.endsWith('/agent'))?.[1];
    const text = id?.kind === 'file' ? Buffer.from(id.bytes).toString() : '';
    expect(text).toMatch(new RegExp(`^${readRelease().version}-[0-9a-f]{16}\n$`));
  });

  test('an installed service is started as a checkout starts it', () => {
    const options = { ...NODE_OPTIONS, dom0: DOM0_NODE_OPTIONS };
    expect(NODE_FLAGS).toEqual(DOM0_NODE_OPTIONS);
    for (const part of ['dom0', 'dvm', 'storagevm'] as const) {
      const { tree } = all.find(({ name }) => name === `qubes-backup-${part}`)!;
      const scripts = [...tree].flatMap(([path, entry]) =>
        entry.kind === 'file' &&
        entry.mode === 0o755 &&
        path.includes(`/services/${part}/`) &&
        !path.endsWith('.BackupAgent')
          ? [entry.bytes]
          : [],
      );
      expect(scripts.length).toBeGreaterThan(0);
      for (const script of scripts)
        expect(Buffer.from(script).toString('utf8')).toContain(
          ['exec "$node"', ...options[part], `"$self.mjs"${part === 'dom0' ? '' : ' "$@"'}\n`].join(' '),
        );
    }
  });

  test('the page on installing names every package as its file is called', () => {
    const page = readFileSync(join(PROJECT, 'docs/install-qubes.md'), 'utf8');
    for (const { name } of all) expect(page).toContain(`| \`${name}\` |`);
    const { version } = readRelease();
    const files = [
      ...page.matchAll(/qubes-backup-[a-z$]+(?:-|_)(\d+\.\d+\.\d+)(-1\.x86_64\.rpm|_amd64\.deb|_all\.deb)/g),
    ];
    expect(files.length).toBeGreaterThan(3);
    for (const [, named] of files) expect(named).toBe(version);
  });

  test('licenses: every package that is in a bundle is named', () => {
    const { tree } = all.find(({ name }) => name === 'qubes-backup-storagevm')!;
    const entry = tree.get('/usr/share/doc/qubes-backup-storagevm/copyright');
    const copyright = entry?.kind === 'file' ? Buffer.from(entry.bytes).toString('utf8') : '';
    for (const name of packagesOf(storage.inputs)) expect(copyright).toContain(name);
  });
});

function text(bundle: Bundle, path: string): string {
  return Buffer.from(bundle.files.get(path)!).toString('utf8');
}
