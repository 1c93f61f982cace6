import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { listVms } from '../../dom0/domains/local/vms.ts';
import { TemporaryVms } from '../../dom0/domains/local/temporary.ts';
import { Promotions } from '../../dom0/domains/promotions.ts';
import { BackupError } from '../../shared/errors.ts';
import { LocalDomains } from '../../dom0/domains/local/local.ts';
import { isVmName, parseVmName } from '../../shared/ids.ts';
import type { VmName } from '../../shared/ids.ts';
import { notRoot, testNeeding } from '../support/needs.ts';
import { tempFolder } from '../support/temp.ts';

const work = parseVmName('work');
const restored = parseVmName('restored');
const PRIVATE = [{ name: 'private', mode: 'files', size: 0 }] as const;

const VM_JSON = {
  klass: 'StandaloneVM',
  uuid: '11111111-2222-4333-8444-555555555555',
  label: 'green',
  netvm: 'sys-net',
  tags: ['mine'],
  later: 'x',
};

interface Home {
  readonly vms: string;
  readonly journal: string;
  readonly domains: LocalDomains;
  /** What a backup of VM work says of it. */
  readonly description: Uint8Array;
}

async function makeHome(): Promise<Home> {
  const home = tempFolder();
  const vms = join(home, 'vms');
  mkdirSync(join(vms, 'work', 'private'), { recursive: true });
  writeFileSync(join(vms, 'work', 'vm.json'), JSON.stringify(VM_JSON));
  const domains = new LocalDomains({ home, sandbox: 'none' });
  return {
    vms,
    domains,
    journal: join(home, 'state', 'local', 'journal'),
    description: await domains.readConfig(work),
  };
}

function vmJson(home: Home, name: string): Record<string, unknown> {
  return JSON.parse(readFileSync(join(home.vms, name, 'vm.json'), 'utf8')) as Record<string, unknown>;
}

/** Leaves the journal as a run leaves it that was killed while it promoted. */
function writePromotion(home: Home, temporary: VmName, finalName: VmName): void {
  const file = join(home.journal, `${temporary}.json`);
  const entry = JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>;
  writeFileSync(file, JSON.stringify({ ...entry, promotedTo: finalName }));
}

describe('R30: a temporary VM', () => {
  test('is empty, network-less, excluded from backups, marked, and has a UUID of its own', async () => {
    const home = await makeHome();
    const name = await home.domains.createTemporary(restored, home.description, PRIVATE);
    expect(name).toMatch(/^restore-restored-[0-9a-f]{6}$/);
    expect(readdirSync(join(home.vms, name)).sort()).toEqual(['private', 'vm.json']);
    expect(readdirSync(join(home.vms, name, 'private'))).toEqual([]);
    expect(statSync(join(home.vms, name)).mode & 0o777).toBe(0o700);
    const json = vmJson(home, name);
    expect(json).toMatchObject({
      netvm: null,
      include_in_backups: false,
      klass: 'StandaloneVM',
      label: 'green',
      later: 'x',
    });
    expect(json['tags']).toEqual(['mine', 'qubes-backup-temporary']);
    expect(json['uuid']).not.toBe(VM_JSON.uuid);
    expect(readdirSync(home.journal)).toEqual([`${name}.json`]);
  });

  test('has a valid name however long the final one is, and another each time', async () => {
    const home = await makeHome();
    const long = parseVmName('x'.repeat(31));
    const names = [
      await home.domains.createTemporary(long, home.description, PRIVATE),
      await home.domains.createTemporary(long, home.description, PRIVATE),
    ];
    expect(names.every(isVmName)).toBe(true);
    expect(new Set(names).size).toBe(2);
  });

  test('gets its final name, its configuration and a new UUID, and is journalled no more', async () => {
    const home = await makeHome();
    const name = await home.domains.createTemporary(restored, home.description, PRIVATE);
    writeFileSync(join(home.vms, name, 'private', 'file'), 'content');
    await home.domains.promote(name, restored);
    expect(existsSync(join(home.vms, name))).toBe(false);
    expect(readFileSync(join(home.vms, 'restored', 'private', 'file'), 'utf8')).toBe('content');
    const json = vmJson(home, 'restored');
    expect(json).toMatchObject({
      netvm: 'sys-net',
      include_in_backups: true,
      tags: ['mine'],
      label: 'green',
      later: 'x',
    });
    expect(json['uuid']).not.toBe(VM_JSON.uuid);
    expect(json).not.toHaveProperty('volume');
    expect(readdirSync(home.journal)).toEqual([]);
    expect(await home.domains.cleanUp()).toEqual([]);
  });

  test.each(['a VM', 'an empty folder', 'a file'])('never takes a name that %s has', async (what) => {
    const home = await makeHome();
    const name = await home.domains.createTemporary(restored, home.description, PRIVATE);
    const final = join(home.vms, 'restored');
    if (what === 'a file') writeFileSync(final, 'x');
    else mkdirSync(what === 'a VM' ? join(final, 'private') : final, { recursive: true });
    await expect(home.domains.promote(name, restored)).rejects.toMatchObject({
      code: 'vm-exists',
      message: expect.stringContaining('--as') as string,
    });
    expect(existsSync(final)).toBe(true);
    expect(vmJson(home, name)['tags']).toContain('qubes-backup-temporary');
    await home.domains.removeTemporary(name);
    expect(existsSync(final)).toBe(true);
  });

  test('of two at once, one gets the name, and the other stays what it was', async () => {
    const home = await makeHome();
    const names = [
      await home.domains.createTemporary(restored, home.description, PRIVATE),
      await home.domains.createTemporary(restored, home.description, PRIVATE),
    ];
    for (const name of names) writeFileSync(join(home.vms, name, 'private', name), '');
    const ends = await Promise.allSettled(names.map((name) => home.domains.promote(name, restored)));
    const winner = ends.findIndex((end) => end.status === 'fulfilled');
    expect(ends[1 - winner]).toMatchObject({ status: 'rejected', reason: { code: 'vm-exists' } });
    expect(readdirSync(join(home.vms, 'restored', 'private'))).toEqual([names[winner]]);
    expect(readdirSync(join(home.vms, names[1 - winner]!, 'private'))).toEqual([names[1 - winner]]);
    expect(await home.domains.cleanUp()).toHaveLength(1);
    expect(readdirSync(home.vms).sort()).toEqual(['restored', 'work']);
  });

  test('is removed with all it holds, and its journal entry with it', async () => {
    const home = await makeHome();
    const name = await home.domains.createTemporary(restored, home.description, PRIVATE);
    // Deeper than a path may be long, and closed to its owner.
    const deep = 'mkdir $1; for i in $(seq 30); do mkdir n; mv $1 n; chmod 0 n/$1; mv n $1; done';
    const made = spawnSync('/bin/sh', ['-e', '-c', deep, 'sh', 'd'.repeat(200)], {
      cwd: join(home.vms, name, 'private'),
      encoding: 'utf8',
    });
    expect(made.stderr).toBe('');
    await home.domains.removeTemporary(name);
    expect(readdirSync(home.vms)).toEqual(['work']);
    expect(readdirSync(home.journal)).toEqual([]);
  });

  test('a configuration that is not valid is refused before anything is made', async () => {
    const home = await makeHome();
    for (const text of [
      '',
      '{}',
      '[]',
      '{"volumes":{"private":{"kind":"disk","size":1}}}',
      '{"klass":7,"volumes":{"private":{"kind":"folder","size":0}}}',
    ]) {
      await expect(home.domains.createTemporary(restored, Buffer.from(text), PRIVATE)).rejects.toMatchObject({
        code: 'store-damaged',
      });
    }
    expect(readdirSync(home.vms)).toEqual(['work']);
  });

  testNeeding(notRoot)('with an image is refused to a user', async () => {
    const home = await makeHome();
    const description = Buffer.from('{"volumes":{"private":{"kind":"image","size":1048576}}}');
    await expect(home.domains.createTemporary(restored, description, PRIVATE)).rejects.toThrow(/as root/);
    expect(readdirSync(home.vms)).toEqual(['work']);
  });
});

describe('R30: a VM that is not temporary', () => {
  async function refuses(home: Home, name: VmName): Promise<void> {
    const refused = { code: 'refused' };
    await expect(home.domains.removeTemporary(name)).rejects.toMatchObject(refused);
    await expect(home.domains.promote(name, restored)).rejects.toMatchObject(refused);
    await expect(
      home.domains.startDisposable(name, {
        kind: 'volume',
        vm: name,
        volume: 'private',
        mode: 'files',
        writable: true,
      }),
    ).rejects.toMatchObject(refused);
    expect(existsSync(join(home.vms, name, 'private'))).toBe(true);
  }

  test('is not removed, renamed or written', async () => {
    await refuses(await makeHome(), work);
  });

  test('that is marked, but not journalled', async () => {
    const home = await makeHome();
    writeFileSync(
      join(home.vms, 'work', 'vm.json'),
      JSON.stringify({ ...VM_JSON, tags: ['qubes-backup-temporary'] }),
    );
    await refuses(home, work);
  });

  test('that is journalled, but not marked', async () => {
    const home = await makeHome();
    const name = await home.domains.createTemporary(restored, home.description, PRIVATE);
    writeFileSync(join(home.vms, name, 'vm.json'), JSON.stringify({ ...vmJson(home, name), tags: [] }));
    await refuses(home, name);
    expect(await home.domains.cleanUp()).toEqual([expect.stringMatching(`left VM ${name} alone`)]);
    expect(existsSync(join(home.vms, name, 'private'))).toBe(true);
    expect(await home.domains.cleanUp()).toEqual([]);
  });

  test('that took the place of a journalled one', async () => {
    const home = await makeHome();
    const name = await home.domains.createTemporary(restored, home.description, PRIVATE);
    rmSync(join(home.vms, name), { recursive: true });
    renameSync(join(home.vms, 'work'), join(home.vms, name));
    await refuses(home, name);
  });
});

describe('R50: after a run that died', () => {
  test('temporary VMs are removed, each named', async () => {
    const home = await makeHome();
    const first = await home.domains.createTemporary(restored, home.description, PRIVATE);
    const second = await home.domains.createTemporary(restored, home.description, PRIVATE);
    const lines = await home.domains.cleanUp();
    expect(lines).toHaveLength(2);
    for (const name of [first, second]) expect(lines.join('\n')).toContain(name);
    expect(readdirSync(home.vms)).toEqual(['work']);
    expect(await home.domains.cleanUp()).toEqual([]);
  });

  test.each([
    ['before its folder was made', (folder: string) => rmSync(folder, { recursive: true })],
    [
      'before its vm.json was complete',
      (folder: string) => {
        rmSync(folder, { recursive: true });
        mkdirSync(folder);
        writeFileSync(join(folder, 'vm.json.abc.tmp'), '{');
      },
    ],
    ['before its volume was made', (folder: string) => rmSync(join(folder, 'private'), { recursive: true })],
  ])('a temporary VM is removed that was cut short %s', async (_what, cut) => {
    const home = await makeHome();
    const name = await home.domains.createTemporary(restored, home.description, PRIVATE);
    cut(join(home.vms, name));
    expect(await home.domains.cleanUp()).toHaveLength(1);
    expect(readdirSync(home.vms)).toEqual(['work']);
    expect(readdirSync(home.journal)).toEqual([]);
  });

  test('a folder with content but without vm.json is not ours to remove', async () => {
    const home = await makeHome();
    const name = await home.domains.createTemporary(restored, home.description, PRIVATE);
    rmSync(join(home.vms, name, 'vm.json'));
    expect(await home.domains.cleanUp()).toEqual([expect.stringMatching(`left VM ${name} alone`)]);
    expect(existsSync(join(home.vms, name, 'private'))).toBe(true);
  });

  test.each([false, true])(
    'a promotion that was not done is undone (name reserved: %s)',
    async (reserved) => {
      const home = await makeHome();
      const name = await home.domains.createTemporary(restored, home.description, PRIVATE);
      writePromotion(home, name, restored);
      if (reserved) mkdirSync(join(home.vms, 'restored'));
      await home.domains.cleanUp();
      expect(readdirSync(home.vms)).toEqual(['work']);
      expect(readdirSync(home.journal)).toEqual([]);
    },
  );

  test('a promotion that had the name already is completed', async () => {
    const home = await makeHome();
    const name = await home.domains.createTemporary(restored, home.description, PRIVATE);
    writePromotion(home, name, restored);
    renameSync(join(home.vms, name), join(home.vms, 'restored'));
    writeFileSync(join(home.vms, 'restored/vm.json.0123456789ab.tmp'), '{'); // It died while it wrote that.
    writeFileSync(join(home.vms, 'restored/vm.json.mine'), '');
    expect(await home.domains.cleanUp()).toEqual([expect.stringContaining('restored')]);
    expect(vmJson(home, 'restored')).toMatchObject({ netvm: 'sys-net', tags: ['mine'] });
    expect(readdirSync(join(home.vms, 'restored')).sort()).toEqual(['private', 'vm.json', 'vm.json.mine']);
    expect(readdirSync(home.journal)).toEqual([]);
  });

  test('an existing VM of the name of an undone promotion is left alone', async () => {
    const home = await makeHome();
    const name = await home.domains.createTemporary(restored, home.description, PRIVATE);
    writePromotion(home, name, work);
    await home.domains.cleanUp();
    expect(readdirSync(home.vms)).toEqual(['work']);
    expect(vmJson(home, 'work')).toMatchObject(VM_JSON);
  });

  test('a journal entry that was cut short is dropped, a damaged one is named each time, and does not stop the rest', async () => {
    const home = await makeHome();
    mkdirSync(home.journal, { recursive: true });
    writeFileSync(join(home.journal, 'restore-x-123456.json.abc.tmp'), '{');
    expect(await home.domains.cleanUp()).toEqual([]);
    expect(readdirSync(home.journal)).toEqual([]);
    writeFileSync(join(home.journal, 'restore-x-123456.json'), '{');
    const name = await home.domains.createTemporary(restored, home.description, PRIVATE);
    const first = (await home.domains.cleanUp()).toSorted();
    expect(first).toHaveLength(2);
    expect(first[0]).toMatch(/journal.*restore-x-123456/);
    expect(first[1]).toContain(name);
    expect(await home.domains.cleanUp()).toEqual([first[0]]);
    expect(readdirSync(home.vms)).toEqual(['work']);
  });

  test('volatile folders are removed, each named', async () => {
    const home = await makeHome();
    const left = join(home.journal, '..', 'volatile', 'disp1-abc');
    mkdirSync(join(left, 'home'), { recursive: true });
    chmodSync(join(left, 'home'), 0);
    expect(await home.domains.cleanUp()).toEqual([expect.stringContaining('disp1-abc')]);
    expect(existsSync(left)).toBe(false);
  });
});

/** Fails once, as a file system does that is full or read-only for a moment. */
class FailingPromotions extends Promotions {
  #left = 1;

  override finish(temporary: VmName): void {
    if (this.#left-- > 0) throw new BackupError('io', 'read-only file system');
    super.finish(temporary);
  }
}

test('R31: a VM that has its name when something fails is finished, never forgotten', async () => {
  const home = tempFolder();
  const [vms, journal] = [join(home, 'vms'), join(home, 'journal')];
  const promotions = new FailingPromotions(join(home, 'promoted'));
  const warnings: string[] = [];
  const temporary = new TemporaryVms(vms, journal, promotions, (text) => warnings.push(text));
  const description = (await makeHome()).description;
  const name = await temporary.create(restored, description, PRIVATE);
  await expect(temporary.promote(name, restored)).rejects.toMatchObject({ code: 'io' });
  await temporary.remove(name);
  expect(warnings).toEqual([expect.stringContaining('finished the restore of VM restored')]);
  expect([readdirSync(vms), readdirSync(journal)]).toEqual([['restored'], []]);
  expect(promotions.among(await listVms(vms, () => undefined))).toMatchObject([{ temporary: name }]);
});

describe('R32: in the place of another VM', () => {
  /** A temporary VM that says `new`, and `work`, which says `old` and has no UUID but that of its folder. */
  async function begun() {
    const home = await makeHome();
    writeFileSync(join(home.vms, 'work', 'vm.json'), '{}');
    writeFileSync(join(home.vms, 'work', 'private', 'file'), 'old');
    const name = await home.domains.createTemporary(work, home.description, PRIVATE);
    writeFileSync(join(home.vms, name, 'private', 'file'), 'new');
    return { home, name, replaced: await home.domains.replaceable(work) };
  }
  const fileOf = (home: Home, vm: string) => readFileSync(join(home.vms, vm, 'private', 'file'), 'utf8');

  test('it gets that name, and the other is kept as it is under a dated one', async () => {
    const { home, name, replaced } = await begun();
    expect(replaced.keptAs).toMatch(/^work-[0-9]{8}$/);
    expect(await home.domains.promote(name, work, replaced)).toEqual([]);
    expect(readdirSync(home.vms)).toEqual(['work', replaced.keptAs]);
    expect([fileOf(home, 'work'), fileOf(home, replaced.keptAs)]).toEqual(['new', 'old']);
    expect([vmJson(home, 'work')['netvm'], vmJson(home, replaced.keptAs)]).toEqual(['sys-net', {}]);
    const kept = (await home.domains.list()).find((vm) => vm.name === replaced.keptAs);
    expect(kept?.uuid).toBe(replaced.uuid);
    expect((await home.domains.replaceable(work)).keptAs).toBe(`${replaced.keptAs}-2`);
    expect(await home.domains.cleanUp()).toEqual([]);
  });

  test.each(['the VM is another one', 'the other name is taken'])(
    'nothing is changed if %s by then',
    async (what) => {
      const { home, name, replaced } = await begun();
      if (what === 'the VM is another one') renameSync(join(home.vms, 'work'), join(home.vms, 'mine'));
      mkdirSync(join(home.vms, what === 'the VM is another one' ? 'work' : replaced.keptAs));
      const before = readdirSync(home.vms);
      await expect(home.domains.promote(name, work, replaced)).rejects.toMatchObject({ code: 'vm-exists' });
      expect(readdirSync(home.vms)).toEqual(before);
      await home.domains.removeTemporary(name);
      expect(await home.domains.cleanUp()).toEqual([]);
    },
  );

  /** What a promotion does one after the other, each of which a run may die after. */
  const steps: readonly [string, (home: Home, name: string, kept: string) => void][] = [
    ['its plan', () => undefined],
    [
      'taking the other name',
      (home, _name, kept) => {
        mkdirSync(join(home.vms, kept));
      },
    ],
    [
      'giving it',
      (home, _name, kept) => {
        renameSync(join(home.vms, 'work'), join(home.vms, kept));
      },
    ],
    [
      'taking the name',
      (home) => {
        mkdirSync(join(home.vms, 'work'));
      },
    ],
    [
      'giving that',
      (home, name) => {
        renameSync(join(home.vms, name), join(home.vms, 'work'));
      },
    ],
  ];
  test.each(steps.map(([title], index) => [title, index + 1] as const))(
    'a run that died after %s leaves the old VM untouched, or the new one whole',
    async (_title, count) => {
      const { home, name, replaced } = await begun();
      const { keptAs, uuid } = replaced;
      const file = join(home.journal, `${name}.json`);
      const entry = JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>;
      writeFileSync(file, JSON.stringify({ ...entry, promotedTo: work, replaces: { uuid, keptAs } }));
      for (const [, step] of steps.slice(0, count)) step(home, name, keptAs);
      expect(await home.domains.cleanUp()).toHaveLength(1);
      const finished = count === steps.length;
      expect(readdirSync(home.vms)).toEqual(finished ? ['work', keptAs] : ['work']);
      expect(fileOf(home, 'work')).toBe(finished ? 'new' : 'old');
      const vm = (await home.domains.list()).find((one) => one.name === work);
      expect(vm?.uuid === uuid).toBe(!finished);
      expect(readdirSync(home.journal)).toEqual([]);
    },
  );

  test('a name that a person has taken meanwhile is left, and so is the VM that is kept', async () => {
    const { home, name, replaced } = await begun();
    const { keptAs, uuid } = replaced;
    const file = join(home.journal, `${name}.json`);
    const entry = JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>;
    writeFileSync(file, JSON.stringify({ ...entry, promotedTo: work, replaces: { uuid, keptAs } }));
    renameSync(join(home.vms, 'work'), join(home.vms, keptAs));
    mkdirSync(join(home.vms, 'work', 'private'), { recursive: true });
    await home.domains.cleanUp();
    expect(readdirSync(home.vms)).toEqual(['work', keptAs]);
    expect([fileOf(home, keptAs), readdirSync(join(home.vms, 'work', 'private'))]).toEqual(['old', []]);
  });

  test('what it is to have instead of what it had, it has', async () => {
    const home = await makeHome();
    const other = { template: parseVmName('debian-13'), netvm: null };
    const name = await home.domains.createTemporary(restored, home.description, PRIVATE, other);
    await home.domains.promote(name, restored);
    expect(vmJson(home, 'restored')).toMatchObject({ template: 'debian-13', netvm: null, label: 'green' });
  });
});
