/** The fenced blocks of a page of Markdown. */

export interface Block {
  /** What is behind the fence: `sh`, `sh run`, `sh qubes`, `toml`, or nothing. */
  readonly info: string;
  /** Of its first line, from 1 on. */
  readonly line: number;
  readonly lines: readonly string[];
}

export function blocksOf(page: string): Block[] {
  const blocks: Block[] = [];
  let open: { info: string; indent: string; line: number; lines: string[] } | undefined;
  for (const [index, line] of page.split('\n').entries()) {
    const fence = /^( *)```(.*)$/.exec(line);
    if (open === undefined && fence !== null)
      open = { info: (fence[2] ?? '').trim(), indent: fence[1] ?? '', line: index + 2, lines: [] };
    else if (open !== undefined && fence !== null) {
      blocks.push(open);
      open = undefined;
    } else open?.lines.push(line.replace(open.indent, ''));
  }
  if (open !== undefined) throw new Error(`the block from line ${open.line} on has no end`);
  return blocks;
}

/** The commands of ours in a block, without a prompt `[dom0]`, sudo and npx: this program's, the storage VM's, npm's. */
export function ourCommands({ lines }: Block): string[] {
  return lines
    .map((line) => line.replace(/^\[[^\]]*\] +/, '').replace(/^(?:sudo |npx )+/, ''))
    .filter((line) => /^(?:qubes-backup(?:-storage)?|npm) /.test(line));
}
