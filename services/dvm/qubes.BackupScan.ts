/** qubes.BackupScan: a volume's delta against its newest snapshot. Runs in a disposable. */

import { scanVolume } from '../../dvm/scan.ts';
import { scan } from '../../shared/protocol/disposable.ts';
import { serve } from '../../shared/service.ts';

await serve(scan, scanVolume);
