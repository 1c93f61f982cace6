/** A service that writes 4 MiB to stderr before its answer, and ends with the status that its argument says. */

import { writeSync } from 'node:fs';

const line = Buffer.from(`\u0007\u001b[31mnoise ${'x'.repeat(1000)}\n`);
for (let written = 0; written < 4 * 1024 * 1024; written += line.length) writeSync(2, line);
writeSync(1, 'answer');
process.exitCode = Number(process.argv[2] ?? '0');
