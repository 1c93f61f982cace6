/** qubes.BackupBrowse: lists, finds, and follows through time what snapshots hold. Runs in a disposable. */

import { browseSnapshot } from '../../dvm/browse.ts';
import { browse } from '../../shared/protocol/browse.ts';
import { serve } from '../../shared/service.ts';

await serve(browse, browseSnapshot);
