/**
 * Has a running VM write out what it holds in memory, before its volume is frozen (R24). An offer, not a condition: without it the
 * snapshot is what a power cut would leave, and what the VM had fsynced is in that too.
 */

import { BackupError, messageOf } from '../../../shared/errors.ts';
import type { VmName } from '../../../shared/ids.ts';
import { within } from '../../timeout.ts';
import type { ServiceCall } from '../domains.ts';
import type { Admin } from './admin/admin.ts';
import type { QubesCalls } from './service-call.ts';

const SERVICE = 'qubes.BackupSync';
/** Milliseconds: a VM that writes to a slow disk may take as long as it likes, but not the backup's time. */
const PATIENCE = 30_000;
/** Seconds: the VM runs, so its agent answers at once or not at all. */
const CONNECT_TIMEOUT = 5;
const NO_SUCH_SERVICE = 127;

/** Has to say nothing; whatever it says must not keep it. */
async function discard(call: ServiceCall): Promise<void> {
  const buffer = Buffer.alloc(64 * 1024);
  try {
    while ((await call.io.read(buffer)) > 0);
  } catch {
    // It was killed, or is gone: its status tells.
  }
}

/** Answers why it was not done, as a note to a person; undefined if it was, or the VM does not run or has no such service. */
export async function syncVm(
  admin: Admin,
  calls: QubesCalls,
  vm: VmName,
  patience = PATIENCE,
): Promise<string | undefined> {
  if ((await admin.state(vm)) !== 'Running') return undefined;
  const [tags, klass] = await Promise.all([admin.tags(vm), admin.property(vm, 'klass')]);
  const what = { service: SERVICE, argument: '', target: vm, vm: { klass: klass.value, tags } };
  try {
    const call = await calls.call(what, { connectTimeout: CONNECT_TIMEOUT });
    call.hangUp();
    void discard(call);
    try {
      const late = () => new BackupError('timeout', `it took more than ${patience / 1000} s`);
      const { code } = await within(patience, call.exited, late);
      if (code === 0 || code === NO_SUCH_SERVICE) return undefined;
      return `VM ${vm}: ${SERVICE} ended with ${String(code)} (${call.stderr()}): its snapshot is taken as it is`;
    } finally {
      call.kill();
    }
  } catch (error) {
    return `VM ${vm}: ${SERVICE} was not done (${messageOf(error)}): its snapshot is taken as it is`;
  }
}
