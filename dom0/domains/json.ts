/** JSON of configurations: one form for equal values, and schemas with messages a person can act on. */

import type * as z from 'zod';

/** JSON with sorted keys and a final newline: equal values are equal bytes. */
export function canonicalJson(value: unknown): string {
  const sorted = (_key: string, item: unknown): unknown =>
    typeof item === 'object' && item !== null && !Array.isArray(item)
      ? Object.fromEntries(Object.entries(item).sort(([a], [b]) => (a < b ? -1 : 1)))
      : item;
  return `${JSON.stringify(value, sorted, 1)}\n`;
}

/** Undefined for what is no JSON: every schema refuses it. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

/** The first faults that a schema found. */
export function issues(error: z.ZodError): string {
  return error.issues
    .slice(0, 3)
    .map((issue) => `${issue.path.join('.') || 'file'}: ${issue.message}`)
    .join('; ');
}
