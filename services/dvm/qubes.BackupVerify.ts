/** qubes.BackupVerify: a volume's content digest, from nothing but the volume. Runs in a disposable. */

import { verifyVolume } from '../../dvm/verify.ts';
import { verify } from '../../shared/protocol/disposable.ts';
import { serve } from '../../shared/service.ts';

await serve(verify, verifyVolume);
