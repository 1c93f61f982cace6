/**
 * Two projects: `unit` runs in process, `process` starts services or the command line as real children. The
 * second runs after the first, so that its time limits meet an idle machine.
 */

import { defineConfig } from 'vitest/config';
import { LongestFirst } from './test/support/longest-first.ts';
import { memoryFolder } from './test/support/memory.ts';
import { SkipReporter } from './test/support/skip-reporter.ts';

/** With TEST_REPORT=FILE the results are written there as JSON as well; .ci/run adds them up. */
const report = process.env['TEST_REPORT'];

const reporters = ['default', new SkipReporter()];

/** Tests in process: what they store has nothing to do with a disk. */
const memory = memoryFolder();

const PROCESS_TESTS = 'test/**/*.process.test.ts';

export default defineConfig({
  test: {
    pool: 'forks', // Processes of their own: umask, working folder and native libraries stay apart.
    maxWorkers: 2,
    sequence: { sequencer: LongestFirst },
    reporters: report === undefined ? reporters : [...reporters, ['json', { outputFile: report }]],
    coverage: {
      provider: 'istanbul',
      // What seals, signs, checks and speaks with other VMs: a branch of it that no test takes is one that an attacker may.
      include: [
        'shared/**/*.ts',
        'dom0/{seal,keys,repository,session,state,storage}/**/*.ts',
        'dom0/call.ts',
      ],
      // shared/service.ts is what makes a process a service: its descriptors 0 and 1, exit status and death by signal.
      // No test can take it into its own process; test/shared/service.process.test.ts tests it as services are used.
      exclude: ['shared/*.d.ts', 'shared/service.ts'],
      reporter: ['text', 'html'],
      thresholds: {
        branches: 95,
        'shared/*.ts': { branches: 95 },
        'shared/protocol/**': { branches: 95 },
        'shared/wire/**': { branches: 95 },
        'dom0/seal/**': { branches: 95 },
        'dom0/keys/**': { branches: 95 },
        'dom0/repository/**': { branches: 95 },
        'dom0/session/**': { branches: 95 },
        'dom0/state/**': { branches: 95 },
        'dom0/storage/**': { branches: 95 },
        'dom0/call.ts': { branches: 95 },
      },
    },
    projects: [
      {
        test: {
          name: 'unit',
          include: ['test/**/*.test.ts'],
          exclude: [PROCESS_TESTS],
          testTimeout: 20_000,
          hookTimeout: 20_000,
          ...(memory === undefined ? {} : { env: { TEST_TEMP: memory } }),
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
