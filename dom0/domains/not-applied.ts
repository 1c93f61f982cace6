/** What of a captured configuration a restored VM does not have, and why: for a person, who may set it right. */

import { byteString, escapeText, utf8 } from '../../shared/bytes.ts';

export type Part =
  | 'label'
  | 'template'
  | 'netvm'
  | 'property'
  | 'feature'
  | 'tag'
  | 'firewall'
  | 'notes'
  | 'volume'
  | 'device';

export interface NotApplied {
  readonly part: Part;
  /** Of the property, feature, tag, volume or device; empty where there is one only. */
  readonly name: string;
  /** What was captured. */
  readonly wanted: string;
  /** What the VM has in its place; null for nothing. */
  readonly used: string | null;
  readonly why: string;
}

/** One line of printable ASCII. */
export function describeNotApplied({ part, name, wanted, used, why }: NotApplied): string {
  const subject = name === '' ? part : `${part} ${name}`;
  const instead = used === null ? '' : `, has ${used === '' ? 'none' : used}`;
  return escapeText(
    byteString(utf8(`${subject}: was ${wanted === '' ? 'none' : wanted}${instead} (${why})`)),
  );
}
