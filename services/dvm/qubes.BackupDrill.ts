/** qubes.BackupDrill: runs a test command of dom0's owner on a restored volume. Runs in a disposable. */

import { drillVolume } from '../../dvm/drill.ts';
import { drill } from '../../shared/protocol/disposable.ts';
import { serve } from '../../shared/service.ts';

await serve(drill, drillVolume);
