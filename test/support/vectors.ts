/** Reads the vectors that an independent implementation can use as well (test/vectors/, named in docs/format.md). */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type * as z from 'zod';
import { PROJECT } from './processes.ts';

/** Unknown keys fail: a vector that no test looks at proves nothing. */
export function readVectors<S extends z.ZodType>(name: string, schema: S): z.output<S> {
  return schema.parse(JSON.parse(readFileSync(join(PROJECT, 'test', 'vectors', `${name}.json`), 'utf8')));
}
