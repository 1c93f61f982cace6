/** Names that Qubes allows. Source: validate_name() of qubes/vm/__init__.py. */

import { valueError } from './qubesd-exception.ts';

export function checkName(name: string): void {
  if (name.length > 31) throw valueError('VM name must be shorter than 32 characters');
  if (/^[0-9_.-]/.test(name))
    throw valueError('VM name cannot start with hyphen, underscore, dot or numbers');
  if (!/^[A-Za-z][A-Za-z0-9_.-]*$/.test(name)) throw valueError('VM name contains illegal characters');
  if (name === 'Domain-0') throw valueError("VM name cannot be 'Domain-0'");
  if (name === 'none' || name === 'default') throw valueError("VM name cannot be 'none' nor 'default'");
  if (name.endsWith('-dm')) throw valueError('VM name cannot end with -dm');
}
