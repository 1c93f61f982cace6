/** qubes.BackupList: all objects as pages of rows, sorted by name. Holds one batch and one page. */

import { idBytes } from '../shared/ids.ts';
import { MAX_LIST_PAGE } from '../shared/limits.ts';
import { LIST_ROW } from '../shared/protocol/storage.ts';
import type { list } from '../shared/protocol/storage.ts';
import { expect } from '../shared/service.ts';
import type { ServiceSession } from '../shared/service.ts';
import type { Store } from './store.ts';

const ROWS = Math.floor(MAX_LIST_PAGE / LIST_ROW);
/** What a row says of a file that is even larger: in any case not an object. */
const MAX_SIZE = 2 ** 32 - 1;

export async function serveList(
  session: ServiceSession<typeof list>,
  store: Pick<Store, 'list'>,
): Promise<void> {
  expect(await session.receive(), 'start');
  let page = Buffer.alloc(ROWS * LIST_ROW);
  let used = 0;
  for await (const batch of store.list()) {
    for (const { id, size } of batch) {
      page.set(idBytes(id), used);
      page.writeUInt32BE(Math.min(size, MAX_SIZE), used + 32);
      used += LIST_ROW;
      if (used < page.length) continue;
      await session.send('page', page);
      page = Buffer.alloc(page.length);
      used = 0;
    }
  }
  if (used > 0) await session.send('page', page.subarray(0, used));
}
