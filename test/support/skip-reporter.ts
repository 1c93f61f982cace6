/** A skipped test proves nothing: the last lines of every run name each one, and why. */

import type { Reporter, TestModule } from 'vitest/node';

export class SkipReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[]): void {
    const byReason = new Map<string, string[]>();
    for (const module of modules) {
      for (const test of module.children.allTests()) {
        const result = test.result();
        if (result.state !== 'skipped') continue;
        const reason = result.note ?? 'no reason given';
        const names = byReason.get(reason) ?? [];
        byReason.set(reason, names);
        names.push(`${module.relativeModuleId} > ${test.fullName}`);
      }
    }
    const total = [...byReason.values()].reduce((sum, names) => sum + names.length, 0);
    const lines = [`Skipped tests: ${total}`];
    for (const [reason, names] of byReason) lines.push(`  ${reason}:`, ...names.map((name) => `    ${name}`));
    process.stdout.write(`${lines.join('\n')}\n`);
  }
}
