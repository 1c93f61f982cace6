import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { loadPolicy, loadPolicyOf } from '../../dom0/domains/policy-loader.ts';
import { parseRule } from '../../dom0/domains/policy-parser.ts';
import type { Rule } from '../../dom0/domains/policy-parser.ts';
import { evaluatePolicy } from '../../dom0/domains/policy.ts';
import type { PolicyRequest, PolicyVm } from '../../dom0/domains/policy.ts';
import { isBackupError } from '../../shared/errors.ts';
import { MAX_POLICY_FILE } from '../../shared/limits.ts';
import { tempFolder } from '../support/temp.ts';

const VMS: Readonly<Record<string, PolicyVm>> = {
  work: { klass: 'AppVM', tags: ['office', 'created-by-dom0'], defaultDisposable: 'dvm' },
  vault: { klass: 'AppVM', tags: ['qubes-backup-storage'] },
  fedora: { klass: 'TemplateVM', tags: [] },
  dvm: { klass: 'AppVM', tags: ['base'], templateForDisposables: true },
  plain: { klass: 'AppVM', tags: ['base'] },
};
const system = (name: string) => VMS[name];

/** The rules of a text without directives. */
function parsePolicy(text: string, file: string): readonly Rule[] {
  return text.split('\n').flatMap((line, index) => {
    const trimmed = line.trim();
    return trimmed === '' || trimmed.startsWith('#') ? [] : [parseRule(trimmed, `${file}:${index + 1}`)];
  });
}

/** The call `SOURCE TARGET`, with service `s` and no argument unless said. */
function request(call: string, more: Partial<PolicyRequest> = {}): PolicyRequest {
  const [source = '', target = ''] = call.split(' ');
  return { service: 's', argument: '', source, target, ...more };
}

/** Where the policy sends the call, or undefined if it denies it. */
function ask(policy: string, call: PolicyRequest): string | undefined {
  const rules = parsePolicy(policy, 'f');
  try {
    return evaluatePolicy(rules, call, system).target;
  } catch (error) {
    if (isBackupError(error, 'policy-denied')) return undefined;
    throw error;
  }
}

describe('grammar', () => {
  const good = [
    '# a comment',
    '   # an indented comment',
    '',
    '\t ',
    's + work vault allow',
    's\t+\twork\tvault\tallow',
    '  s + work vault allow  ',
    's * * * deny',
    's +an_arg.um-ent+x @anyvm @adminvm ask',
    '* * @anyvm @anyvm deny',
    's + @adminvm @tag:qubes-backup-storage allow',
    's + @type:AppVM @type:TemplateVM allow',
    's + @tag:a @tag:b allow',
    's + @dispvm:dvm @dispvm:dvm allow',
    's + @dispvm:@tag:base @dispvm:@tag:base allow',
    's + work @dispvm allow',
    's + dom0 dom0 deny',
    's + work @default allow target=vault',
    's + work @default allow target=@dispvm:dvm',
    's + work @default allow target=@adminvm',
    's + work @default ask target=vault',
    's + work @default ask default_target=vault',
    's + work @default deny',
    's + work vault allow user=root notify=yes autostart=no',
    's + work vault ask target=vault default_target=vault user=root notify=no autostart=yes',
    's + work vault deny notify=no',
    's + work vault allow user=a=b',
  ];
  test.each(good)('takes %j', (line) => {
    expect(() => parsePolicy(line, 'f')).not.toThrow();
  });

  const bad = [
    's',
    's + work vault',
    's + work vault permit',
    's + work vault ALLOW',
    's + work vault allow # not a comment here',
    's arg work vault allow',
    's +ä work vault allow',
    's+x + work vault allow',
    'sé + work vault allow',
    's/x + work vault allow',
    '* + work vault allow',
    's + @default vault allow',
    's + @dispvm vault allow',
    's + @nonsense vault allow',
    's + @ANYVM vault allow',
    's + $anyvm vault allow',
    's + work @tag: allow',
    's + work @type: allow',
    's + work @dispvm: allow',
    's + work @dispvm:@tag: allow',
    's + work @dispvm:@type:AppVM allow',
    's + work @tag:@tag:x allow',
    's + wo/rk vault allow',
    's + -work vault allow',
    's + work @default allow',
    's + work @default ask',
    's + work @default allow default_target=vault',
    's + work vault allow target=',
    's + work vault allow target=*',
    's + work vault allow target=@anyvm',
    's + work vault allow target=@default',
    's + work vault allow target=@tag:x',
    's + work vault allow target=@dispvm:@tag:x',
    's + work vault ask default_target=@anyvm',
    's + work vault allow default_target=vault',
    's + work vault allow user=',
    's + work vault allow notify=true',
    's + work vault allow autostart=1',
    's + work vault allow target',
    's + work vault allow =x',
    's + work vault allow colour=red',
    's + work vault allow user=a user=b',
    's + work vault allow target=a,user=b',
    's + work vault deny target=vault',
    's + work vault deny user=root',
    's + work vault deny autostart=no',
    '!include x',
    '!compat-4.0',
    's + work constructor allow toString=x',
  ];
  test.each(bad)('refuses %j', (line) => {
    expect(() => parsePolicy(`# first\n${line}\n`, 'dir/f')).toThrow(/^dir\/f:2: /);
  });

  test('any text is parsed or refused with a place, and never crashes', () => {
    const word = fc.oneof(
      fc.constantFrom(
        's',
        '*',
        '+',
        '+a',
        'work',
        '@anyvm',
        '@adminvm',
        '@tag:x',
        '@default',
        'allow',
        'ask',
        'deny',
        'target=a',
        '\n',
        '#',
      ),
      fc.string(),
    );
    fc.assert(
      fc.property(fc.array(word), (words) => {
        try {
          parsePolicy(words.join(' '), 'f');
        } catch (error) {
          if (!isBackupError(error, 'policy-denied') || !/^f:\d+: /.test(error.message)) throw error;
        }
      }),
    );
  });
});

describe('evaluation', () => {
  const cases: readonly (readonly [policy: string, call: string, target: string | undefined])[] = [
    ['', 'work vault', undefined],
    ['s + work vault allow', 'work vault', 'vault'],
    ['s + work vault allow', 'vault work', undefined],
    ['s + work vault deny\ns + work vault allow', 'work vault', undefined],
    ['s + work vault allow\ns + work vault deny', 'work vault', 'vault'],
    ['s + work vault ask\ns + work vault allow', 'work vault', undefined],
    ['t + work vault allow', 'work vault', undefined],
    ['* * work vault allow', 'work vault', 'vault'],
    ['s +x work vault allow', 'work vault', undefined],
    // Sources
    ['s + * vault allow', 'work vault', 'vault'],
    ['s + * vault allow', 'dom0 vault', 'vault'],
    ['s + @anyvm vault allow', 'work vault', 'vault'],
    ['s + @anyvm vault allow', 'dom0 vault', undefined],
    ['s + @adminvm vault allow', 'dom0 vault', 'vault'],
    ['s + @adminvm vault allow', 'work vault', undefined],
    ['s + dom0 vault allow', 'dom0 vault', 'vault'],
    ['s + @tag:office vault allow', 'work vault', 'vault'],
    ['s + @tag:office vault allow', 'plain vault', undefined],
    ['s + @tag:office vault allow', 'dom0 vault', undefined],
    ['s + @type:AppVM vault allow', 'work vault', 'vault'],
    ['s + @type:AppVM vault allow', 'fedora vault', undefined],
    ['s + @type:AdminVM vault allow', 'dom0 vault', 'vault'],
    // Targets
    ['s + work * allow', 'work dom0', '@adminvm'],
    ['s + work @anyvm allow', 'work dom0', undefined],
    ['s + work @anyvm allow', 'work fedora', 'fedora'],
    ['s + work @adminvm allow', 'work dom0', '@adminvm'],
    ['s + work @tag:qubes-backup-storage allow', 'work vault', 'vault'],
    ['s + work @tag:qubes-backup-storage allow', 'work plain', undefined],
    ['s + work @type:TemplateVM allow', 'work fedora', 'fedora'],
    ['* * work * allow', 'work nobody', undefined],
    // @default
    ['s + work @default allow target=vault', 'work @default', 'vault'],
    ['s + work @default allow target=vault', 'work ', 'vault'],
    ['s + work @default allow target=vault', 'work vault', undefined],
    ['s + work * allow', 'work @default', undefined],
    ['s + work @anyvm allow target=vault', 'work @default', 'vault'],
    ['s + work vault allow target=plain', 'work vault', 'plain'],
    ['s + work vault allow target=nobody', 'work vault', undefined],
    // Disposables
    ['s + work @dispvm allow', 'work @dispvm', '@dispvm:dvm'],
    ['s + plain @dispvm allow', 'plain @dispvm', undefined],
    ['s + work @dispvm:dvm allow', 'work @dispvm', '@dispvm:dvm'],
    ['s + work @dispvm:dvm allow', 'work @dispvm:dvm', '@dispvm:dvm'],
    ['s + work @dispvm allow', 'work @dispvm:dvm', undefined],
    ['s + work @dispvm:plain allow', 'work @dispvm:plain', undefined],
    ['s + work @dispvm:@tag:base allow', 'work @dispvm', '@dispvm:dvm'],
    ['s + work @dispvm:@tag:base allow', 'work dvm', undefined],
    ['s + work @dispvm:@tag:other allow', 'work @dispvm:dvm', undefined],
    ['s + work @default allow target=@dispvm', 'work @default', '@dispvm:dvm'],
    ['s + work @default allow target=@dispvm:plain', 'work @default', undefined],
  ];
  test.each(cases)('%j: the call %j goes to %j', (policy, call, target) => {
    expect(ask(policy, request(call))).toBe(target);
  });

  test('an argument is matched exactly, and none is an empty one', () => {
    const policy = 's +x work vault allow\ns + work vault allow';
    expect(ask(policy, request('work vault', { argument: 'x' }))).toBe('vault');
    expect(ask(policy, request('work vault', { argument: 'xy' }))).toBeUndefined();
    expect(ask(policy, request('work vault'))).toBe('vault');
    expect(ask('s * work vault allow', request('work vault', { argument: 'anything' }))).toBe('vault');
  });

  test('a refusal names the call and the rule', () => {
    const rules = parsePolicy('# x\ns * work vault deny', 'policy.d/30-a.policy');
    expect(() => evaluatePolicy(rules, request('work vault', { argument: 'a' }), system)).toThrow(
      /s\+a from work to vault: denied by policy\.d\/30-a\.policy:2$/,
    );
    expect(() => evaluatePolicy([], request('work vault'), system)).toThrow(/no rule matches/);
    const asking = parsePolicy('s + work vault ask', 'f');
    expect(() => evaluatePolicy(asking, request('work vault'), system)).toThrow(
      /f:1 says "ask", and there is nobody/,
    );
  });

  test('the user of a rule is passed on', () => {
    const rules = parsePolicy('s + work vault allow user=root', 'f');
    expect(evaluatePolicy(rules, request('work vault'), system)).toEqual({
      target: 'vault',
      user: 'root',
      where: 'f:1',
    });
  });
});

describe('a folder of policy', () => {
  function folderOf(files: Readonly<Record<string, string>>): string {
    const folder = tempFolder();
    for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);
    return folder;
  }

  test('files count in the order of their names, and only *.policy', async () => {
    const folder = folderOf({
      '30-b.policy': 's + work vault allow',
      '20-a.policy': 's + work vault deny',
      '10-x.policy.bak': 'nonsense',
      '.10-y.policy': 'nonsense',
      README: 'nonsense',
    });
    const rules = await loadPolicy(folder);
    expect(rules.map((rule) => rule.action.kind)).toEqual(['deny', 'allow']);
  });

  test('one error in any file denies everything', async () => {
    const folder = folderOf({ '10-a.policy': 's + work vault allow', '90-z.policy': '\nbroken' });
    await expect(loadPolicy(folder)).rejects.toMatchObject({
      code: 'policy-denied',
      message: expect.stringMatching(/90-z\.policy:2: .*denies every call/) as string,
    });
  });

  test('a file name in upper case, a huge file and a missing folder deny everything', async () => {
    for (const folder of [
      folderOf({ '10-A.policy': '' }),
      folderOf({ '10-a.policy': `#${'x'.repeat(MAX_POLICY_FILE)}` }),
      join(tempFolder(), 'none'),
    ]) {
      await expect(loadPolicy(folder)).rejects.toMatchObject({ code: 'policy-denied' });
    }
  });

  test('what a file includes counts where it does', async () => {
    const folder = folderOf({
      '10-a.policy': '!include include/one\n!include-service s +x include/service\ns * a b allow',
      '20-b.policy': '!include-dir more',
    });
    for (const name of ['include', 'more']) mkdirSync(join(folder, name));
    writeFileSync(join(folder, 'include/one'), '# comment\n!include include/two\nt + a b allow');
    writeFileSync(join(folder, 'include/two'), 'u + a b deny');
    writeFileSync(join(folder, 'include/service'), '$adminvm @anyvm allow,user=root\n@anyvm @anyvm deny');
    writeFileSync(join(folder, 'more/2.policy'), 'w + a b deny');
    writeFileSync(join(folder, 'more/1.policy'), 'v + a b deny');
    const rules = await loadPolicy(folder);
    expect(rules.map(({ service }) => service)).toEqual(['u', 't', 's', 's', 's', 'v', 'w']);
    expect(rules[2]).toMatchObject({ argument: '+x', source: { kind: 'adminvm' }, action: { user: 'root' } });
  });

  test.each([
    ['a file that includes itself', '!include 10-a.policy'],
    ['a file that is not there', '!include none'],
    ['a folder that is not there', '!include-dir none'],
    ['an unknown directive', '!other x'],
    ['a directive with too much', '!include a b'],
    ['a directive with too little', '!include-service s +'],
  ])('%s denies everything', async (_what, text) => {
    const loading = loadPolicy(folderOf({ '10-a.policy': text }));
    await expect(loading).rejects.toMatchObject({ code: 'policy-denied' });
  });

  test('a file of an earlier folder replaces one of a later, and one may be missing', async () => {
    const [first, second] = [
      folderOf({ '20-a.policy': 's + a b deny' }),
      folderOf({ '20-a.policy': 's + a b allow', '10-b.policy': 't + a b allow' }),
    ];
    const folders = [join(first, 'none'), first, second];
    const rules = await loadPolicyOf({ folders });
    expect(rules.map(({ service, action }) => `${service ?? ''} ${action.kind}`)).toEqual([
      't allow',
      's deny',
    ]);
  });

  test('what has a file of the old format is denied, if that is brought in', async () => {
    const legacy = folderOf({ s: 'anything', 't+x': 'anything' });
    const text = 's + work vault allow\n!compat-4.0\ns * work vault allow\nt * work vault allow';
    const rules = await loadPolicyOf({ folders: [folderOf({ '10-a.policy': text })], legacy });
    const answer = (service: string, argument: string) => {
      try {
        return evaluatePolicy(rules, request('work vault', { service, argument }), system).target;
      } catch (error) {
        return isBackupError(error) ? error.message : '';
      }
    };
    expect(answer('s', '')).toBe('vault');
    expect(answer('s', 'y')).toMatch(/of a format that is not read/);
    expect(answer('t', 'x')).toMatch(/of a format that is not read/);
    expect(answer('t', 'y')).toBe('vault');
  });

  test('a folder named like a file of policy denies everything', async () => {
    const folder = folderOf({});
    mkdirSync(join(folder, '10-a.policy'));
    await expect(loadPolicy(folder)).rejects.toMatchObject({ code: 'policy-denied' });
  });
});
