import { put } from '../../shared/protocol/storage.ts';
import { serve } from '../../shared/service.ts';
import { servePut } from '../../storagevm/put.ts';
import { openStore } from '../../storagevm/config.ts';

await serve(put, (session) => servePut(session, openStore()));
