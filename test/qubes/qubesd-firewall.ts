/** Rules of a VM's firewall as qubesd takes and normalises them. Source: qubes/firewall.py. */

import { isIPv4, isIPv6 } from 'node:net';
import { Unhandled } from './qubesd-exception.ts';

/** The order in which a rule's options are written; a comment comes last. */
const ORDER = ['action', 'expire', 'dst', 'proto', 'specialtarget', 'dstports', 'icmptype'] as const;
type Option = (typeof ORDER)[number];

const HOST_KEYS = ['dsthost', 'dst4', 'dst6', 'dstname'];

/** The normal form of a rule. Throws {@link Unhandled} where the real one fails. */
export function normalRule(line: string): string {
  const at = line.indexOf('comment=');
  const comment = at < 0 ? undefined : line.slice(at + 'comment='.length);
  const options = new Map<Option, string>();
  for (const word of (at < 0 ? line : line.slice(0, at)).trim().split(' ')) {
    const equals = word.indexOf('=');
    if (equals < 0) throw new Unhandled('an option without a value');
    const key = word.slice(0, equals);
    const option = HOST_KEYS.includes(key) ? 'dst' : ORDER.find((known) => known === key && known !== 'dst');
    if (option === undefined) throw new Unhandled('an unknown option');
    if (options.has(option)) throw new Unhandled('an option twice');
    options.set(option, normalOption(option, word.slice(equals + 1)));
  }
  check(options, comment);
  const written = ORDER.flatMap((option) => options.get(option) ?? []);
  return [...written, ...(comment === undefined || comment === '' ? [] : [`comment=${comment}`])].join(' ');
}

/** False of a rule whose time has passed. */
export function isCurrent(rule: string, now: number): boolean {
  const [, expire] = /(?:^| )expire=([0-9]+)/.exec(rule) ?? [];
  return expire === undefined || Number(expire) * 1000 >= now;
}

function check(options: ReadonlyMap<Option, string>, comment: string | undefined): void {
  const proto = options.get('proto');
  if (!options.has('action')) throw new Unhandled('no action');
  if (options.has('dstports') && proto !== 'proto=tcp' && proto !== 'proto=udp')
    throw new Unhandled('ports of no protocol');
  if (options.has('icmptype') && proto !== 'proto=icmp') throw new Unhandled('a type of no icmp');
  if (comment !== undefined && !/^[A-Za-z0-9:;,./_[\] -]*$/.test(comment))
    throw new Unhandled('a strange comment');
}

function normalOption(option: Option, value: string): string {
  if (!/^[A-Za-z0-9:;,./_[\]-]*$/.test(value)) throw new Unhandled('strange characters in rule');
  switch (option) {
    case 'action':
      return choice(option, value, ['accept', 'drop']);
    case 'proto':
      return choice(option, value, ['tcp', 'udp', 'icmp']);
    case 'specialtarget':
      return choice(option, value, ['dns']);
    case 'dst':
      return destination(value);
    case 'dstports':
      return ports(value);
    case 'icmptype':
      if (!/^[0-9]{1,3}$/.test(value) || Number(value) > 255) throw new Unhandled('bad ICMP type');
      return `icmptype=${Number(value)}`;
    case 'expire':
      if (!/^[0-9]+$/.test(value)) throw new Unhandled('bad expiration time');
      return `expire=${value}`;
  }
}

function choice(option: Option, value: string, allowed: readonly string[]): string {
  if (!allowed.includes(value)) throw new Unhandled(`${option} is none of its values`);
  return `${option}=${value}`;
}

function destination(value: string): string {
  const [host = '', prefix, more] = value.split('/');
  if (more !== undefined) throw new Unhandled('too many slashes');
  if (prefix !== undefined && !/^[0-9]+$/.test(prefix)) throw new Unhandled('bad prefix length');
  if (isIPv6(host)) return `dst6=${host}/${within(prefix ?? '128', 128)}`;
  if (isIPv4(host)) return `dst4=${host}/${within(prefix ?? '32', 32)}`;
  if (prefix !== undefined || !/^[a-z0-9._-]*$/.test(host)) throw new Unhandled('invalid host');
  return `dsthost=${host}`;
}

function within(prefix: string, max: number): string {
  if (Number(prefix) > max) throw new Unhandled('netmask out of range');
  return prefix;
}

function ports(value: string): string {
  const [from = '', to = from, more] = value.split('-');
  if (more !== undefined || ![from, to].every((port) => /^[0-9]+$/.test(port) && Number(port) < 65536))
    throw new Unhandled('ports out of range');
  if (Number(from) > Number(to)) throw new Unhandled('invalid port range');
  return `dstports=${Number(from)}-${Number(to)}`;
}
