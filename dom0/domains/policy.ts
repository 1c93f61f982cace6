/**
 * Evaluation of qrexec policy: the first rule that matches decides, no match is deny. Calls from dom0 are not
 * policy-checked by Qubes OS; we obey the policy all the same, so that its owner can forbid us a VM.
 */

import { BackupError } from '../../shared/errors.ts';
import type { Rule, Token } from './policy-parser.ts';

/** What policy may ask about a VM. */
export interface PolicyVm {
  readonly klass: string;
  readonly tags: readonly string[];
  readonly templateForDisposables?: boolean;
  /** The DVM template of `@dispvm` for calls from this VM. */
  readonly defaultDisposable?: string;
}

/** The machine's VMs by name; dom0 is not among them. */
export type PolicySystem = (name: string) => PolicyVm | undefined;

export interface PolicyRequest {
  readonly service: string;
  /** Without the `+`; empty for none. */
  readonly argument: string;
  /** A VM's name or `dom0`. */
  readonly source: string;
  /** A VM's name, `dom0` (or `@adminvm`), `@default`, `@dispvm` or `@dispvm:NAME`. */
  readonly target: string;
}

/** An allowed call: where it goes, and as which user if the policy names one. */
export interface Permission {
  readonly target: string;
  readonly user: string | undefined;
  /** `file:line` of the rule that allowed it. */
  readonly where: string;
}

/**
 * Throws `policy-denied` with the rule's place unless the policy allows the call. `ask` counts as deny: a backup
 * runs unattended, there is nobody to ask.
 */
export function evaluatePolicy(
  rules: readonly Rule[],
  request: PolicyRequest,
  system: PolicySystem,
): Permission {
  const call = {
    ...request,
    source: canonical(request.source),
    target: verified(canonical(request.target), request, system),
  };
  const rule = rules.find((candidate) => ruleMatches(candidate, call, system));
  if (rule === undefined) throw denied(request, 'no rule matches');
  if (rule.action.kind === 'deny') throw denied(request, `denied by ${rule.where}`);
  if (rule.action.kind === 'ask')
    throw denied(request, `${rule.where} says "ask", and there is nobody to ask`);
  const redirected = rule.action.target === undefined ? call.target : textOf(rule.action.target);
  const target = resolveDisposable(verified(redirected, request, system), call, system);
  if (target === undefined) throw denied(request, `allowed by ${rule.where}, but that leads to no VM`);
  return { target, user: rule.action.user, where: rule.where };
}

function ruleMatches(rule: Rule, call: PolicyRequest, system: PolicySystem): boolean {
  return (
    (rule.service === undefined || rule.service === call.service) &&
    (rule.argument === undefined || rule.argument === `+${call.argument}`) &&
    matches(rule.source, call.source, call.source, system) &&
    matches(rule.target, call.target, call.source, system)
  );
}

/** `value` is a VM's name or a keyword with `@`; `source` decides what `@dispvm` means. */
function matches(token: Token, value: string, source: string, system: PolicySystem): boolean {
  switch (token.kind) {
    case 'wildcard':
      return true;
    case 'anyvm':
      return value !== '@adminvm';
    case 'type':
      return value === '@adminvm' ? token.value === 'AdminVM' : system(value)?.klass === token.value;
    case 'tag':
      return system(value)?.tags.includes(token.value) ?? false;
    case 'dispvm-name':
      return disposableTemplate(value, source, system) === token.value;
    case 'dispvm-tag': {
      const template = system(disposableTemplate(value, source, system) ?? '');
      return template?.templateForDisposables === true && template.tags.includes(token.value);
    }
    default:
      return value === textOf(token);
  }
}

/** The DVM template that `@dispvm` or `@dispvm:NAME` stands for in a call from `source`. */
function disposableTemplate(value: string, source: string, system: PolicySystem): string | undefined {
  if (value === '@dispvm') return system(source)?.defaultDisposable;
  return value.startsWith('@dispvm:') ? value.slice('@dispvm:'.length) : undefined;
}

/** Where an allowed call goes; undefined for `@default` and for `@dispvm` without a template. */
function resolveDisposable(target: string, call: PolicyRequest, system: PolicySystem): string | undefined {
  if (target === '@default') return undefined;
  if (target !== '@dispvm') return target;
  const template = disposableTemplate(target, call.source, system);
  return template === undefined ? undefined : `@dispvm:${template}`;
}

/** `target`, if there is such a VM or keyword. */
function verified(target: string, request: PolicyRequest, system: PolicySystem): string {
  if (target === '@adminvm' || target === '@default' || target === '@dispvm') return target;
  if (target.startsWith('@dispvm:')) {
    if (system(target.slice('@dispvm:'.length))?.templateForDisposables === true) return target;
    throw denied(request, `${target} names no template of disposables`);
  }
  if (system(target) === undefined) throw denied(request, `there is no VM ${JSON.stringify(target)}`);
  return target;
}

function canonical(name: string): string {
  if (name === 'dom0') return '@adminvm';
  return name === '' ? '@default' : name;
}

function textOf(token: Token): string {
  if (token.kind === 'name') return token.value;
  if (token.kind === 'dispvm-name') return `@dispvm:${token.value}`;
  return `@${token.kind}`;
}

function denied(request: PolicyRequest, why: string): BackupError {
  return new BackupError(
    'policy-denied',
    `qrexec policy refuses the call of ${request.service}${request.argument === '' ? '' : `+${request.argument}`} ` +
      `from ${request.source} to ${request.target}: ${why}`,
  );
}
