/** R33: files of a snapshot into ~/QubesIncoming of a VM, through the policy, and by the VM's own rules. */

import {
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import { extract } from '../../dom0/commands/extract.ts';
import type { Domains } from '../../dom0/domains/domains.ts';
import { unescapeText } from '../../shared/bytes.ts';
import { encodeCbor } from '../../shared/cbor.ts';
import { walkDifferences } from '../support/checker.ts';
import { rejection } from '../support/failure.ts';
import { answer } from '../support/file-copy.ts';
import { Home, SANDBOX } from '../support/home.ts';
import { makeImage, mountable, withMounted } from '../support/images.ts';
import { runInProcess } from '../support/in-process.ts';
import { onType } from '../support/lies.ts';
import { root, testNeeding } from '../support/needs.ts';
import { Consistent, tampered } from '../support/tamper.ts';
import { generateTree } from '../support/tree-generator.ts';
import { WrappedDomains } from '../support/wrapped-domains.ts';

let home = new Home({ folder: '/nonexistent', existing: true });
let incoming = '';

beforeEach(async () => {
  home = new Home();
  home.volume('target');
  incoming = join(home.folder, 'vms/target/private/home/user/QubesIncoming/dom0');
  mkdirSync(join(home.volume('work'), 'docs'));
  home.write('work', 'docs/a', 'content of a');
  home.write('work', 'docs/b', Buffer.alloc(3_000_000, 'b'));
  await home.expectRun(0, 'init');
});

const copyIn = (into = 'target') => ({ to: undefined, tar: undefined, intoVm: into, overwrite: false });
const nothingLeft = () => expect(readdirSync(join(home.state, 'local/volatile'))).toEqual([]);

test('what was chosen is there as it was, and belongs to the user of that VM', async () => {
  const user = join(home.volume('target'), 'home/user');
  mkdirSync(user, { recursive: true });
  await home.expectRun(0, 'backup', 'work');
  const { events } = await home.expectRun(0, 'extract', 'work', 'docs', '--into-vm', 'target');
  expect(events.at(-1)).toMatchObject({ event: 'extracted', files: 2, bytes: 3_000_012 });
  expect(readFileSync(join(incoming, 'work-1/docs/a'), 'utf8')).toBe('content of a');
  const differences = walkDifferences(home.volume('work'), join(incoming, 'work-1'));
  expect(differences).toEqual([]);
  expect(lstatSync(join(incoming, 'work-1/docs/a')).uid).toBe(lstatSync(user).uid);
  nothingLeft();
});

/** Bytes that a file may occupy beyond its size: its last block, and blocks of its own map. */
const ROUNDING = 16 * 1024;

test('R26: of a hostile tree each missing entry is named, and all else is as it was', async () => {
  const volume = home.volume('work');
  rmSync(join(volume, 'docs'), { recursive: true });
  generateTree(volume, { seed: 7, entries: 200, maxFile: 300_000, attributes: false, owners: false });
  await home.expectRun(0, 'backup', 'work');
  const { events } = await home.expectRun(3, 'extract', 'work', '/', '--into-vm', 'target');
  const told = events.filter(({ event }) => event === 'warning').map(({ text }) => String(text));
  const named = new Set<string>();
  for (const text of told) {
    const path = /^extract: (.*): (?:a symlink that|a file copy has|its path is)/s.exec(text)?.[1];
    if (path !== undefined) named.add(unescapeText(path));
  }
  expect(told.at(-1)).toContain('a file copy cannot say all');
  const copy = join(incoming, 'work-1');
  const isExpected = (line: string): boolean => {
    const parts = /^("(?:[^"\\]|\\.)*"): (\S+)(?: (.*))?$/s.exec(line);
    const path: unknown = JSON.parse(parts?.[1] ?? 'null');
    if (typeof path !== 'string') return false;
    const stat = lstatSync(Buffer.from(`${volume}/${path}`, 'latin1'));
    switch (parts?.[2]) {
      case 'missing':
        return named.delete(path);
      case 'mode': // Without set-ID bits.
        return (
          parts[3]
            ?.split(' and ')
            .map((mode) => parseInt(mode, 8) & ~0o6000)
            .every((mode, _i, all) => mode === all[0]) ?? false
        );
      case 'mtime': {
        const [was = 0, is = 0] = (parts[3] ?? '').split(' and ').map(Number);
        return (
          stat.isSymbolicLink() || (was < 0 ? is === 0 : was >= 2 ** 32 * 1e9 && is === (2 ** 32 - 1) * 1e9)
        );
      }
      case 'occupied': // Holes become zeros.
        return Number(parts[3]?.split(' and ')[1]) <= stat.size + ROUNDING;
      default:
        return parts?.[2] === 'hard';
    }
  };
  expect(walkDifferences(volume, copy).filter((line) => !isExpected(line))).toEqual([]);
  expect([...named]).toEqual([]); // What was named is missing.
  nothingLeft();
});

describe('what the VM refuses, it refuses with advice', () => {
  beforeEach(async () => {
    await home.expectRun(0, 'backup', 'work');
  });

  test('a file that is there already', async () => {
    await home.expectRun(0, 'extract', 'work', 'docs/b', '--into-vm', 'target');
    writeFileSync(join(incoming, 'work-1/docs/b'), 'mine');
    const failed = await home.expectRun(1, 'extract', 'work', '/', '--into-vm', 'target');
    expect(failed.event('error')).toMatchObject({
      code: 'vm-exists',
      message:
        'target: qubes.Filecopy has work-1/docs/b in its QubesIncoming already: move it away there, and try again',
    });
    expect(readFileSync(join(incoming, 'work-1/docs/b'), 'utf8')).toBe('mine');
    nothingLeft();
  });

  test.each(['home', 'home/user', 'home/user/QubesIncoming'])(
    'a symlink in the place of %s',
    async (place) => {
      const outside = join(home.folder, 'outside');
      mkdirSync(outside);
      mkdirSync(join(home.volume('target'), place, '..'), { recursive: true });
      symlinkSync(outside, join(home.volume('target'), place));
      const failed = await home.expectRun(1, 'extract', 'work', 'docs', '--into-vm', 'target');
      expect(failed.event('error')).toMatchObject({ code: 'vm-exists' });
      expect(readdirSync(outside)).toEqual([]);
    },
  );
});

test('wrong usage is told before anything is asked', async () => {
  for (const options of [
    ['--into-vm', 'target', '--to', 'x'],
    ['--into-vm', 'target', '--overwrite'],
    ['--into-vm', '../target'],
    [],
  ])
    await home.expectRun(2, 'extract', 'work', 'docs', ...options);
  const failed = await home.expectRun(1, 'extract', 'work', 'docs', '--into-vm', 'nobody');
  expect(failed.event('error')).toMatchObject({ code: 'unknown-vm' });
});

test('a place that cannot be written to is named, with nothing left there', async () => {
  await home.expectRun(0, 'backup', 'work');
  writeFileSync(join(home.folder, 'file'), 'mine');
  for (const option of ['--to', '--tar']) {
    for (const place of ['file', 'file/below']) {
      const path = join(home.folder, place);
      const failed = await home.expectRun(1, 'extract', 'work', 'docs', option, path);
      expect(failed.event('error')).toMatchObject({ code: 'io' });
      expect(failed.event('error')['message']).toContain(path);
    }
  }
  expect(readFileSync(join(home.folder, 'file'), 'utf8')).toBe('mine');
});

testNeeding(existsSync('/dev/full') ? undefined : 'no /dev/full here')(
  'a full disk under a tar file is an error of this machine, and a device is not removed for it',
  async () => {
    await home.expectRun(0, 'backup', 'work');
    const device = join(home.folder, 'full');
    symlinkSync('/dev/full', device); // Were it removed, then only the symlink.
    const failed = await home.expectRun(1, 'extract', 'work', 'docs', '--tar', device, '--overwrite');
    const message = String(failed.event('error')['message']);
    expect(message).toContain(`cannot write ${device}: ENOSPC`);
    expect(message).not.toContain('disp');
    expect(lstatSync(device).isSymbolicLink()).toBe(true);
  },
);

test('a tar file is replaced by a whole one only', async () => {
  await home.expectRun(0, 'backup', 'work');
  const file = join(home.folder, 'archive.tar');
  writeFileSync(file, 'the old one');
  const before = readdirSync(home.folder).sort();
  const cut = (domains: Domains) =>
    new WrappedDomains(domains, (call, service) =>
      service === 'qubes.BackupExport'
        ? tampered(
            call,
            onType(0x80, () => 'end', 1),
          )
        : call,
    );
  const destination = { to: undefined, tar: file, intoVm: undefined, overwrite: true };
  const error = await rejection(
    runInProcess(home, (app) => extract(app, 'work', ['docs'], destination), cut),
  );
  expect(error.code).toBe('service-died');
  expect(readFileSync(file, 'utf8')).toBe('the old one');
  expect(readdirSync(home.folder).sort()).toEqual(before);
  await home.expectRun(0, 'extract', 'work', 'docs', '--tar', file, '--overwrite');
  expect(readFileSync(file).subarray(257, 262).toString()).toBe('ustar');
  expect(readdirSync(home.folder).sort()).toEqual(before);
});

/** Keeps with which arguments VMs are called. */
class Listening extends WrappedDomains {
  readonly calls: string[] = [];

  override callVm(...[vm, service, argument]: Parameters<WrappedDomains['callVm']>) {
    this.calls.push(`${vm} ${service}+${argument}`);
    return super.callVm(vm, service, argument);
  }
}

describe('the call of the VM', () => {
  test.each([
    ['docs', 'target qubes.Filecopy+'],
    ['odd', 'target qubes.Filecopy+allow-all-names'],
  ])('for %s is %s', async (path, call) => {
    mkdirSync(join(home.volume('work'), 'odd'));
    home.write('work', 'odd/\u00e9', 'x');
    await home.expectRun(0, 'backup', 'work');
    const listening: Listening[] = [];
    await runInProcess(
      home,
      (app) => extract(app, 'work', [path], copyIn()),
      (domains) => {
        const wrapped = new Listening(domains, (inner) => inner);
        listening.push(wrapped);
        return wrapped;
      },
    );
    expect(listening[0]?.calls).toEqual([call]);
  });

  test('R02: bytes that were altered on the way are found, whoever altered them', async () => {
    await home.expectRun(0, 'backup', 'work');
    const flip = onType(0x80, ({ type, payload }) => {
      const changed = new Uint8Array(payload);
      changed[changed.length - 1] = (changed.at(-1) ?? 0) ^ 1;
      return new Consistent(type, changed);
    });
    const error = await rejection(
      runInProcess(
        home,
        (app) => extract(app, 'work', ['docs/b'], copyIn()),
        (domains) =>
          new WrappedDomains(domains, (call, service) =>
            service === 'qubes.BackupExport' ? tampered(call, flip) : call,
          ),
      ),
    );
    expect(error).toMatchObject({ code: 'verify-failed' });
    expect(error.message).toContain('target: qubes.Filecopy received something else than was sent');
  });

  test.each([
    ['a stream that was not asked for', 'to', 0x11],
    ['a second beginning', 'intoVm', 0x80],
    ['a beginning of a tar stream', 'tar', 0x80],
  ] as const)('a disposable that sends %s is stopped', async (_what, option, instead) => {
    await home.expectRun(0, 'backup', 'work');
    const file = join(home.folder, 'file');
    const nowhere = { to: undefined, tar: undefined, intoVm: undefined, overwrite: false };
    const destination = { ...nowhere, [option]: option === 'intoVm' ? 'target' : file };
    const lie =
      instead === 0x80
        ? onType(0x80, () => new Consistent(0x13, encodeCbor({ plainNames: true })))
        : onType(0x14, () => new Consistent(0x80, new Uint8Array(10)));
    const error = await rejection(
      runInProcess(
        home,
        (app) => extract(app, 'work', ['docs'], destination),
        (domains) =>
          new WrappedDomains(domains, (call, service) =>
            service === 'qubes.BackupExport' ? tampered(call, lie) : call,
          ),
      ),
    );
    expect(error.code).toBe('protocol');
    expect(error.message).toMatch(/^disp\d+: qubes.BackupExport /);
    if (option === 'tar') expect(existsSync(file)).toBe(false);
    nothingLeft();
  });

  test('a VM that gives up early ends the extraction, however much is still to come', async () => {
    home.write('work', 'docs/huge', Buffer.alloc(60_000_000, 'h'));
    await home.expectRun(0, 'backup', 'work');
    const error = await rejection(
      runInProcess(
        home,
        (app) => extract(app, 'work', ['docs'], copyIn()),
        (domains) =>
          new WrappedDomains(domains, (call, service) => {
            if (service !== 'qubes.Filecopy') return call;
            const pieces = [answer(28, 0, 'docs/huge'), Buffer.alloc(0)];
            const read = (space: Uint8Array) => {
              const piece = pieces.shift() ?? Buffer.alloc(0);
              space.set(piece);
              return Promise.resolve(piece.length);
            };
            return { ...call, io: { read, write: (some) => call.io.write(some) } };
          }),
      ),
    );
    expect(error).toMatchObject({ code: 'store-full' });
    expect(error.message).toContain('target: qubes.Filecopy has no room for docs/huge');
    nothingLeft();
  });
});

testNeeding(
  root,
  mountable('ext4'),
  SANDBOX === 'none' ? 'no sandbox here' : undefined,
)('a VM whose volume is an image gets the files into the image', async () => {
  const image = join(home.folder, 'vms/target/private.img');
  rmSync(join(home.folder, 'vms/target/private'), { recursive: true });
  makeImage(image, 'ext4');
  withMounted(image, 'rw', 'mkdir -p "$1/home/user"; chown 1000:1000 "$1/home/user"');
  await home.expectRun(0, 'backup', 'work');
  await home.expectRun(0, 'extract', 'work', 'docs', '--into-vm', 'target');
  const listed = withMounted(
    image,
    'ro',
    '(cd "$1/home/user/QubesIncoming/dom0/work-1/docs"; stat -c "%n %u %s" a b)',
  );
  expect(listed).toBe('a 1000 12\nb 1000 3000000\n');
  nothingLeft();
});
