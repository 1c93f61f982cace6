/** qubes.BackupRequest: a VM asks for its own backup, the list of its snapshots, or files of its own. Runs in dom0. */

import { answerRequest } from '../../dom0/request/serve.ts';

await answerRequest();
