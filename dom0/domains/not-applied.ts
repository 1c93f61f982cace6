/** What of a captured configuration a restored VM does not have, and why: for a person, who may set it right. */

import * as z from 'zod';
import { byteString, escapeText, utf8 } from '../../shared/bytes.ts';

export const notAppliedSchema = z.strictObject({
  part: z.enum([
    'label',
    'template',
    'netvm',
    'property',
    'feature',
    'tag',
    'firewall',
    'notes',
    'volume',
    'device',
  ]),
  /** Of the property, feature, tag, volume or device; empty where there is one only. */
  name: z.string(),
  /** What was captured. */
  wanted: z.string(),
  /** What the VM has in its place; null for nothing. */
  used: z.nullable(z.string()),
  why: z.string(),
});
export type NotApplied = Readonly<z.output<typeof notAppliedSchema>>;
export type Part = NotApplied['part'];

/** Tags that let another VM manage this one. */
const CREATED_BY = /^(?:disp-)?created-by-(.+)$/;

/** The VM that a tag of this name lets manage the one that has it. */
export function creatorOf(tag: string): string | undefined {
  return CREATED_BY.exec(tag)?.[1];
}

/** The VM that it refers to; undefined if it refers to none, or is settled once the VM exists (its template). */
export function referredVm({ part, name, wanted }: NotApplied): string | undefined {
  if (part === 'tag') return creatorOf(name);
  return part === 'netvm' || part === 'property' ? wanted : undefined;
}

/** One line of printable ASCII. */
export function describeNotApplied({ part, name, wanted, used, why }: NotApplied): string {
  const subject = name === '' ? part : `${part} ${name}`;
  const instead = used === null ? '' : `, has ${used === '' ? 'none' : used}`;
  return escapeText(
    byteString(utf8(`${subject}: was ${wanted === '' ? 'none' : wanted}${instead} (${why})`)),
  );
}
