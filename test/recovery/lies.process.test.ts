/** R36: stores that somebody tampered with, and backups that lied, given to the recovery script. */

import { existsSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { NumberSet } from '../../shared/numbers.ts';
import { rootName } from '../../storagevm/back-end.ts';
import { decodeRoot, encodeRoot } from '../../shared/root.ts';
import type { RootBody } from '../../shared/root.ts';
import { contentDigestCodec } from '../../shared/ids.ts';
import type { ContentDigest } from '../../shared/ids.ts';
import { KIND } from '../../dom0/seal/object.ts';
import { DigestWriter } from '../../dvm/digest.ts';
import { MemoryStore, directory, symlink } from '../dvm/tree-kit.ts';
import { Machine, storeFolder, volumeOf, writerFor } from '../support/repository-bench.ts';
import { tempFolder } from '../support/temp.ts';
import { expectRecovery, secretFile } from './script.ts';
import { getPublicKey, sign } from '../support/noble-ed25519.ts';

const SECRET = `qubes-backup-key-1:${'07'.repeat(32)}\n`;
const TREE = [directory(''), directory('a'), symlink('b', 'a')];
const RIGHT = (() => {
  const writer = new DigestWriter();
  for (const { entry, chunks } of TREE) writer.add(entry, chunks);
  return writer.finish();
})();
const WRONG = contentDigestCodec.decode(new Uint8Array(32).fill(1));

interface Claim {
  readonly digest: ContentDigest | null;
  readonly ownersKnown?: boolean;
}

/** A store with one snapshot of each VM; its volume has the same tree, and `claims` about it. */
async function storeWith(claims: Readonly<Record<string, Claim>>): Promise<string> {
  const folder = storeFolder();
  const machine = new Machine(folder);
  await machine.create();
  for (const [name, { digest, ownersKnown = true }] of Object.entries(claims)) {
    const writer = await writerFor(await machine.open(), name);
    const memory = new MemoryStore();
    await memory.tree(TREE);
    for (const blob of memory.blobs.values()) await (await writer.append(KIND.tree, blob)).durable;
    const top = memory.blobs.size - 1;
    await writer.finishVolume(volumeOf(top, { digest, ownersKnown }), NumberSet.of(memory.blobs.keys()));
    await writer.commit();
  }
  return folder;
}

test('a digest that is another makes a tar of another name, and is said', async () => {
  const { digest, ownerlessDigest } = RIGHT;
  const store = await storeWith({
    right: { digest },
    ownerless: { digest: ownerlessDigest, ownersKnown: false },
    wrong: { digest: WRONG },
    mixed: { digest: ownerlessDigest },
    part: { digest: null },
  });
  const out = join(tempFolder(), 'out');
  const args = ['--store', store, '--key-file', secretFile(SECRET)];
  const { stderr, stdout } = await expectRecovery(1, ...args, '--out', out);
  const tars = readdirSync(out).filter((name) => !name.endsWith('.config'));
  expect(tars.sort()).toEqual([
    'mixed.damaged.tar',
    'ownerless.tar',
    'part.incomplete.tar',
    'right.tar',
    'wrong.damaged.tar',
  ]);
  expect(stdout.match(/proven/g)).toHaveLength(2);
  expect(stderr.match(/IS NOT WHAT WAS BACKED UP/g)).toHaveLength(2);
  expect(stderr).toMatch(/part.incomplete.tar is INCOMPLETE/);
  expect(stderr).toMatch(/3 of 5 VMs have problems/);
});

/** A store whose one root is what `change` makes of the genuine one, signed by a key of somebody else. */
async function storeOfForger(change: Partial<RootBody>): Promise<string> {
  const store = await storeWith({});
  const file = join(store, rootName(1));
  const { body } = decodeRoot(readFileSync(file));
  const seed = new Uint8Array(32).fill(9);
  const forged = { ...body, publicKey: getPublicKey(seed), ...change };
  rmSync(file); // It is read-only.
  writeFileSync(file, encodeRoot(forged, (message) => sign(message, seed)).bytes);
  return store;
}

test('a root by a foreign key opens nothing, though the secret fits', async () => {
  const args = ['--store', await storeOfForger({}), '--key-file', secretFile(SECRET), '--list'];
  expect((await expectRecovery(1, ...args)).stderr).toContain('signed by a foreign key');
});

/** A root that offers these passphrase slots is refused before any of them is run. */
async function expectRefused(...costs: { memory: number; passes: number; lanes: number }[]): Promise<void> {
  const slot = { label: 'passphrase', salt: new Uint8Array(16), wrapped: new Uint8Array(72) };
  const slots = costs.map((cost) => ({ ...slot, kind: 'passphrase' as const, ...cost }));
  const out = join(tempFolder(), 'out');
  const args = ['--store', await storeOfForger({ slots }), '--passphrase-file', secretFile('passphrase')];
  const { stderr, stdout } = await expectRecovery(1, ...args, '--out', out);
  expect(stderr).toContain('it was not run');
  expect(stdout).not.toContain('trying slot');
  expect(existsSync(out)).toBe(false);
}

test.each([
  { memory: 65_535, passes: 3, lanes: 4 },
  { memory: 1_048_577, passes: 3, lanes: 4 },
  { memory: 2 ** 40, passes: 3, lanes: 4 },
  { memory: 131_072, passes: 2, lanes: 4 },
  { memory: 131_072, passes: 17, lanes: 4 },
  { memory: 131_072, passes: 3, lanes: 9 },
])('key derivation of $memory KiB, $passes passes, $lanes lanes is refused unrun', (cost) =>
  expectRefused(cost),
);

test('slots that would take too long together are refused unrun', () =>
  expectRefused(...Array.from({ length: 3 }, () => ({ memory: 1_048_576, passes: 16, lanes: 1 }))));
