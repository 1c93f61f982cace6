/** R52: a paper key, made, copied and held against slots. */

import { expect, it } from 'vitest';
import { Keyring } from '../../dom0/keys/keyring.ts';
import { copySecret, createPaper } from '../../dom0/keys/secret.ts';
import { createSlot, opensSlot } from '../../dom0/keys/slots.ts';
import { newRepositoryId } from '../../shared/ids.ts';

it('R52: a slot is opened by the paper key that it was made for, by no other, and by no copy that was zeroed', async () => {
  const keyring = Keyring.create(newRepositoryId());
  const paper = createPaper();
  const zeroed = copySecret(paper);
  const slot = await createSlot(keyring, copySecret(paper), 'paper');
  zeroed.bytes.fill(0);
  expect(await opensSlot(keyring.repository, slot, paper)).toBe(true);
  expect(await opensSlot(keyring.repository, slot, zeroed)).toBe(false);
  expect(await opensSlot(keyring.repository, slot, createPaper())).toBe(false);
  expect(await opensSlot(newRepositoryId(), slot, paper)).toBe(false);
});
