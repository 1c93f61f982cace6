/** Tests of the lab, two files at a time: a guest that works takes one processor. */

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
    maxWorkers: 2,
    testTimeout: 15 * 60_000,
    hookTimeout: 5 * 60_000,
    reporters: report === undefined ? reporters : [...reporters, ['json', { outputFile: report }]],
  },
});
