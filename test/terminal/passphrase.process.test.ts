/** A command as a person sees it, on a terminal: the passphrase that it asks for. */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import { Home } from '../support/home.ts';
import { testNeeding } from '../support/needs.ts';
import { NO_TMUX, TmuxTerminal } from '../support/tmux.ts';

const onTmux = testNeeding(NO_TMUX);

onTmux('a passphrase is asked for, and is never on the screen', async () => {
  const home = new Home();
  const secret = 'correct horse battery staple';
  writeFileSync(join(home.folder, 'passphrase'), secret);
  await home.runWith(['--passphrase-file', join(home.folder, 'passphrase')], 'init');
  const terminal = await TmuxTerminal.run(home, ['list']);
  await terminal.see('Passphrase: ');
  await terminal.type(secret);
  await terminal.press('Enter');
  await terminal.see('No snapshots yet');
  expect(await terminal.ended()).toBe(0);
  const all = await terminal.screen(true);
  expect(all).toMatch(/^Passphrase: *$/m);
  for (const word of secret.split(' ')) expect(all).not.toContain(word);
});
