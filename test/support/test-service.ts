/** A service for the tests of the harness; the argument of the call tells what it does. */

import * as z from 'zod';
import { BackupError } from '../../shared/errors.ts';
import { serve } from '../../shared/service.ts';
import { bulk, control } from '../../shared/wire/frame.ts';
import type { Protocol } from '../../shared/wire/frame.ts';

const MiB = 1024 * 1024;

export const testProtocol = {
  service: 'qubes.BackupTest',
  toService: { data: bulk(0x80, MiB) },
  toCaller: {
    data: bulk(0x80, MiB),
    who: control(0x10, z.strictObject({ caller: z.string(), argument: z.string() })),
  },
} as const satisfies Protocol;

/** Pieces of 1 MiB that `flood` sends. */
export const FLOOD_PIECES = 50;

if (import.meta.main) {
  await serve(testProtocol, async (session, { caller, argument }) => {
    switch (argument) {
      case 'who':
        await session.send('who', { caller, argument });
        return;
      case 'echo':
        for (let message = await session.receive(); message; message = await session.receive()) {
          await session.send('data', message.value);
        }
        return;
      case 'flood':
        for (let i = 0; i < FLOOD_PIECES; i++) await session.send('data', Buffer.alloc(MiB, i));
        return;
      case 'both': {
        const writing = (async () => {
          for (let i = 0; i < FLOOD_PIECES; i++) await session.send('data', Buffer.alloc(MiB, i));
        })();
        for (let i = 0; i < FLOOD_PIECES; i++) await session.receive();
        await writing;
        return;
      }
      case 'import': // As a package may at any time: it evaluates the streams of the process.
        await import('node:process');
        await session.send('data', (await session.receive())?.value ?? new Uint8Array());
        return;
      case 'refuse':
        throw new BackupError('store-full', 'no room for \x1b[2J more');
      case 'crash':
        setImmediate(() => {
          throw new Error('a bug outside of the handler');
        });
        await session.receive();
        return;
      case 'reject':
        void Promise.reject(new Error('a bug in a promise that nobody waits for'));
        await session.receive();
        return;
      default:
        await session.receive();
    }
  });
}
