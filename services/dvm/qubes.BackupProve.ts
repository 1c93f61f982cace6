/** qubes.BackupProve: the content digest of a stored volume, from its blobs alone. Runs in a disposable. */

import { proveVolume } from '../../dvm/prove.ts';
import { prove } from '../../shared/protocol/disposable.ts';
import { serve } from '../../shared/service.ts';

await serve(prove, proveVolume);
