/** Test files that take the longest start first, so that the last one does not run alone while a core is idle. */

import { BaseSequencer } from 'vitest/node';
import type { TestSpecification } from 'vitest/node';

/** More than a minute each, longest first. All others keep the order that vitest gives them. */
const LONGEST = [
  'attack/attack',
  'faults/faults',
  'fidelity/history',
  'e2e/drivers/drivers',
  'e2e/drivers/replace',
  'e2e/kill',
  'terminal/progress',
  'e2e/main-job',
  'e2e/refusals',
  'e2e/keys',
  'storagevm/remote/rclone',
  'e2e/file-copy',
  'storagevm/deletion',
].map((name) => new RegExp(`/test/${name}[^/]*$`));

export class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ moduleId }: TestSpecification) => {
      const at = LONGEST.findIndex((name) => name.test(moduleId));
      return at < 0 ? LONGEST.length : at;
    };
    const sorted = await super.sort(files);
    return sorted.sort((a, b) => rank(a) - rank(b)); // Stable.
  }
}
