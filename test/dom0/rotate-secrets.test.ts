/** R10: the secrets of a rotation, presented, copied or typed, are zeroed however it ends. */

import { expect, it, vi } from 'vitest';
import type { App } from '../../dom0/app.ts';
import { init } from '../../dom0/commands/init.ts';
import { keyRotate } from '../../dom0/commands/rotate.ts';
import type { Secret } from '../../dom0/keys/secret.ts';
import { paperWords } from '../../dom0/words.ts';
import { Home } from '../support/home.ts';
import { InProcessDomains } from '../support/in-process-domains.ts';
import { runOver } from '../support/in-process.ts';

/** Every secret that came to be, and what the person at the terminal says to the end of a slot. */
const seen = vi.hoisted(() => ({ secrets: [] as Secret[], typed: '', consent: '' }));

vi.mock(import('../../dom0/keys/secret.ts'), async (importOriginal) => {
  const original = await importOriginal();
  const watched =
    <A extends unknown[]>(make: (...given: A) => Secret) =>
    (...given: A) => {
      const secret = make(...given);
      seen.secrets.push(secret);
      return secret;
    };
  return { ...original, copySecret: watched(original.copySecret), paperOf: watched(original.paperOf) };
});

vi.mock(import('../../dom0/prompt.ts'), async (importOriginal) => ({
  ...(await importOriginal()),
  hasTerminal: () => true,
  askSecret: () => Promise.resolve(seen.typed),
  ask: (question) => Promise.resolve(question.includes('Type "yes"') ? seen.consent : ''),
}));

const filled = (kind: Secret['kind'], byte: number): Secret => ({
  kind,
  bytes: new Uint8Array(32).fill(byte),
});

/** Rotates the keys of a repository of three slots: a presented key file, a typed paper key, and one that nobody has. */
async function rotate(consent: string, prepare: (app: App) => void = () => undefined): Promise<void> {
  const home = new Home();
  const domains = new InProcessDomains(home.folder);
  const all = () => [filled('keyFile', 1), filled('paper', 2), filled('keyFile', 3)];
  await runOver(domains, home, (app) => init(app, () => Promise.resolve(all())));
  const presented = filled('keyFile', 1);
  Object.assign(seen, {
    secrets: [presented],
    typed: paperWords(filled('paper', 2).bytes).join(' '),
    consent,
  });
  const command = (app: App) => {
    prepare(app);
    return keyRotate(app, false);
  };
  await runOver(domains, home, command, () => [presented]).finally(() => {
    expect(seen.secrets.map(({ kind }) => kind)).toEqual(['keyFile', 'keyFile', 'paper']);
    for (const { bytes } of seen.secrets) expect(bytes).toEqual(new Uint8Array(32));
  });
}

it('R10: after it is done', () => rotate('yes'));

it('R10: after the question was answered with anything but yes', async () => {
  await expect(rotate('no')).rejects.toMatchObject({ code: 'usage', message: 'nothing was changed' });
});

it('R10: after the storage VM failed', async () => {
  const failing = (app: App) => {
    app.storage.setRoot = () => Promise.reject(new Error('the power went'));
  };
  await expect(rotate('yes', failing)).rejects.toThrow('the power went');
});
