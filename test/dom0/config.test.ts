import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { loadConfig } from '../../dom0/config.ts';
import { DEFAULT_EXCLUDES } from '../../dom0/default-excludes.ts';
import { byteString, utf8 } from '../../shared/bytes.ts';
import { patternProblem } from '../../shared/exclude-pattern.ts';
import { MAX_PATTERNS } from '../../shared/limits.ts';
import { scan, verify } from '../../shared/protocol/disposable.ts';
import { encodeFrame } from '../../shared/wire/frame.ts';
import { failure } from '../support/failure.ts';
import { tempFolder } from '../support/temp.ts';

/** The configuration that these lines of TOML are. */
function configure(...lines: readonly string[]) {
  const folder = tempFolder();
  writeFileSync(join(folder, 'config.toml'), `${lines.join('\n')}\n`);
  return loadConfig({ file: undefined, localHome: folder, sandbox: undefined });
}

const work = { name: 'work', template: 'debian-12' };
const other = { name: 'other', template: null };

test('R58: how much is checked is set for all VMs, for a template, for a VM', () => {
  const MiB = 2 ** 20;
  expect(configure().backup(work)).toMatchObject({ recheckBytes: 256 * MiB, spotCheckBytes: 32 * MiB });
  const lines = ['[backup]', 'spot_check_mib = 1', '[template.debian-12]', 'spot_check_mib = 2'];
  expect(configure(...lines).backup(other).spotCheckBytes).toBe(MiB);
  expect(configure(...lines).backup(work).spotCheckBytes).toBe(2 * MiB);
  expect(configure(...lines, '[vm.work]', 'spot_check_mib = 0').backup(work).spotCheckBytes).toBe(0);
  expect(failure(() => configure('[backup]', 'spot_check_mib = -1')).code).toBe('usage');
});

describe('R25: what of dom0 is backed up', () => {
  const dom0Of = (...lines: readonly string[]) => configure(...lines).dom0;

  test('is nothing unless chosen; on Qubes OS homes, policies, our settings and salt', () => {
    expect(dom0Of().chosen).toEqual([]);
    const folder = tempFolder();
    const file = join(folder, 'config.toml');
    const load = (text: string) => {
      writeFileSync(file, text);
      return loadConfig({ file, localHome: undefined, sandbox: undefined }).dom0;
    };
    expect(load('driver = "qubes"\n')).toEqual({
      chosen: ['/etc/qubes', '/etc/qubes-backup', '/home', '/srv'],
      hidden: ['/var/lib/qubes-backup/state'],
    });
    const keys = '[requests]\nkey_file = "/home/k"\n[[storage]]\nname = "usb"\nfolder = "/home/usb"\n';
    const own = load(`driver = "qubes"\nstate = "/home/state"\n${keys}[dom0]\npaths = []\n`);
    expect(own).toEqual({ chosen: [], hidden: ['/home/state', '/home/k', '/home/usb'] });
  });

  test('is told apart byte by byte: neighbours may begin with the same letters', () => {
    const paths = ['/home/user', '/home/user-2', '/etc/qubes/policy.d', '/srv/sälz', '/...'];
    expect(dom0Of('[dom0]', `paths = ${JSON.stringify(paths)}`).chosen).toEqual(paths);
  });

  test.each([
    ['a relative one', ['home']],
    ['all there is', ['/']],
    ['a slash at its end', ['/home/']],
    ['double slashes', ['/home//user']],
    ['two at its start', ['//home']],
    ['dots', ['/home/../etc']],
    ['a dot', ['/home/.']],
    ['one inside another', ['/home/user', '/home']],
    ['one twice', ['/home', '/home']],
    ['a very long one', [`/${'ä'.repeat(600)}`]],
    ['an empty one', ['']],
    ['too many', Array.from({ length: 65 }, (_, index) => `/${index}`)],
  ])('is refused: %s', (_title, paths) => {
    expect(failure(() => dom0Of('[dom0]', `paths = ${JSON.stringify(paths)}`)).message).toContain(
      'dom0.paths',
    );
  });

  test('fits into one message, however long the paths are', () => {
    const long = (index: number) => `/${String(index).padEnd(341, '\u4e00')}`;
    const paths = (count: number) => Array.from({ length: count }, (_, index) => long(index));
    const chosen = dom0Of('[dom0]', `paths = ${JSON.stringify(paths(64))}`).chosen;
    const volume = { kind: 'folders', path: '/mnt/volume', chosen: [...chosen], hidden: paths(32) } as const;
    const job = { volume, owners: true, excludes: null, deviceSize: null };
    const encoded = encodeFrame(verify.toService.job, job);
    expect(encoded.reduce((sum, piece) => sum + piece.length, 0)).toBeGreaterThan(90_000);
  });
});

describe('R44: stores', () => {
  const storesOf = (...lines: readonly string[]) => configure(...lines).stores;

  test('are one storage VM unless more are named, without limits', () => {
    const limits = { upload: undefined, download: undefined };
    expect(storesOf()).toEqual([{ name: 'main', folder: undefined, removable: false, limits }]);
    expect(configure().quorum).toBe('all');
  });

  test('are storage VMs and folders of dom0, each with its own limits', () => {
    const lines = [
      ...['quorum = 2', '[[storage]]', 'vm = "main"', 'limit_upload = 100'],
      ...['[[storage]]', 'name = "usb"', 'folder = "/media/usb/backup"', 'removable = true'],
    ];
    expect(configure(...lines).quorum).toBe(2);
    expect(storesOf(...lines)).toMatchObject([
      { name: 'main', folder: undefined, limits: { upload: 102_400, download: undefined } },
      { name: 'usb', folder: '/media/usb/backup', removable: true, limits: { upload: undefined } },
    ]);
  });

  test('have the limits of the command line instead, where it names some', () => {
    const folder = tempFolder();
    writeFileSync(
      join(folder, 'config.toml'),
      '[[storage]]\nvm = "main"\nlimit_upload = 100\nlimit_download = 7\n',
    );
    const limits = { upload: 0, download: undefined };
    const config = loadConfig({ file: undefined, localHome: folder, sandbox: undefined, limits });
    expect(config.stores[0]?.limits).toEqual({ upload: undefined, download: 7168 });
  });

  test.each([
    ['two of one name', ['[[storage]]', 'vm = "a"', '[[storage]]', 'name = "a"', 'folder = "/b"']],
    ['a folder without a name', ['[[storage]]', 'folder = "/b"']],
    ['a name without a folder', ['[[storage]]', 'name = "b"']],
    ['a storage VM with a folder', ['[[storage]]', 'vm = "a"', 'name = "a"', 'folder = "/b"']],
    ['a relative folder', ['[[storage]]', 'name = "a"', 'folder = "b"']],
    ['a name that leads elsewhere', ['[[storage]]', 'name = "../a"', 'folder = "/b"']],
    ['none', ['storage = []']],
    ['nine', Array.from({ length: 9 }, (_, index) => `[[storage]]\nvm = "a${index}"`)],
    ['a quorum above their number', ['quorum = 2', '[[storage]]', 'vm = "a"']],
    ['a quorum of none', ['quorum = 0']],
    ['a negative limit', ['[[storage]]', 'vm = "a"', 'limit_upload = -1']],
  ])('are refused: %s', (_title, lines) => {
    expect(failure(() => configure(...lines)).code).toBe('usage');
  });
});

describe('what is left out', () => {
  test('R23: the built-in excludes are patterns, and come first', () => {
    for (const pattern of DEFAULT_EXCLUDES)
      expect(patternProblem(byteString(utf8(pattern))), pattern).toBeUndefined();
    expect(configure().backup(other).excludes).toEqual({
      lists: [{ source: 'the built-in excludes', patterns: DEFAULT_EXCLUDES }],
      cachedirTag: true,
      nodump: false,
      volumeFile: true,
    });
  });

  test('R23: all VMs, then the template, then the VM; each level may set every switch', () => {
    const config = configure(
      '[backup]',
      'exclude = ["*.iso"]',
      'nodump = true',
      '[template.debian-12]',
      'exclude = ["*.tmp"]',
      'cachedir_tag = false',
      'nodump = false',
      'compress = false',
      '[vm.work]',
      'exclude = ["!keep.iso"]',
      'builtin_excludes = false',
      'volume_excludes = false',
    );
    expect(config.backup(work)).toMatchObject({
      compress: false,
      excludes: {
        lists: [
          { source: '[backup]', patterns: ['*.iso'] },
          { source: '[template.debian-12]', patterns: ['*.tmp'] },
          { source: '[vm.work]', patterns: ['!keep.iso'] },
        ],
        cachedirTag: false,
        nodump: false,
        volumeFile: false,
      },
    });
    expect(config.backup(other)).toMatchObject({
      compress: true,
      excludes: { nodump: true, cachedirTag: true },
    });
    expect(config.backup(other).excludes.lists.map(({ source }) => source)).toEqual([
      'the built-in excludes',
      '[backup]',
    ]);
    expect(config.backup({ name: '__proto__', template: 'constructor' }).excludes.lists).toHaveLength(2);
  });

  test.each([
    ['[vm.work]', '[a', 'vm.work.exclude.1: the pattern "[a" has a [ without its ]'],
    ['[template.debian-12]', '# note', 'template.debian-12.exclude.1: the pattern "# note" is a comment'],
    ['[backup]', '', 'backup.exclude.1: the pattern "" is empty'],
    ['[backup]', '../x', 'backup.exclude.1: the pattern "../x" has the name . or ..'],
  ])('R23: a wrong pattern in %s is refused by name: %j', (table, pattern, message) => {
    const error = failure(() => configure(table, `exclude = ["fine", ${JSON.stringify(pattern)}]`));
    expect(error.code).toBe('usage');
    expect(error.message).toContain(message);
  });

  test('R23: the longest lists fit one message', () => {
    const patterns = Array.from({ length: MAX_PATTERNS }, (_, i) => `${i}`.padEnd(32, 'x'));
    const lines = `exclude = ${JSON.stringify(patterns)}`;
    const { excludes } = configure(
      '[backup]',
      lines,
      '[template.debian-12]',
      lines,
      '[vm.work]',
      lines,
    ).backup(work);
    const size = JSON.stringify(excludes).length;
    expect(size).toBeLessThan(scan.toService.job.max);
    const larger = patterns.map((pattern) => `${pattern}y`);
    const error = failure(() => configure('[backup]', `exclude = ${JSON.stringify(larger)}`));
    expect(error.message).toContain('more than 32768 bytes of patterns');
  });
});

describe('the driver', () => {
  function load(text: string) {
    const file = join(tempFolder(), 'config.toml');
    writeFileSync(file, text);
    return loadConfig({ file, localHome: undefined, sandbox: undefined });
  }
  const STORAGE = '[[storage]]\nvm = "vault"\n';

  test('for Qubes OS needs no more than a store', () => {
    const config = load(`driver = "qubes"\n${STORAGE}`);
    expect(config.driver).toEqual({ kind: 'qubes' });
    expect(config.stateFolder).toBe('/var/lib/qubes-backup/state');
    expect(config.disposable({ name: 'work', template: 'debian-12' })).toEqual({});
  });

  test('takes of disposables what is set nearest to the VM', () => {
    const config = load(
      `driver = "qubes"\nstate = "/srv/state"\n${STORAGE}[backup.disposable]\nmemory_mib = 800\nvcpus = 1\n` +
        '[template.fedora.disposable]\nmemory_mib = 900\n[vm.hvm.disposable]\ntemplate = "my-dvm"\nvcpus = 4\n',
    );
    expect(config.stateFolder).toBe('/srv/state');
    expect(config.disposable({ name: 'work', template: 'fedora' })).toEqual({ memory: 900, vcpus: 1 });
    expect(config.disposable({ name: 'hvm', template: null })).toEqual({
      template: 'my-dvm',
      memory: 800,
      vcpus: 4,
    });
  });

  test.each([
    [`driver = "qubes"\nhome = "/x"\n${STORAGE}`, 'home: is of the driver'],
    [`driver = "local"\n${STORAGE}`, 'home: is missing'],
    [`driver = "xen"\nhome = "/x"\n${STORAGE}`, 'driver'],
    [`driver = "qubes"\n${STORAGE}[vm.a.disposable]\nmemory_mib = 10\n`, 'memory_mib'],
  ])('that is set wrong is said: %j', (text, message) => {
    expect(() => load(text)).toThrow(message);
  });
});
