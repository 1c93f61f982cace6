import { setRoot } from '../../shared/protocol/storage.ts';
import { serve } from '../../shared/service.ts';
import { serveSetRoot } from '../../storagevm/set-root.ts';
import { openStore } from '../../storagevm/config.ts';

await serve(setRoot, (session) => serveSetRoot(session, openStore()));
