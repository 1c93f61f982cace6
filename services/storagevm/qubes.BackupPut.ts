import { put } from '../../shared/protocol/storage.ts';
import { serve } from '../../shared/service.ts';
import { servePut } from '../../storagevm/put.ts';
import { openStore } from '../../storagevm/store.ts';

await serve(put, (session) => servePut(session, openStore()));
