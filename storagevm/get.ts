/**
 * qubes.BackupGet: names in, objects out, in the order asked, a few reads ahead. One object that cannot be
 * delivered is `missing`, with a note on stderr, and ends nothing: the rest of the store is still good. Bytes
 * are delivered as they are; dom0 checks their hash.
 */

import { isBackupError } from '../shared/errors.ts';
import type { ObjectId } from '../shared/ids.ts';
import type { get } from '../shared/protocol/storage.ts';
import type { ServiceSession } from '../shared/service.ts';
import type { Store } from './store.ts';
import { note } from './note.ts';

/** Objects read ahead of the one being sent: bounds memory to so many times MAX_OBJECT. */
const READ_AHEAD = 4;

/** Sends one answer. */
type Answer = () => Promise<void>;

export async function serveGet(
  session: ServiceSession<typeof get>,
  store: Pick<Store, 'read' | 'currentRoot'>,
): Promise<void> {
  const ahead: Promise<Answer>[] = [];
  const sendUntil = async (left: number) => {
    while (ahead.length > left) {
      const answer = await ahead.shift();
      await answer?.();
    }
  };
  const start = async (reading: Promise<Answer>) => {
    reading.catch(() => undefined); // A failure is thrown by sendUntil(), in its turn.
    ahead.push(reading);
    await sendUntil(READ_AHEAD - 1);
  };
  for (;;) {
    while (ahead.length > 0 && !session.pending) await sendUntil(ahead.length - 1);
    const message = await session.receive();
    if (message === undefined) break;
    if (message.name === 'wantRoot') await start(rootAnswer(session, store));
    else for (const id of message.value.ids) await start(objectAnswer(session, store, id));
  }
  await sendUntil(0);
}

async function objectAnswer(
  session: ServiceSession<typeof get>,
  store: Pick<Store, 'read' | 'currentRoot'>,
  id: ObjectId,
): Promise<Answer> {
  const bytes = await store.read(id).catch((error: unknown) => {
    if (!isBackupError(error, 'io')) throw error;
    note(error);
    return undefined;
  });
  return () => (bytes === undefined ? session.send('missing', { id }) : session.send('object', bytes));
}

async function rootAnswer(
  session: ServiceSession<typeof get>,
  store: Pick<Store, 'read' | 'currentRoot'>,
): Promise<Answer> {
  const root = await store.currentRoot();
  return () => (root === undefined ? session.send('noRoot', {}) : session.send('root', root));
}
