import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { loadPolicy } from '../../dom0/domains/policy-loader.ts';
import { evaluatePolicy } from '../../dom0/domains/policy.ts';
import type { PolicyVm } from '../../dom0/domains/policy.ts';

const PROJECT = join(import.meta.dirname, '..', '..');
const rules = await loadPolicy(join(PROJECT, 'policies'));

const STORAGE = ['qubes.BackupPut', 'qubes.BackupGet', 'qubes.BackupList', 'qubes.BackupSetRoot'];
/** What dom0 offers VMs. */
const OFFERED = ['qubes.BackupRequest', 'qubes.BackupStart'];
/** A VM's own service, which its template offers. */
const SYNC = 'qubes.BackupSync';
/** Of these the last is no file of a checkout (packaging/contents.ts). */
const DISPOSABLE = [
  'Scan',
  'Restore',
  'Verify',
  'Prove',
  'Browse',
  'Compare',
  'Export',
  'Drill',
  'Agent',
].map((name) => `qubes.Backup${name}`);

const VMS: Readonly<Record<string, PolicyVm>> = {
  store: { klass: 'AppVM', tags: ['qubes-backup-storage'] },
  disp1: { klass: 'DispVM', tags: ['qubes-backup-disposable'] },
  work: { klass: 'AppVM', tags: ['created-by-dom0'], defaultDisposable: 'dvm' },
  dvm: { klass: 'AppVM', tags: [], templateForDisposables: true },
};

function isAllowed(service: string, source: string, target: string, argument = ''): boolean {
  try {
    return (
      evaluatePolicy(rules, { service, argument, source, target }, (name) => VMS[name]).target === target
    );
  } catch {
    return false; // Every refusal is one here.
  }
}

describe('R40: the policy that ships', () => {
  test('has an allow and a deny line for each service, and for each service file', () => {
    const services = ['dvm', 'storagevm'].flatMap((role) =>
      readdirSync(join(PROJECT, 'services', role)).map((file) => file.replace(/\.ts$/, '')),
    );
    services.push('qubes.BackupAgent');
    expect(new Set(services)).toEqual(new Set([...STORAGE, ...DISPOSABLE]));
    for (const service of [...services, SYNC]) {
      expect(rules.filter((rule) => rule.service === service).map((rule) => rule.action.kind)).toEqual([
        'allow',
        'deny',
      ]);
    }
    const foreign = rules.filter((rule) => /^qubes\.(?:Filecopy|VMExec)$/.test(rule.service ?? ''));
    const offered = rules.filter((rule) => OFFERED.includes(rule.service ?? ''));
    expect(rules).toHaveLength(2 * (services.length + 1) + foreign.length + offered.length);
  });

  test.each(STORAGE)('%s: from dom0 to a storage VM only', (service) => {
    const allowed = [...Object.keys(VMS), 'dom0'].flatMap((source) =>
      [...Object.keys(VMS), 'dom0', '@dispvm', '@dispvm:dvm', '@default']
        .filter((target) => isAllowed(service, source, target))
        .map((target) => `${source} ${target}`),
    );
    expect(allowed).toEqual(['dom0 store']);
    expect(isAllowed(service, 'dom0', 'store', 'x')).toBe(false);
  });

  test.each(DISPOSABLE)('%s: from dom0 to one of its disposables only', (service) => {
    const allowed = [...Object.keys(VMS), 'dom0'].flatMap((source) =>
      [...Object.keys(VMS), 'dom0', '@dispvm', '@dispvm:dvm', '@default']
        .filter((target) => isAllowed(service, source, target))
        .map((target) => `${source} ${target}`),
    );
    expect(allowed).toEqual(['dom0 disp1']);
    expect(isAllowed(service, 'dom0', 'disp1', 'x')).toBe(false);
  });

  test('qubes.BackupRequest: of dom0, from any VM but a disposable, for three things, and its user is asked', () => {
    const names = readdirSync(join(PROJECT, 'services/dom0')).map((file) => file.replace(/\.ts$/, ''));
    expect(names.sort()).toEqual(OFFERED);
    const lines = rules.filter((rule) => rule.service === 'qubes.BackupRequest');
    expect(
      lines.map(({ argument, source, target, action }) => [argument, source.kind, target.kind, action.kind]),
    ).toEqual([
      [undefined, 'type', 'wildcard', 'deny'],
      ...['+backup', '+list', '+restore'].map((argument) => [argument, 'anyvm', 'adminvm', 'ask']),
      [undefined, 'wildcard', 'wildcard', 'deny'],
    ]);
    expect(lines[0]?.source).toEqual({ kind: 'type', value: 'DispVM' });
  });

  test('qubes.BackupStart: from nobody', () => {
    const lines = rules.filter((rule) => rule.service === 'qubes.BackupStart');
    expect(
      lines.map(({ argument, source, target, action }) => [argument, source.kind, target.kind, action.kind]),
    ).toEqual([[undefined, 'wildcard', 'wildcard', 'deny']]);
  });

  test('qubes.BackupSync: from dom0 to any VM, without an argument', () => {
    const names = Object.keys(VMS);
    expect(names.filter((name) => isAllowed(SYNC, 'dom0', name))).toEqual(names);
    expect(names.filter((name) => isAllowed(SYNC, 'dom0', name, 'x'))).toEqual([]);
    const callers = names.flatMap((source) => [...names, 'dom0'].map((target) => [source, target] as const));
    expect(callers.filter(([source, target]) => isAllowed(SYNC, source, target))).toEqual([]);
    expect(isAllowed(SYNC, 'dom0', 'dom0')).toBe(false);
  });

  test('qubes.Filecopy: from dom0 to any VM, with the two arguments in use; of other callers not a word', () => {
    for (const argument of ['', 'allow-all-names']) {
      for (const name of Object.keys(VMS))
        expect(isAllowed('qubes.Filecopy', 'dom0', name, argument)).toBe(true);
    }
    expect(isAllowed('qubes.Filecopy', 'dom0', 'work', 'other')).toBe(false);
    const lines = rules.filter((rule) => rule.service === 'qubes.Filecopy');
    expect(lines.map(({ source, action }) => [source.kind, action.kind])).toEqual([
      ['adminvm', 'allow'],
      ['adminvm', 'allow'],
    ]);
  });

  test('qubes.VMExec: from dom0 to one of its disposables, to unpack what dom0 sends, and nothing else', () => {
    const argument = 'tar+--xf+--+--C+-2F';
    const names = Object.keys(VMS);
    const sources = ['dom0', ...names];
    const allowed = sources.flatMap((source) =>
      names.filter((name) => isAllowed('qubes.VMExec', source, name, argument)).map((name) => [source, name]),
    );
    expect(allowed).toEqual([['dom0', 'disp1']]);
    for (const other of ['', 'tar', `${argument}etc`, 'id'])
      expect(isAllowed('qubes.VMExec', 'dom0', 'disp1', other)).toBe(false);
    expect(rules.filter((rule) => rule.service === 'qubes.VMExec')).toHaveLength(1);
  });

  test('is explained: the page names every service', () => {
    const page = readFileSync(join(PROJECT, 'policies', 'README.md'), 'utf8');
    for (const service of [...STORAGE, ...DISPOSABLE, ...OFFERED, SYNC, 'qubes.Filecopy'])
      expect(page).toContain(service);
  });
});
