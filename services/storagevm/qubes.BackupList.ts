import { list } from '../../shared/protocol/storage.ts';
import { serve } from '../../shared/service.ts';
import { serveList } from '../../storagevm/list.ts';
import { openStore } from '../../storagevm/config.ts';

await serve(list, (session) => serveList(session, openStore()));
