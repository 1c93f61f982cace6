/** qubes.BackupStart: a VM that the policy lets do so starts a backup of one VM, or of all. Runs in dom0. */

import { answerStart } from '../../dom0/request/serve.ts';

await answerStart();
