/** qubes.BackupExport: chosen paths of a snapshot into a folder or a tar stream. Runs in a disposable. */

import { exportSnapshot } from '../../dvm/export.ts';
import { exportPaths } from '../../shared/protocol/disposable.ts';
import { serve } from '../../shared/service.ts';

await serve(exportPaths, exportSnapshot);
