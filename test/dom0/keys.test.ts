import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { argon2id, calibrate, checkCost, checkCosts, costFor } from '../../dom0/keys/derive.ts';
import { Keyring } from '../../dom0/keys/keyring.ts';
import { createKeyFile, passphraseOf, readKeyFile, readPassphraseFile } from '../../dom0/keys/secret.ts';
import type { Secret } from '../../dom0/keys/secret.ts';
import { createSlot, openKeyring, opensSlot } from '../../dom0/keys/slots.ts';
import { unwrapKey, wrapKey } from '../../dom0/keys/wrap.ts';
import { hex, utf8 } from '../../shared/bytes.ts';
import { newRepositoryId, newVmId } from '../../shared/ids.ts';
import type { KeySlot } from '../../shared/root.ts';
import { rootBodyOf } from '../support/root-body.ts';

const FLOOR = { memory: 64 * 1024, passes: 3, lanes: 4 };
const withCode = (code: string) => expect.objectContaining({ code }) as Error;

const CEILING = { memory: 1024 * 1024, passes: 16, lanes: 8 };

/** Costs that no slot may have: just beyond each limit, and far beyond. */
const REFUSED: readonly (readonly [string, typeof FLOOR])[] = [
  ['memory under the floor', { ...FLOOR, memory: 64 * 1024 - 1 }],
  ['passes under the floor', { ...FLOOR, passes: 2 }],
  ['memory above the ceiling', { ...FLOOR, memory: 1024 * 1024 + 1 }],
  ['passes above the ceiling', { ...FLOOR, passes: 17 }],
  ['a lane too many', { ...FLOOR, lanes: 9 }],
  ['255 lanes', { ...FLOOR, lanes: 255 }],
  ['as many lanes as Argon2 has', { ...CEILING, lanes: 2 ** 24 - 1 }],
  ['more lanes than Argon2 has', { ...CEILING, lanes: 2 ** 24 }],
  ['less memory than its lanes need', { ...FLOOR, lanes: FLOOR.memory / 8 + 1 }],
  ['memory beyond all', { ...FLOOR, memory: Number.MAX_SAFE_INTEGER }],
  ['passes beyond all', { ...FLOOR, passes: Number.MAX_SAFE_INTEGER }],
];

describe('cost of a passphrase slot', () => {
  it.each(REFUSED)('R35: refuses %s without running it', async (_title, cost) => {
    expect(() => checkCost(cost)).toThrow(withCode('store-damaged'));
    let runs = 0;
    const count = () => Promise.resolve(Buffer.alloc(++runs));
    await expect(argon2id(utf8('x'), Buffer.alloc(16), cost, count)).rejects.toThrow(
      withCode('store-damaged'),
    );
    expect(runs).toBe(0);
  });

  it('takes the floor, the ceiling, and one lane', () => {
    for (const cost of [FLOOR, CEILING, { ...FLOOR, lanes: 1 }])
      expect(() => checkCosts([cost])).not.toThrow();
  });

  it('R35: bounds what all slots take together, as a wrong passphrase tries each', () => {
    const most = { memory: 160 * 1024, passes: 16, lanes: 4 };
    const own = Array.from({ length: 16 }, () => most);
    expect(() => checkCosts(own)).not.toThrow(); // Whatever this program may have made is opened.
    expect(() => checkCosts([...own.slice(1), { ...most, memory: most.memory + 1 }])).toThrow(
      withCode('store-damaged'),
    );
    expect(() => checkCosts(Array.from({ length: 16 }, () => CEILING))).toThrow(withCode('store-damaged'));
    expect(() => checkCosts([CEILING, CEILING, { ...CEILING, passes: 9 }])).toThrow(
      withCode('store-damaged'),
    );
  });

  it('is calibrated within the limits', async () => {
    const cost = await calibrate();
    expect(cost.memory).toBeGreaterThanOrEqual(64 * 1024);
    expect(cost.memory).toBeLessThanOrEqual(160 * 1024);
    expect(() => checkCost(cost)).not.toThrow();
  }, 30_000);

  it.each([
    ['usual: passes make up the second', 100, { memory: 128, passes: 10 }],
    ['usual, at the least passes', 333, { memory: 128, passes: 3 }],
    ['slow: less memory, three passes', 500, { memory: 85, passes: 3 }],
    ['very slow: the floor, whatever it takes', 5_000, { memory: 64, passes: 3 }],
    ['fast: more memory, sixteen passes', 55, { memory: 145, passes: 16 }],
    ['very fast: no more than that', 1, { memory: 160, passes: 16 }],
  ])('fits a machine that is %s', (_what, perPass, { memory, passes }) => {
    const cost = costFor(perPass);
    expect(cost).toEqual({ memory: memory * 1024, passes, lanes: 4 });
    expect(() => checkCost(cost)).not.toThrow();
  });
});

describe('wrapped keys', () => {
  const [under, key, context] = [randomBytes(32), randomBytes(32), randomBytes(20)];

  it('unwrap only under the same key, purpose and context, unaltered', () => {
    const wrapped = wrapKey(under, 'vm', context, key);
    expect(wrapped).toHaveLength(72);
    expect(hex(unwrapKey(under, 'vm', context, wrapped))).toBe(hex(key));
    const damaged = () => expect.objectContaining({ code: 'store-damaged' }) as Error;
    expect(() => unwrapKey(randomBytes(32), 'vm', context, wrapped)).toThrow(damaged());
    expect(() => unwrapKey(under, 'master', context, wrapped)).toThrow(damaged());
    expect(() => unwrapKey(under, 'vm', randomBytes(20), wrapped)).toThrow(damaged());
    for (let at = 0; at < wrapped.length; at++) {
      const flipped = new Uint8Array(wrapped);
      flipped[at] = (flipped[at] ?? 0) ^ 0x80;
      expect(() => unwrapKey(under, 'vm', context, flipped)).toThrow(damaged());
    }
  });
});

describe('key slots', () => {
  const passphrase = passphraseOf('correct horse battery staple');
  const keyFile: Secret = { kind: 'keyFile', bytes: randomBytes(32) };

  it('any slot opens the same keys', async () => {
    const keyring = Keyring.create(newRepositoryId());
    const slots = [
      await createSlot(keyring, passphrase, 'a', FLOOR),
      await createSlot(keyring, keyFile, 'b'),
    ];
    const vm = newVmId();
    const wrapped = keyring.wrapVmKey(vm, 1, Buffer.alloc(32, 9));
    for (const secret of [passphrase, keyFile]) {
      const { keyring: opened } = await openKeyring(rootBodyOf(keyring, slots), secret);
      expect(hex(opened.catalogKey)).toBe(hex(keyring.catalogKey));
      expect(hex(opened.unwrapVmKey(vm, 1, wrapped))).toBe('09'.repeat(32));
      expect(() => opened.unwrapVmKey(vm, 2, wrapped)).toThrow(withCode('store-damaged'));
      expect(() => opened.unwrapVmKey(newVmId(), 1, wrapped)).toThrow(withCode('store-damaged'));
    }
  });

  it('R35: of a passphrase takes a measured cost, which opens again', async () => {
    const keyring = Keyring.create(newRepositoryId());
    const slot = await createSlot(keyring, passphrase, 'a');
    if (slot.kind !== 'passphrase') throw new Error('a passphrase makes a slot of its kind');
    expect(() => checkCost(slot)).not.toThrow();
    expect(await opensSlot(keyring.repository, slot, passphrase)).toBe(true);
    expect(await opensSlot(keyring.repository, slot, passphraseOf('wrong'))).toBe(false);
  }, 60_000);

  it('R51: a wrong passphrase is told apart from damage', async () => {
    const keyring = Keyring.create(newRepositoryId());
    const slot = await createSlot(keyring, passphrase, 'a', FLOOR);
    await expect(openKeyring(rootBodyOf(keyring, [slot]), passphraseOf('wrong'))).rejects.toThrow(
      withCode('wrong-secret'),
    );
    await expect(openKeyring(rootBodyOf(keyring, [slot]), keyFile)).rejects.toThrow(withCode('wrong-secret'));
    const foreign = Keyring.create(newRepositoryId());
    const swapped = rootBodyOf(keyring, [slot], { publicKey: foreign.publicKey });
    await expect(openKeyring(swapped, passphrase)).rejects.toThrow(withCode('store-damaged'));
  });

  it('R35: one weak slot among good ones is refused before any is run', async () => {
    const keyring = Keyring.create(newRepositoryId());
    const good = await createSlot(keyring, keyFile, 'b');
    const weak = { ...(await createSlot(keyring, passphrase, 'a', FLOOR)), passes: 1 } as KeySlot;
    await expect(openKeyring(rootBodyOf(keyring, [good, weak]), keyFile)).rejects.toThrow(
      withCode('store-damaged'),
    );
  });

  it('R35: refuses in no time and no memory', async () => {
    const keyring = Keyring.create(newRepositoryId());
    const slot = await createSlot(keyring, passphrase, 'a', FLOOR);
    const offers = REFUSED.map(([, cost]) => [slot, { ...slot, ...cost }]);
    offers.push(Array.from({ length: 16 }, () => ({ ...slot, ...CEILING })));
    const [before, started] = [process.resourceUsage().maxRSS, process.cpuUsage()];
    for (const slots of offers)
      await expect(openKeyring(rootBodyOf(keyring, slots), passphrase)).rejects.toThrow(
        withCode('store-damaged'),
      );
    // The first slot of each opens: were it run each time, that alone would take more.
    const { user, system } = process.cpuUsage(started);
    expect((user + system) / 1e6).toBeLessThan(1);
    expect(process.resourceUsage().maxRSS - before).toBeLessThan(32 * 1024);
  });

  it('R10: close() zeroes the keys', () => {
    const keyring = Keyring.create(newRepositoryId());
    const key = keyring.catalogKey;
    const vm = newVmId();
    const wrapped = keyring.wrapVmKey(vm, 1, randomBytes(32));
    const vmKey = keyring.unwrapVmKey(vm, 1, wrapped);
    keyring.close();
    expect(hex(key)).toBe('00'.repeat(32));
    expect(hex(vmKey)).toBe('00'.repeat(32));
    // Work that outlived its run must fail, not seal or sign with zeros.
    expect(() => keyring.catalogKey).toThrow(withCode('internal'));
    expect(() => keyring.unwrapVmKey(vm, 1, wrapped)).toThrow(withCode('internal'));
    expect(() => keyring.sign(key)).toThrow(withCode('internal'));
  });
});

describe('secrets in files', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'qib-keys-'));
  });
  afterEach(() => {
    rmSync(folder, { recursive: true, force: true });
  });
  const write = (name: string, content: string | Uint8Array) => {
    const file = join(folder, name);
    writeFileSync(file, content);
    return file;
  };
  const text = (secret: Secret) => Buffer.from(secret.bytes).toString('utf8');

  it('takes a passphrase without its trailing newline, in NFC', () => {
    expect(text(readPassphraseFile(write('a', 'secret\n')))).toBe('secret');
    expect(text(readPassphraseFile(write('b', 'secret')))).toBe('secret');
    expect(text(readPassphraseFile(write('c', ' secret \n\n')))).toBe(' secret \n');
    expect(text(readPassphraseFile(write('d', 'u\u0308')))).toBe('\u00fc');
  });

  it('refuses what is no passphrase', () => {
    for (const content of ['', '\n', Uint8Array.of(0xff, 0xfe), 'x'.repeat(1025), 'x'.repeat(100_000)]) {
      expect(() => readPassphraseFile(write('p', content))).toThrow(withCode('usage'));
    }
    expect(() => readPassphraseFile(join(folder, 'absent'))).toThrow(withCode('usage'));
    expect(() => readPassphraseFile(folder)).toThrow(withCode('usage'));
  });

  it('creates a key file that only its owner reads, once, and reads it back', () => {
    const file = join(folder, 'key');
    const made = createKeyFile(file);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(hex(readKeyFile(file).bytes)).toBe(hex(made.bytes));
    expect(readFileSync(file, 'utf8')).toMatch(/^qubes-backup-key-1:[0-9a-f]{64}\n$/);
    expect(() => createKeyFile(file)).toThrow(withCode('usage'));
    symlinkSync(join(folder, 'elsewhere'), join(folder, 'link'));
    expect(() => createKeyFile(join(folder, 'link'))).toThrow(withCode('usage'));
  });

  it('refuses a key file of any other form', () => {
    const line = `qubes-backup-key-1:${'a'.repeat(64)}`;
    expect(hex(readKeyFile(write('k', line)).bytes)).toBe('aa'.repeat(32));
    for (const content of ['', 'secret', line.slice(1), `${line}0`, `${line}\n\n`, line.toUpperCase()]) {
      expect(() => readKeyFile(write('k', content))).toThrow(withCode('usage'));
    }
  });
});
