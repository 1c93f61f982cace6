/** The command lines of stand-ins: exactly those options that the driver has reason to use, everything else is refused. */

import { Refusal } from './state.ts';

export interface Parsed {
  readonly flags: ReadonlySet<string>;
  /** Options with a value, each as often as it was given. */
  readonly values: ReadonlyMap<string, readonly string[]>;
  readonly rest: readonly string[];
}

/** `flags` and `values` are the options known, as they are written. */
export function parse(
  tool: string,
  args: readonly string[],
  known: { readonly flags?: readonly string[]; readonly values?: readonly string[] },
): Parsed {
  const flags = new Set<string>();
  const values = new Map<string, string[]>();
  const rest: string[] = [];
  for (let i = 0; i < args.length; i++) {
    const arg = args[i] ?? '';
    if (arg === '--') {
      rest.push(...args.slice(i + 1));
      break;
    }
    if (known.flags?.includes(arg) === true) flags.add(arg);
    else if (known.values?.includes(arg) === true) {
      const value = args[++i];
      if (value === undefined) throw new Refusal(2, `${tool}: ${arg} needs an argument`);
      values.set(arg, [...(values.get(arg) ?? []), value]);
    } else if (arg.startsWith('-')) throw new Refusal(2, `${tool}: unrecognized option '${arg}'`);
    else rest.push(arg);
  }
  return { flags, values, rest };
}

export function one(parsed: Parsed, option: string): string | undefined {
  return parsed.values.get(option)?.at(-1);
}
