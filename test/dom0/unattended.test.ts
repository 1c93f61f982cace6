/** R51: the order of what opens a repository with nobody at the keyboard, and what each says when it cannot. */

import { randomBytes } from 'node:crypto';
import { copyFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { runProgram } from '../../dom0/domains/run-program.ts';
import { KernelKeyring } from '../../dom0/keys/kernel-keyring.ts';
import { Keyring } from '../../dom0/keys/keyring.ts';
import { createKeyFile } from '../../dom0/keys/secret.ts';
import { createSlot, openKeyring, slotKeyOf } from '../../dom0/keys/slots.ts';
import type { SlotKey } from '../../dom0/keys/slots.ts';
import { opensUnattended, unattendedOpener } from '../../dom0/keys/unattended.ts';
import type { UnattendedConfig } from '../../dom0/keys/unattended.ts';
import { hex, utf8 } from '../../shared/bytes.ts';
import { newRepositoryId } from '../../shared/ids.ts';
import type { KeySlot } from '../../shared/root.ts';
import { testNeeding } from '../support/needs.ts';
import { rootBodyOf } from '../support/root-body.ts';
import { makeTemp, removeTree } from '../support/temp.ts';

const refusal = (code: string, text: string) =>
  expect.objectContaining({ code, message: expect.stringContaining(text) as string }) as Error;

const tried = await runProgram(['keyctl', 'session', '-', 'keyctl', 'link', '@u', '@s'], {
  timeout: 10_000,
  maxOutput: 256,
});
const usable = tried.end.kind === 'exited' && tried.end.code === 0;
const onKeyring = testNeeding(usable ? undefined : 'no keyctl, or no keyring of the kernel');

let folder: string;
let notes: string[];
beforeEach(() => {
  folder = makeTemp();
  notes = [];
});
afterEach(async () => {
  vi.unstubAllEnvs();
  if (usable) await new KernelKeyring(folder).remove();
  removeTree(folder);
});

const keyring = Keyring.create(newRepositoryId());

/** A slot of a key file, and the key that this file leads to. */
async function slotAndKey(): Promise<{ slot: KeySlot; key: SlotKey }> {
  const secret = { kind: 'keyFile', bytes: randomBytes(32) } as const;
  const slot = await createSlot(keyring, secret, 'test');
  const bytes = await slotKeyOf(slot, secret);
  if (bytes === undefined) throw new Error('a key file has no key for its own slot');
  return { slot, key: { kind: 'slotKey', salt: slot.salt, bytes } };
}

const open = (unattended: UnattendedConfig, slots: readonly KeySlot[] = []) =>
  unattendedOpener({ stateFolder: folder, unattended }, slots, (text) => notes.push(text));

function newKeyFile(name: string): string {
  const file = join(folder, name);
  createKeyFile(file);
  return file;
}

describe('the key of a slot', () => {
  it('opens the repository as its secret did, and no other slot', async () => {
    const [mine, other] = [await slotAndKey(), await slotAndKey()];
    const { keyring: opened } = await openKeyring(rootBodyOf(keyring, [other.slot, mine.slot]), mine.key);
    expect(hex(opened.catalogKey)).toBe(hex(keyring.catalogKey));
    await expect(openKeyring(rootBodyOf(keyring, [other.slot]), mine.key)).rejects.toThrow(
      refusal('wrong-secret', 'run "qubes-backup unlock" again'),
    );
  });

  it('names where a wrong secret is from', async () => {
    const { slot } = await slotAndKey();
    const wrong = { kind: 'keyFile', bytes: randomBytes(32), source: 'the file on the desk' } as const;
    await expect(openKeyring(rootBodyOf(keyring, [slot]), wrong)).rejects.toThrow(
      refusal('wrong-secret', 'the file on the desk does not open'),
    );
    const paper = { ...wrong, kind: 'paper' } as const;
    await expect(openKeyring(rootBodyOf(keyring, [slot]), paper)).rejects.toThrow(
      refusal('wrong-secret', 'no slot for the file on the desk'),
    );
  });
});

describe('what opens with nobody there', () => {
  it('is nothing where nothing is configured: a person is asked', async () => {
    expect(await open({})).toBeUndefined();
    expect(await opensUnattended({ stateFolder: folder, unattended: {} })).toBe(false);
  });

  it('is a credential of systemd before all else, if it has ours', async () => {
    const keyFile = newKeyFile('configured');
    vi.stubEnv('CREDENTIALS_DIRECTORY', folder);
    const opens = () => opensUnattended({ stateFolder: folder, unattended: {} });
    expect(await open({ keyFile })).toMatchObject({ source: `the configured key file ${keyFile}` });
    expect(await opens()).toBe(false);
    copyFileSync(newKeyFile('other'), join(folder, 'qubes-backup.key'));
    expect(await open({ keyFile })).toMatchObject({
      kind: 'keyFile',
      source: "systemd's credential qubes-backup.key",
    });
    expect(await opens()).toBe(true);
  });

  it('is a key file before a program', async () => {
    const keyFile = newKeyFile('configured');
    const passphraseCommand = ['echo', 'secret'] as const;
    expect(await open({ keyFile, passphraseCommand })).toMatchObject({ kind: 'keyFile' });
    await expect(open({ keyFile: '/nonexistent', passphraseCommand })).rejects.toThrow(
      refusal('usage', '/nonexistent'),
    );
    const ways = [{ keyFile }, { keyFile: '/nonexistent' }, { passphraseCommand }];
    const opens = ways.map((unattended) => opensUnattended({ stateFolder: folder, unattended }));
    expect(await Promise.all(opens)).toEqual([true, false, true]);
  });

  it('is what a program prints, or it is said why not', async () => {
    const printed = await open({ passphraseCommand: ['echo', 'correct horse'] });
    expect(printed).toMatchObject({ kind: 'passphrase', source: 'what echo prints' });
    expect(Buffer.from(printed!.bytes).toString()).toBe('correct horse');
    const script = (text: string): [string, ...string[]] => ['sh', '-c', text];
    for (const [command, why] of [
      [script('echo the safe is shut >&2; exit 7'), 'status 7: the safe is shut'],
      [script('exit 8'), 'ended with status 8'],
      [script('kill -KILL $$'), 'SIGKILL'],
      [['head', '-c', '100000', '/dev/zero'] as const, 'more than a passphrase'],
      [['/nonexistent'] as const, 'cannot be started'],
      [script('printf "\\377"'), 'not UTF-8'],
      [script(':'), 'empty'],
    ] as const)
      await expect(open({ passphraseCommand: command })).rejects.toThrow(refusal('usage', why));
  });
});

describe('the keyring of the kernel', () => {
  onKeyring('gives back what it was given, until it is taken out', async () => {
    const { slot, key } = await slotAndKey();
    const kernel = new KernelKeyring(folder);
    expect(await kernel.get()).toBeUndefined();
    await kernel.put(key, 0);
    await kernel.put(key, 3600);
    expect(await kernel.get()).toEqual({
      ...key,
      salt: Buffer.from(key.salt),
      bytes: Buffer.from(key.bytes),
    });
    expect(await new KernelKeyring(`${folder}/other`).get()).toBeUndefined();
    expect(await opensUnattended({ stateFolder: folder, unattended: {} })).toBe(true);
    expect(await open({ keyFile: '/nonexistent' }, [slot])).toMatchObject({ kind: 'slotKey' });
    expect(await kernel.remove()).toBe(true);
    expect(await kernel.remove()).toBe(false);
    expect(notes).toEqual([]);
  });

  onKeyring('with the key of a slot that is gone says so, and what comes after it opens', async () => {
    const [gone, present] = [await slotAndKey(), await slotAndKey()];
    await new KernelKeyring(folder).put(gone.key, 0);
    const keyFile = newKeyFile('configured');
    expect(await open({ keyFile }, [present.slot])).toMatchObject({ kind: 'keyFile' });
    expect(notes).toEqual([expect.stringContaining('of a slot that is gone')]);
  });

  onKeyring('is not believed if another program put something else there', async () => {
    const script = 'keyctl link @u @s && keyctl padd user "$1" @u';
    await runProgram(['keyctl', 'session', '-', 'sh', '-c', script, 'sh', `qubes-backup:${folder}`], {
      timeout: 10_000,
      maxOutput: 256,
      input: utf8(`qubes-backup-slot-1:${'0'.repeat(95)}`),
    });
    expect(await new KernelKeyring(folder).get()).toBeUndefined();
  });

  onKeyring('that takes no more says why', async () => {
    const salt = randomBytes(16);
    const tooLarge = { kind: 'slotKey', salt, bytes: new Uint8Array(40_000) } as const;
    await expect(new KernelKeyring(folder).put(tooLarge, 0)).rejects.toThrow(
      refusal('io', "the kernel's keyring does not take the key"),
    );
  });
});
