/** qubes.BackupCompare: how a snapshot differs from another, or from a volume. Runs in a disposable. */

import { compareSnapshot } from '../../dvm/compare.ts';
import { compare } from '../../shared/protocol/browse.ts';
import { serve } from '../../shared/service.ts';

await serve(compare, compareSnapshot);
