/** qubes.BackupRestore: a snapshot into an empty volume. Runs in a disposable. */

import { restoreVolume } from '../../dvm/restore.ts';
import { restore } from '../../shared/protocol/disposable.ts';
import { serve } from '../../shared/service.ts';

await serve(restore, restoreVolume);
