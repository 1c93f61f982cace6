import { get } from '../../shared/protocol/storage.ts';
import { serve } from '../../shared/service.ts';
import { serveGet } from '../../storagevm/get.ts';
import { openStore } from '../../storagevm/config.ts';

await serve(get, (session) => serveGet(session, openStore()));
