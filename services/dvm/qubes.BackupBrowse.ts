/** qubes.BackupBrowse: lists entries of a snapshot. Runs in a disposable. */

import { browseSnapshot } from '../../dvm/browse.ts';
import { browse } from '../../shared/protocol/disposable.ts';
import { serve } from '../../shared/service.ts';

await serve(browse, browseSnapshot);
