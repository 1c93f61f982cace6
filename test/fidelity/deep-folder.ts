/** Edits of entries whose paths are longer than the kernel takes in one piece: the shell goes there step by step. */

import { spawnSync } from 'node:child_process';
import { DEEP_FOLDER } from '../support/checker.ts';
import type { Random } from '../support/random.ts';

const LEVELS = 20;
const NAME = 'd'.repeat(250);

/** One edit below DEEP_FOLDER of the volume `root`, which is made if it is missing; answers what it was. */
export function editDeepFolder(root: Buffer, random: Random): string {
  const level = 17 + random.below(LEVELS - 17);
  const words = random.pick([
    `echo ${random.below(10 ** 9)} > file${random.below(3)}`,
    `echo more >> file${random.below(3)}`,
    `rm -rf sub; mkdir sub; echo ${random.below(100)} > sub/inner`,
    `ln -sf nowhere-${random.below(100)} link`,
    `touch -d @${random.below(2 ** 31)}.000000001 .`,
    `rm -f moved; if [ -e file0 ]; then mv file0 moved; fi`,
  ]);
  const script = [
    `mkdir -p ${DEEP_FOLDER} && cd -P ${DEEP_FOLDER}`,
    `for i in $(seq ${level}); do mkdir -p ${NAME} && cd -P ${NAME}; done`,
    words,
  ].join('\n');
  const ended = spawnSync('sh', ['-e'], { cwd: root.toString(), input: script, encoding: 'utf8' });
  if (ended.status !== 0) throw new Error(`editing the deep folder failed: ${ended.stderr}`);
  return `${level * 251} bytes deep: ${words}`;
}
