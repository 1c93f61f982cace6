/** `unlock` and `lock`: what opens the repository waits in the kernel's keyring, for runs with nobody at the keyboard (R51). */

import { BackupError } from '../../shared/errors.ts';
import type { App } from '../app.ts';
import { KernelKeyring } from '../keys/kernel-keyring.ts';
import { copySecret } from '../keys/secret.ts';
import { slotKeyOf, slotName } from '../keys/slots.ts';

/** Proves the secret on the repository and keeps the key of its slot for so many seconds, 0 until the machine is shut down. */
export async function unlock(app: App, seconds: number): Promise<void> {
  app.defer(() => app.storage.abort());
  const secret = await app.firstSecret();
  app.deferWipe([secret]);
  const { slot } = await app.openWithSlot(() => Promise.resolve(copySecret(secret)));
  await app.closeStorage();
  const bytes = await slotKeyOf(slot, secret);
  if (bytes === undefined) throw new BackupError('internal', 'the secret is not of the slot that it opened');
  try {
    await new KernelKeyring(app.config.stateFolder).put({ kind: 'slotKey', salt: slot.salt, bytes }, seconds);
  } finally {
    bytes.fill(0);
  }
  const until = seconds === 0 ? 'until this machine is shut down' : `for ${seconds / 3600} h`;
  app.output.line(`Unlocked by ${slotName(slot)}, ${until} or "qubes-backup lock".`);
  app.output.event('unlocked', { kind: slot.kind, label: slot.label, seconds });
}

export async function lock(app: App): Promise<void> {
  const wasUnlocked = await new KernelKeyring(app.config.stateFolder).remove();
  app.output.line(wasUnlocked ? 'Locked.' : 'It was not unlocked.');
  app.output.event('locked', { wasUnlocked });
}
