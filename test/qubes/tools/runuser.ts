/** The stand-in for runuser, which starts qvm-appmenus alone. */

import { Refusal } from './state.ts';
import type { World } from './state.ts';

export function runuser(_world: World, args: readonly string[]): string {
  const form = /^-u [a-z_][a-z0-9_-]* -- \/usr\/bin\/qvm-appmenus --init --update --source [^ ]+ [^ ]+$/;
  if (!form.test(args.join(' '))) throw new Refusal(2, 'no such call is known');
  return '';
}
