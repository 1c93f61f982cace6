/** How much room is left, and whether that is enough. */

import { formatBytes } from '../../shared/format.ts';
import { fail, ok, warn } from '../domains/finding.ts';
import type { Finding } from '../domains/finding.ts';

/** Shares of the whole below which a person should know, and below which things fail. */
const LOW = 0.15;
const OUT = 0.03;

/** Of `size` bytes `free` are left; `advice` begins with a verb. */
export function spaceFinding(about: string, size: number, free: number, advice: string): Finding {
  const text = `${formatBytes(free)} of ${formatBytes(size)} free`;
  if (size <= 0 || free < size * OUT) return fail(about, `${text}: ${advice}`);
  return free < size * LOW ? warn(about, `${text}: ${advice}`) : ok(about, text);
}
