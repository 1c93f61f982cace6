/** Tests of the lab, one at a time: a guest takes a processor. */

import { join } from 'node:path';
import { defineConfig } from 'vitest/config';
import { SkipReporter } from '../support/skip-reporter.ts';

const report = process.env['TEST_REPORT'];
const reporters = ['default', new SkipReporter()];

export default defineConfig({
  test: {
    root: join(import.meta.dirname, '..', '..'),
    include: ['test/lab/**/*.lab.ts'],
    pool: 'forks',
    maxWorkers: 1,
    fileParallelism: false,
    testTimeout: 15 * 60_000,
    hookTimeout: 5 * 60_000,
    reporters: report === undefined ? reporters : [...reporters, ['json', { outputFile: report }]],
  },
});
