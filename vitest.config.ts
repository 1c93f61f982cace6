/**
 * Two projects: `unit` runs in process, `process` starts services or the command line as real children. The
 * second runs after the first, so that its time limits meet an idle machine.
 */

import { defineConfig } from 'vitest/config';
import { SkipReporter } from './test/support/skip-reporter.ts';

/** With TEST_REPORT=FILE the results are written there as JSON as well; .ci/run adds them up. */
const report = process.env['TEST_REPORT'];

const reporters = ['default', new SkipReporter()];

const PROCESS_TESTS = 'test/**/*.process.test.ts';

export default defineConfig({
  test: {
    pool: 'forks', // Processes of their own: umask, working folder and native libraries stay apart.
    maxWorkers: 2,
    reporters: report === undefined ? reporters : [...reporters, ['json', { outputFile: report }]],
    coverage: {
      provider: 'v8',
      include: ['{shared,dom0,dvm,storagevm}/**/*.ts'],
      reporter: ['text-summary', 'html'],
    },
    projects: [
      {
        test: {
          name: 'unit',
          include: ['test/**/*.test.ts'],
          exclude: [PROCESS_TESTS],
          testTimeout: 20_000,
          hookTimeout: 20_000,
          sequence: { groupOrder: 0 },
        },
      },
      {
        test: {
          name: 'process',
          include: [PROCESS_TESTS],
          testTimeout: 120_000,
          hookTimeout: 60_000,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});
