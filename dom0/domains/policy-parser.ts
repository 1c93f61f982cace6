/**
 * Reader of qrexec policy files, the grammar of Qubes OS 4.1 and later (qubes-doc, "Qrexec policies"): lines of
 * `service +argument|* source target action [parameter=value…]`, comments on lines of their own. Fail closed:
 * one error in any file is an error of the whole policy, named by file and line, and then nothing is allowed.
 *
 * Narrower than Qubes in one point, towards refusal: `uuid:` names are errors. Directives are those of policy-loader.ts.
 */

import { BackupError } from '../../shared/errors.ts';

/** What a source or target column, or a redirection, stands for. */
export type Token =
  | { readonly kind: 'name'; readonly value: string }
  | { readonly kind: 'wildcard' | 'anyvm' | 'adminvm' | 'default' | 'dispvm' }
  | { readonly kind: 'type' | 'tag' | 'dispvm-name' | 'dispvm-tag'; readonly value: string };

/** What a rule does. `notify` and `autostart` are checked, and of no consequence where nobody is notified or started. */
export type Action =
  | { readonly kind: 'deny' }
  | { readonly kind: 'allow'; readonly target: Token | undefined; readonly user: string | undefined }
  | { readonly kind: 'ask' };

export interface Rule {
  /** Undefined stands for every service. */
  readonly service: string | undefined;
  /** With its leading `+`; undefined stands for every argument. */
  readonly argument: string | undefined;
  readonly source: Token;
  readonly target: Token;
  readonly action: Action;
  /** `file:line`, for messages. */
  readonly where: string;
}

const SERVICE = /^[A-Za-z0-9._-]+$/;
const ARGUMENT = /^\+[A-Za-z0-9._+-]*$/;
const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]*$/;
/** Longest first: `@dispvm:@tag:` is no VM called `@tag:…`. */
const PREFIXES = [
  ['@dispvm:@tag:', 'dispvm-tag'],
  ['@dispvm:', 'dispvm-name'],
  ['@type:', 'type'],
  ['@tag:', 'tag'],
] as const;
const KEYWORDS = {
  '*': 'wildcard',
  '@anyvm': 'anyvm',
  '@adminvm': 'adminvm',
  dom0: 'adminvm',
  '@default': 'default',
  '@dispvm': 'dispvm',
} as const;

/** Where each kind of token may stand. */
const SOURCES = new Set<Token['kind']>([
  'name',
  'wildcard',
  'anyvm',
  'adminvm',
  'type',
  'tag',
  'dispvm-name',
  'dispvm-tag',
]);
const TARGETS = new Set<Token['kind']>([...SOURCES, 'default', 'dispvm']);
const REDIRECTIONS = new Set<Token['kind']>(['name', 'adminvm', 'dispvm', 'dispvm-name']);

/** Parameters that each action takes. */
const PARAMETERS = {
  deny: new Set(['notify']),
  allow: new Set(['target', 'user', 'notify', 'autostart']),
  ask: new Set(['target', 'default_target', 'user', 'notify', 'autostart']),
} as const;

/** One rule; `where` is for messages. Throws `policy-denied`. */
export function parseRule(line: string, where: string): Rule {
  const [service, argument, source, target, action, ...parameters] = line.split(/\s+/);
  if (
    service === undefined ||
    argument === undefined ||
    source === undefined ||
    target === undefined ||
    action === undefined
  ) {
    throw policyError(where, 'a rule has five columns: service, argument, source, target, action');
  }
  if (service !== '*' && !SERVICE.test(service))
    throw policyError(where, `${quote(service)} is no service name`);
  if (argument !== '*' && !ARGUMENT.test(argument))
    throw policyError(where, `${quote(argument)} is neither * nor +argument`);
  if (service === '*' && argument !== '*') throw policyError(where, 'service * takes only argument *');
  const targetToken = parseToken(target, TARGETS, 'target', where);
  return {
    service: service === '*' ? undefined : service,
    argument: argument === '*' ? undefined : argument,
    source: parseToken(source, SOURCES, 'source', where),
    target: targetToken,
    action: parseAction(action, parameters, targetToken, where),
    where,
  };
}

function parseToken(text: string, allowed: ReadonlySet<Token['kind']>, column: string, where: string): Token {
  const token = tokenOf(text);
  if (token === undefined || !allowed.has(token.kind))
    throw policyError(where, `${quote(text)} is no ${column}`);
  return token;
}

function tokenOf(text: string): Token | undefined {
  if (Object.hasOwn(KEYWORDS, text)) return { kind: KEYWORDS[text as keyof typeof KEYWORDS] };
  for (const [prefix, kind] of PREFIXES) {
    if (text.startsWith(prefix)) {
      const value = text.slice(prefix.length);
      return NAME.test(value) ? { kind, value } : undefined;
    }
  }
  return NAME.test(text) ? { kind: 'name', value: text } : undefined;
}

function parseAction(kind: string, texts: readonly string[], target: Token, where: string): Action {
  if (kind !== 'allow' && kind !== 'ask' && kind !== 'deny')
    throw policyError(where, `${quote(kind)} is no action`);
  const parameters = parseParameters(kind, texts, where);
  const redirection = parseRedirection(parameters.get('target'), where);
  const fallback = parseRedirection(parameters.get('default_target'), where);
  const user = parameters.get('user');
  if (user === '') throw policyError(where, 'user= is empty');
  if (kind !== 'deny' && target.kind === 'default' && redirection === undefined && fallback === undefined) {
    throw policyError(
      where,
      `${kind} for @default needs target=${kind === 'ask' ? ' or default_target=' : ''}`,
    );
  }
  return kind === 'allow' ? { kind, target: redirection, user } : { kind };
}

function parseParameters(
  kind: keyof typeof PARAMETERS,
  texts: readonly string[],
  where: string,
): ReadonlyMap<string, string> {
  const parameters = new Map<string, string>();
  for (const text of texts) {
    const at = text.indexOf('=');
    const name = text.slice(0, at);
    const value = text.slice(at + 1);
    if (at < 1) throw policyError(where, `${quote(text)} is no parameter=value`);
    if (!PARAMETERS[kind].has(name)) throw policyError(where, `${kind} takes no parameter ${quote(name)}`);
    if (parameters.has(name)) throw policyError(where, `parameter ${name} is given twice`);
    if ((name === 'notify' || name === 'autostart') && value !== 'yes' && value !== 'no') {
      throw policyError(where, `${name}= is yes or no`);
    }
    parameters.set(name, value);
  }
  return parameters;
}

function parseRedirection(text: string | undefined, where: string): Token | undefined {
  return text === undefined ? undefined : parseToken(text, REDIRECTIONS, 'target to redirect to', where);
}

function quote(text: string): string {
  return JSON.stringify(text.slice(0, 80));
}

/** An error in a policy. */
export function policyError(where: string, what: string): BackupError {
  return new BackupError('policy-denied', `${where}: ${what}; a policy with an error denies every call`);
}
