/** What tests of the lab need of the machine; main.ts looks after the rest. */

import { namespaces, program, testNeeding } from '../support/needs.ts';
import type { Missing } from '../support/needs.ts';

/** The image that main.ts made, or why it could not. */
export const IMAGE = 'QIB_LAB_IMAGE';
export const NO_IMAGE = 'QIB_LAB_NO_IMAGE';

/** Why no guest can be booted here. */
export function missing(): Missing {
  const tools = ['qemu-system-x86_64', 'mke2fs', 'dpkg-deb', 'apt-get'].map(program);
  return tools.find((reason) => reason !== undefined) ?? namespaces();
}

function noImage(): Missing {
  if (process.env[IMAGE] !== undefined) return undefined;
  return process.env[NO_IMAGE] ?? 'there is no image of a guest: start the lab by npm run lab';
}

export function imageFolder(): string {
  return process.env[IMAGE] ?? '';
}

/** `test`, for what boots guests. `others`: needs beside that. */
export function labTest(...others: Missing[]): ReturnType<typeof testNeeding> {
  return testNeeding(missing() ?? noImage(), ...others);
}
